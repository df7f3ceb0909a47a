"""What people may not know when a command is refused: that nothing moves by itself, or that a filter hides a bitmap."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from qbitsim.jsontypes import Json

_VERB = re.compile(r"Job '(?P<job>.*)' in state '(?P<status>\w+)' cannot accept command verb '(?P<verb>[a-z-]+)'")
_EARLY = frozenset(("created", "running", "waiting", "pending"))
_LATER = frozenset(("complete", "finalize", "dismiss"))
_BITMAP = re.compile(r"Dirty bitmap '(?P<name>.*)' not found")


def hint(desc: str, query_nodes: Callable[[], Iterable[Json]], due: int) -> str | None:
    """What may help somebody whose command was refused; None if nothing comes to mind.

    :param desc: the text of the refusal.
    :param query_nodes: asks for the reply to ``query-named-block-nodes``.
    :param due: how many things are due on a machine that moves only when told to; 0 if it moves by itself.
    """
    verb = _VERB.fullmatch(desc)
    if verb is not None and due and verb["status"] in _EARLY and verb["verb"] in _LATER:
        things = "1 thing is" if due == 1 else f"{due} things are"
        return f"job '{verb['job']}' is {verb['status']} still: nothing moves until told, and {things} due"
    bitmap = _BITMAP.fullmatch(desc)
    return _where(bitmap["name"], list(query_nodes())) if bitmap is not None else None


def _where(name: str, nodes: list[Json]) -> str | None:
    """Which node has a bitmap that was not found where it was looked for."""
    for node in nodes:
        if any(bitmap.get("name") == name for bitmap in node.get("dirty-bitmaps", ())):
            hidden = any(each["drv"] == "copy-before-write" or each["drv"].endswith("_top") for each in nodes)
            why = "; while a job runs, its filter is above that node, and the drive means the filter" if hidden else ""
            return f"node '{node['node-name']}' has a bitmap '{name}'{why}"
    return None
