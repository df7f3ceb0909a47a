"""A report: one history, or two side by side, as a page or as a still picture."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qbitsim.history.compare import first_difference
from qbitsim.history.events import history_of_events
from qbitsim.history.history import History
from qbitsim.jsontypes import Json
from qbitsim.report.page import page
from qbitsim.report.still import still

if TYPE_CHECKING:
    from qbitsim.commands.parts import MachineLike

_HEIGHT = 720
"""Pixels that the page has in a notebook."""


class Report:
    """What a reader is shown.

    :param runs: one history or two, as :meth:`.History.to_json` gives them.
    :param names: what to call them; their titles if not given.
    :ivar difference: where two differ first, or None.
    """

    def __init__(self, runs: Sequence[Json], names: Sequence[str] = ()) -> None:
        assert len(runs) in (1, 2)
        self.runs = list(runs)
        self.names = list(names) or [run["title"] for run in runs]
        self.difference = first_difference(*runs) if len(runs) == 2 else None

    def __repr__(self) -> str:
        named = zip(self.names, self.runs, strict=True)
        titles = " and ".join(f"{name!r} ({len(run['moments'])})" for name, run in named)
        return f"<Report of {titles}>"

    def html(self) -> str:
        """The page, which needs nothing but itself."""
        payload = {"runs": self.runs, "names": self.names, "difference": self.difference, "live": None}
        return page(payload, still=self.svg())

    def svg(self) -> str:
        """The timeline of the first history as a picture."""
        return still(self.runs[0])

    def save(self, file: str | Path) -> None:
        """Write the page, or the picture if the name ends in ``.svg``.

        :raises OSError: the file cannot be written.
        """
        text = self.svg() if str(file).endswith(".svg") else self.html()
        Path(file).write_text(text, encoding="utf-8")

    def _repr_html_(self) -> str:
        """What a notebook shows: the page in a frame of its own."""
        source = html.escape(self.html(), quote=True)
        return f'<iframe srcdoc="{source}" style="width:100%;height:{_HEIGHT}px;border:0"></iframe>'


def report_of(machine: MachineLike, title: str = "") -> Report:
    """What happened to a machine since it is watched; or the events in its log, if it is not.

    :param title: what the page is headed with.
    """
    observer = machine.scheduler.observer
    history = observer if isinstance(observer, History) else history_of_events(machine)
    document = history.to_json()
    return Report([{**document, "title": title or document["title"]}])
