"""The page as a file: what is in it, what it allows, and how much it weighs."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from random import Random
from typing import Any

from tales import Tale

from qbitsim.report.page import page

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & \"'\u2028{{data}}"


def payload_of(html: str) -> Any:
    """What the page's data says."""
    (data,) = re.findall(r'id="data">([^<]*)</script>', html)
    return json.loads(zlib.decompress(base64.b64decode(data), -zlib.MAX_WBITS))


def tiny(title: str = "tiny") -> dict[str, Any]:
    tale = Tale(title)
    tale.tell("start", title)
    return tale.done()


def show(*runs: dict[str, Any], **more: Any) -> str:
    return page({"runs": list(runs), "difference": None, "live": None, **more})


def test_the_page_holds_its_payload() -> None:
    payload = {"runs": [tiny(HOSTILE)], "difference": None, "live": None}
    assert payload_of(page(payload)) == payload


def test_hostile_texts_add_no_element_to_the_page() -> None:
    elements = re.compile(r"<[a-z/!]", re.IGNORECASE)
    plain, hostile = show(tiny()), show(tiny(HOSTILE))
    assert len(elements.findall(plain)) == len(elements.findall(hostile))
    assert "<title>&lt;/script&gt;" in hostile


def test_only_the_pages_own_script_and_style_may_run() -> None:
    html = show(tiny())
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    for name, tag in (("script-src", "script"), ("style-src", "style")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert rules[name] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert rules["default-src"] == "'none'"
    assert "connect-src" not in rules


def test_only_a_live_page_may_talk_to_its_server() -> None:
    assert "connect-src 'self'" in show(tiny(), live={"control": False})


def test_a_still_picture_is_for_those_without_scripts() -> None:
    html = page({"runs": [tiny()], "difference": None, "live": None}, still="<svg></svg>")
    (still,) = re.findall(r"<noscript>(.*?)</noscript>", html, re.DOTALL)
    assert base64.b64encode(b"<svg></svg>").decode() in still
    assert "needs JavaScript" in still


def test_two_runs_share_a_title() -> None:
    assert "<title>one and two</title>" in show(tiny("one"), tiny("two"))
    assert "<title>one</title>" in show(tiny("one"), tiny("one"))


def test_ten_thousand_events_and_a_tebibyte_weigh_under_two_mebibytes() -> None:
    random = Random(1)
    tale = Tale()
    cells = 1 << 24
    bitmap = tale.bitmap("b0", "drive0", cells)
    tale.tell("start", "it begins", {bitmap: {"count": 0, "flags": []}})
    dirty: set[int] = set()
    for number in range(10_000):
        cell = random.randrange(cells)
        plus = {"+": [cell, 1], "count": len(dirty | {cell})} if cell not in dirty else {}
        dirty.add(cell)
        tale.event("JOB_STATUS_CHANGE", {bitmap: plus}, at=number * 1000, id=f"job{number}", status="running")
    assert len(show(tale.done())) < 2 << 20
