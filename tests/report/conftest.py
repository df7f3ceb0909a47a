"""Histories as pages in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from looking import Looking

from qbitsim.report.page import page


@pytest.fixture
def show(visit: Callable[..., Any], tmp_path: Path) -> Iterator[Callable[..., Looking]]:
    """Write one history or two as a page and open the file; it is the only thing that may be loaded."""
    opened: list[Looking] = []

    def show_page(
        *runs: dict[str, Any], difference: Any = None, names: Any = None, hash_: str | None = None, **options: Any
    ) -> Looking:
        if hash_ is None and difference is None:  # most tests look at the end
            hash_ = f"#m={max(0, len(runs[0]['moments']) - 1)}"
        file = tmp_path / f"{len(opened)}.html"
        payload = {"runs": list(runs), "names": names, "difference": difference, "live": None}
        file.write_text(page(payload), encoding="utf-8")
        opened.append(Looking(visit(file.as_uri() + (hash_ or ""), **options)))
        return opened[-1]

    yield show_page
    for each in opened:
        assert each.js("performance.getEntriesByType('resource').map(({ name }) => name)") == []
