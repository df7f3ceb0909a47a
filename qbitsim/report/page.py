"""The page that shows one history, or two side by side.

It is one file that loads nothing: the style sheet and the script are in it and the policy allows no others, by their
hashes. The data is JSON, deflated, in base64, so that no text of it can be taken for HTML. The payload is described in
:mod:`qbitsim.history.file`.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import zlib
from functools import cache
from importlib.resources import files

from qbitsim.jsontypes import Json

SCRIPTS = (
    "base", "edges", "tracks", "recording", "axis", "paint", "lanes", "timeline", "pointer", "strip", "why",
    "lane_strip", "state", "conversation", "header", "keyboard", "app", "main",
)  # fmt: skip
"""The parts of the script, in their order."""
LIVE = ("feed", "commands", "controls", "live")
"""The parts of a live page, before the last of the others."""


def page(payload: Json, still: str = "") -> str:
    """The page as HTML.

    :param payload: ``runs``, one or two histories; ``names``, what each was read from, if that is known;
        ``difference`` between them, or None; ``live``, or None.
    :param still: a picture as SVG, shown where there is no JavaScript.
    """
    live = payload.get("live") is not None
    script, style = _script(live=live), _style(live=live)
    parts = {
        "policy": policy(live=live),
        "title": html.escape(_title(payload)),
        "style": style,
        "still": _image(still) if still else "",
        "data": packed(payload),
        "script": script,
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("index.html"))


def packed(payload: object) -> str:
    """A value as JSON, deflated, in base64."""
    text = json.dumps(payload, separators=(",", ":"), ensure_ascii=True)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return base64.b64encode(deflate.compress(text.encode("ascii")) + deflate.flush()).decode("ascii")


def _asset(name: str) -> str:
    return (files("qbitsim.report") / "assets" / name).read_text(encoding="utf-8")


def _title(payload: Json) -> str:
    titles = [run["title"] for run in payload["runs"]]
    return " and ".join(dict.fromkeys(titles)) or "qbitsim"


def _image(svg: str) -> str:
    """The picture as an image of its own, so that its styles and scripts stay outside."""
    data = base64.b64encode(svg.encode()).decode("ascii")
    return f'<img alt="The timeline of the run" src="data:image/svg+xml;base64,{data}">'


@cache
def _script(*, live: bool) -> str:
    names = [*SCRIPTS[:-1], *(LIVE if live else ()), SCRIPTS[-1]]
    return f'"use strict";\n(() => {{\n{"".join(_asset(f"{name}.js") for name in names)}}})();\n'


@cache
def _style(*, live: bool) -> str:
    return _asset("style.css") + (_asset("live.css") if live else "")


@cache
def policy(*, live: bool) -> str:
    """What a page may load: nothing; a live one may talk to the server that it came from."""
    rules = {
        "default-src": "'none'",
        "script-src": _hash(_script(live=live)),
        "style-src": _hash(_style(live=live)),
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
        **({"connect-src": "'self'"} if live else {}),
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode('ascii')}'"
