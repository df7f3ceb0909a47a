"""Watching a machine, and showing what happened to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from qbitsim.history.history import History
    from qbitsim.machine.machine import Machine
    from qbitsim.report.report import Report


class Watched:
    """The part of a machine that keeps its history for those who want to see it."""

    __slots__ = ()

    def watch(self, title: str = "") -> History:
        """Keep everything from now on: each request, event, write and step, and what was different after it.

        A machine that is watched already goes on being watched by the same history, which is returned.

        :param title: what a report is headed with.
        """
        from qbitsim.history.history import History  # noqa: PLC0415 - for those who want it

        machine = cast("Machine", self)
        observer = machine.scheduler.observer
        if isinstance(observer, History):
            return observer
        history = History(title)
        history.watch(machine)
        return history

    def report(self, title: str = "") -> Report:
        """A page that shows what happened since :meth:`watch`: a notebook displays it, ``save`` writes it to a file.

        A machine that is not watched can only show the events in its log, and what it is now.

        :param title: what the page is headed with.
        """
        from qbitsim.history.events import history_of_events  # noqa: PLC0415 - for those who want it
        from qbitsim.history.history import History  # noqa: PLC0415
        from qbitsim.report.report import Report  # noqa: PLC0415

        machine = cast("Machine", self)
        observer = machine.scheduler.observer
        history = observer if isinstance(observer, History) else history_of_events(machine)
        document = history.to_json()
        return Report([{**document, "title": title or document["title"]}])
