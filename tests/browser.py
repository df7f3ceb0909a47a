"""One headless Chromium for all tests that look at pages, and its windows, which are used again.

A new window takes five times as long as a page in a window that is there.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from typing import Any

import pytest

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser")
"""The first that is there is taken; the shell shows no windows, and takes two thirds of the time."""
VIEWPORT = {"width": 1280, "height": 800}
DRAWN = "qbitsim.ready.then(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))))"
"""For ``evaluate``, which takes half the time of ``wait_for_selector`` in a page that has just been opened."""
_FORGET = "localStorage.clear(), sessionStorage.clear()"


class Browser:
    """It is opened for the first who wants it; as long as it is open an event loop runs in this thread."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._chromium: Any = None
        self._free: list[Any] = []

    def open(self) -> Any:
        """Chromium, as playwright's ``Browser``; the test is skipped where there is none."""
        if self._chromium is None:
            playwright = pytest.importorskip("playwright.sync_api", reason="no playwright (pip install playwright)")
            program = next(filter(None, map(shutil.which, PROGRAMS)), None)
            if program is None:
                pytest.skip("no chromium on the path (Debian: chromium-headless-shell)")
            driver = self._stack.enter_context(playwright.sync_playwright())
            self._chromium = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
            self._stack.callback(self._chromium.close)
        return self._chromium

    def close(self) -> None:
        """Close it, if it is open."""
        self._free.clear()
        self._chromium = None
        self._stack.close()

    def window(self, viewport: dict[str, int] = VIEWPORT, **options: Any) -> Any:
        """An empty window, as playwright's ``Page``; the options are those of its ``new_page``."""
        if options or not self._free:
            return self.open().new_page(viewport=viewport, **options)
        page = self._free.pop()
        page.set_viewport_size(viewport)
        return page

    def give_back(self, page: Any, *, plain: bool) -> None:
        """Let somebody else have the window, if it has no options of its own; it forgets what it has been told."""
        if not plain:
            page.close()
            return
        page.evaluate(_FORGET)
        if not page.url.startswith("file:"):  # which asks for nothing any more
            page.goto("about:blank")
        page.emulate_media(media="null", color_scheme="null")
        self._free.append(page)
