"""The chapters of the tour, in order; each is a module."""

from __future__ import annotations

from qbitsim.tour.chapters import (
    chain,
    failure,
    full,
    granularity,
    grouped,
    merge,
    persistence,
    pull,
    transaction,
    what,
    writes,
)
from qbitsim.tour.lesson import Chapter

CHAPTERS: tuple[Chapter, ...] = tuple(
    module.CHAPTER
    for module in (what, granularity, full, chain, failure, transaction, grouped, writes, merge, persistence, pull)
)
