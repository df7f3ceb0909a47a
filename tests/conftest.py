"""Settings of Hypothesis for the whole suite: quick by default, longer on request; and a browser for who needs one.

``HYPOTHESIS_PROFILE=long`` draws many more examples. Draws are the same on every run of the default profile, so that
a failure is never an accident of the day.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from browser import DRAWN, Browser
from hypothesis import HealthCheck, settings
from summaries import Workers

settings.register_profile(
    "quick",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.register_profile(
    "long",
    deadline=None,
    max_examples=20_000,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))


BROWSER = Browser()
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
SEARCHES = (10_000, 5, 2)
"""When to look for garbage: seldom among what is young, of which hardly any is; as often as ever among all the rest."""


def pytest_configure(config: pytest.Config) -> None:
    """Say at the end what workers have to say."""
    config.pluginmanager.register(Workers())
    if sys.dont_write_bytecode and hasattr(config, "cache"):
        keep_bytecode_in(config.cache.mkdir("bytecode"))


def keep_bytecode_in(folder: Path) -> None:
    """Compile each module once where no bytecode is to lie beside the sources, not in each worker and process anew."""
    sys.dont_write_bytecode, sys.pycache_prefix = False, str(folder)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or it was said by -B
    os.environ["PYTHONPYCACHEPREFIX"] = str(folder)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    """Let every other worker begin at the last file: what one of them has compiled, another only reads."""
    report = yield
    if isinstance(collector, pytest.Directory) and WORKER % 2:
        report.result.reverse()
    return report


def pytest_collection_finish() -> None:
    """Look no more for garbage among some hundred thousand objects that stay until the end."""
    stop_looking_at_what_is_there()


def stop_looking_at_what_is_there() -> None:
    """Each later search for garbage, of which some tests ask for several, is through what came after this."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*SEARCHES)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put tests in one order in all workers, wherever they began."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.path)


def needs_browser(item: pytest.Item) -> bool:
    return "chromium" in getattr(item, "fixturenames", ())


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
    from trees import machines_on_files  # noqa: PLC0415 - and all of qbitsim, which who only hands out tests does without

    with machines_on_files():
        yield "files"


@pytest.fixture(scope="module")
def chromium() -> Any:
    """A headless Chromium, as playwright's ``Browser``; tests that need it are skipped where there is none.

    As long as it is there an event loop runs in this thread, so that a module with it has no tests with asyncio.
    """
    return BROWSER.open()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    """Close the browser when the next module does without it, and leave what a module keeps out of later searches."""
    yield
    if nextitem is None or (nextitem.path != item.path and not needs_browser(nextitem)):
        BROWSER.close()
    if nextitem is not None and nextitem.path != item.path:
        stop_looking_at_what_is_there()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a URL in an empty window and waits until the page is drawn; the options are those of playwright's new_page.

    At the end no page may have complained, and none may have asked for anything but what is under its own address. A
    test takes out of ``visit.complaints`` what it expects.
    """
    complaints: list[str] = []
    stack = ExitStack()

    def go(url: str, **options: Any) -> Any:
        page = BROWSER.window(**options)
        stack.callback(BROWSER.give_back, page, plain=not options.keys() - {"viewport"})
        home = url.partition("#")[0].rpartition("/")[0]
        for event, hear in (
            ("console", lambda message: message.type in ("error", "warning") and complaints.append(message.text)),
            ("pageerror", lambda error: complaints.append(str(error))),
            ("request", lambda asked: asked.url.startswith((home, "data:")) or complaints.append(asked.url)),
        ):
            page.on(event, hear)
            stack.callback(page.remove_listener, event, hear)
        page.goto(url)
        page.evaluate(DRAWN)
        return page

    go.complaints = complaints  # type: ignore[attr-defined]
    with stack:
        yield go
    assert complaints == []
