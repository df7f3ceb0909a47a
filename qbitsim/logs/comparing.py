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
    error = reply["error"]
    return error["class"], _LONG_NUMBER.sub("#", normal(error["desc"]))


def reduced(command: str, value: Any, untold: Collection[str], *, settled: bool) -> Any:
    """What counts of the value of a reply.

    :param untold: names of what does not count, as it may be otherwise.
    :param settled: whether jobs are at the same place on both machines.
    """
    reduce = _REDUCTIONS.get(command)
    entries = [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
    return reduce(entries, untold, settled) if reduce is not None else None


def _jobs(entries: list[Json], untold: Collection[str], settled: bool) -> Json:  # noqa: FBT001
    """Each job's type and status."""
    told = {str(each.get("id", each.get("device"))): each for each in entries}
    return {
        name: (each.get("type"), _PASSING.get(str(each.get("status")), each.get("status")) if settled else None)
        for name, each in told.items()
        if name not in untold
    }


def _nodes(entries: list[Json], untold: Collection[str], settled: bool) -> Json:  # noqa: FBT001
    """The bitmaps of each node that has a name of its own."""
    flags = (*_FLAGS, *(_PASSING_FLAGS if settled else ()))
    nodes = {str(each.get("node-name")): each for each in (entry.get("inserted", entry) for entry in entries)}
    return {
        name: sorted(
            (str(bitmap.get("name")), *(bool(bitmap.get(flag)) if flag != "granularity" else bitmap.get(flag) for flag in flags))
            for bitmap in node.get("dirty-bitmaps", ())
            if bitmap.get("name") not in untold
        )
        for name, node in nodes.items()
        if name not in untold and not name.startswith("#")
    }


_REDUCTIONS: dict[str, Callable[[list[Json], Collection[str], bool], Any]] = {
    "query-jobs": _jobs,
    "query-block-jobs": _jobs,
    "query-named-block-nodes": _nodes,
    "query-block": _nodes,
}
