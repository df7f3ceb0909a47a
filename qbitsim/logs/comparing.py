"""What counts of a reply when two machines are compared of which one has a guest and the other has not."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Any

from qbitsim.history.normal import normal
from qbitsim.jsontypes import Json

_PASSING = {"created": "running", "paused": "running", "standby": "ready"}
"""Status of a job in passing -> the one that counts."""

_FLAGS = ("granularity", "persistent", "inconsistent")
_PASSING_FLAGS = ("busy", "recording")
"""Of bitmaps, while a job may be at another place."""

_LONG_NUMBER = re.compile(r"\d{6,}")


def refusal(reply: Json) -> tuple[object, object]:
    """The class of an error and its text, without sizes of disks."""
    error = reply.get("error")
    error = error if isinstance(error, dict) else {}
    return error.get("class"), _LONG_NUMBER.sub("#", str(normal(error.get("desc"))))


def difference(command: str, theirs: Any, mine: Any, *, known: Collection[str], settled: bool) -> Json:
    """What the reply to a query is otherwise here: by the name of the job or the node; null if there is none.

    :param known: names of what counts: of other things one machine may have more than the other.
    :param settled: whether jobs are at the same place on both machines.
    """
    reduce = _REDUCTIONS.get(command)
    if reduce is None:
        return {}
    one, other = (reduce(_objects(value), known, settled) for value in (theirs, mine))
    return {name: other.get(name) for name in one | other if one.get(name) != other.get(name)}


def _objects(value: Any) -> list[Json]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _jobs(entries: list[Json], known: Collection[str], settled: bool) -> Json:
    """Each job's type and status."""
    told = {str(each.get("id", each.get("device"))): each for each in entries}
    return {
        name: {
            "type": each.get("type"),
            **({"status": _PASSING.get(str(each.get("status")), each.get("status"))} if settled else {}),
        }
        for name, each in told.items()
        if name in known
    }


def _nodes(entries: list[Json], known: Collection[str], settled: bool) -> Json:
    """The bitmaps of each node that has a name of its own."""
    flags = (*_FLAGS, *(_PASSING_FLAGS if settled else ()))
    inserted = (entry.get("inserted", entry) for entry in entries)
    nodes = {str(each.get("node-name")): each for each in inserted if isinstance(each, dict)}
    return {
        name: {
            str(bitmap["name"]): {flag: bitmap.get(flag, False) for flag in flags}
            for bitmap in _objects(node.get("dirty-bitmaps"))
            if str(bitmap.get("name")) in known
        }
        for name, node in nodes.items()
        if name in known and not name.startswith("#")
    }


_REDUCTIONS: dict[str, Callable[[list[Json], Collection[str], bool], Json]] = {
    "query-jobs": _jobs,
    "query-block-jobs": _jobs,
    "query-named-block-nodes": _nodes,
    "query-block": _nodes,
}
