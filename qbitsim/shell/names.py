"""Names that exist on the server right now, asked for when somebody completes a line.

What is asked are QEMU's queries; which of them a server has, its schema says. The answers are cached until the next
command or event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache

from qbitsim.jsontypes import Json

Ask = Callable[[str], list[Json]]
"""The reply to a query without arguments; empty if it is refused or does not come."""

_NODES = ("node", "node-name", "device", "drive", "base-node", "top-node", "filter-node-name", "replaces", "file")
_JOB_COMMANDS = ("job-", "block-job-")


class Names:
    """The names on one server.

    :param ask: see :data:`Ask`.
    :param known: the commands and events of the server.
    """

    def __init__(self, ask: Ask, commands: Iterable[str], events: Iterable[str]) -> None:
        commands = frozenset(commands)
        self._events = list(events)
        self._query = cache(lambda name: ask(name) if name in commands else [])

    def forget(self) -> None:
        """Ask anew the next time."""
        self._query.cache_clear()

    def drives(self) -> list[str]:
        """The ids of drives."""
        return [each["device"] for each in self._query("query-block") if each.get("device")]

    def nodes(self) -> list[str]:
        """The names of nodes, in order, those that QEMU made up behind the others."""
        found = [each["node-name"] for each in self._query("query-named-block-nodes") if each.get("node-name")]
        return sorted(found, key=lambda name: (name.startswith("#"), name))

    def jobs(self) -> list[str]:
        """The ids of jobs."""
        found = [each["id"] for each in self._query("query-jobs")]
        return list(dict.fromkeys(found + [each["device"] for each in self._query("query-block-jobs")]))

    def bitmaps(self, owner: str | None = None) -> list[str]:
        """The names of bitmaps: those of a drive or node, or all."""
        found: dict[str, None] = {}
        for each in (*self._query("query-block"), *self._query("query-named-block-nodes")):
            inserted = each.get("inserted", {})
            owners = (each.get("device"), each.get("node-name"), inserted.get("node-name"))
            if owner is None or owner in owners:
                for bitmap in (*each.get("dirty-bitmaps", ()), *inserted.get("dirty-bitmaps", ())):
                    if bitmap.get("name"):
                        found[bitmap["name"]] = None
        return sorted(found)

    def faults(self) -> list[str]:
        """The ids of what a client has caused, on a server that can be controlled."""
        return [each["id"] for each in self._query("x-qbitsim-query-faults")]

    def of(self, command: str, path: list[str], given: Mapping[str, str]) -> list[str]:
        """The names that may stand as the value of an argument.

        :param command: or an action of a transaction.
        :param path: the argument's name; several if it is nested.
        :param given: the values of those beside it.
        """
        key = next((part for part in reversed(path) if not part.isdecimal()), "")
        if (key in ("device", "id") and command.startswith(_JOB_COMMANDS)) or key == "job":
            return self.jobs()
        if key == "id" and command.startswith(("x-qbitsim-lift", "x-qbitsim-release", "x-qbitsim-end")):
            return self.faults()
        if key == "event":
            return self._events
        if key == "bitmap" or _names_bitmap(command, key):
            return self.bitmaps(given.get("node", given.get("device"))) or self.bitmaps()  # a filter may be in the way
        if key in _NODES or (key in ("target", "source", "backing", "overlay") and "blockdev" in command):
            return list(dict.fromkeys([*self.drives(), *self.nodes()]))
        return []


def _names_bitmap(command: str, key: str) -> bool:
    is_new = command.endswith("-add")
    return "block-dirty-bitmap-" in command and not is_new and key in ("name", "target", "bitmaps")
