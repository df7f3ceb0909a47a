"""Settings of Hypothesis for the whole suite: quick by default, longer on request; and a browser for who needs one.

``HYPOTHESIS_PROFILE=long`` draws many more examples. Draws are the same on every run of the default profile, so that
a failure is never an accident of the day.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from summaries import Workers
from trees import machines_on_files

settings.register_profile(
    "quick", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.register_profile(
    "long",
    deadline=None,
    max_examples=20_000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


def pytest_configure(config: pytest.Config) -> None:
    """Say at the end what workers have to say."""
    config.pluginmanager.register(Workers())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let workers of pytest-xdist take whole files, and one of them all that needs a browser, which is busy enough."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            needs_browser = "chromium" in getattr(item, "fixturenames", ())
            item.add_marker(pytest.mark.xdist_group("browser" if needs_browser else str(item.path)))


def pytest_addoption(parser: pytest.Parser) -> None:
    """How much of what is recorded is played on real files."""
    parser.addoption(
        "--on-files",
        choices=("some", "all", "checked", "real-tools"),
        default="some",
        help="the recorded scenarios on real files: each for one release (some, the default), for every release (all), "
        "so that the real 'qemu-img check' finds them clean afterwards (checked), or with the real qemu-img for what "
        "they do with image files (real-tools)",
    )


@pytest.fixture(params=["memory", "files"])
def tree(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the images are of machines that are given none: in memory, and in a folder of the host."""
    if request.param == "memory":
        yield "memory"
        return
    with machines_on_files():
        yield "files"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """A headless Chromium, as playwright's ``Browser``; tests that need it are skipped where there is none.

    As long as it is there an event loop runs in this thread, so that a module with it has no tests with asyncio.
    """
    playwright = pytest.importorskip("playwright.sync_api", reason="the package playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser")
    if program is None:
        pytest.skip("the program chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a URL in a fresh window and waits until the page is ready; the options are those of playwright's new_page.

    At the end no page may have complained, and none may have asked for anything but what is under its own address. A
    test takes out of ``visit.complaints`` what it expects.
    """
    complaints: list[str] = []
    pages: list[Any] = []

    def go(url: str, **options: Any) -> Any:
        page = chromium.new_page(**{"viewport": {"width": 1280, "height": 800}, **options})
        pages.append(page)
        home = url.partition("#")[0].rpartition("/")[0]
        page.on("console", lambda message: message.type in ("error", "warning") and complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: asked.url.startswith((home, "data:")) or complaints.append(asked.url))
        page.goto(url)
        page.wait_for_selector("html.ready", timeout=10_000)
        return page

    go.complaints = complaints  # type: ignore[attr-defined]
    yield go
    for page in pages:
        page.close()
    assert complaints == []
