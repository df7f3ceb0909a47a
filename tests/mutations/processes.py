"""Work in processes of its own, and tests in a session of pytest that somebody else runs."""

from __future__ import annotations

import io
import os
import pickle
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

import pytest

from .functions import BrokenImport

Tell = Callable[[object], None]


@dataclass(frozen=True)
class Ended:
    """A process has ended: with 0 if it came to the end of its work."""

    status: int


def in_process(work: Callable[[Tell], None]) -> Iterator[object]:
    """Do some work in a process of its own: what it tells, one after the other, and :class:`Ended` last."""
    heard, told = os.pipe()
    process = os.fork()
    if not process:
        os.close(heard)
        with os.fdopen(told, "wb", buffering=0) as pipe:
            _work(work, pipe)
    os.close(told)
    with os.fdopen(heard, "rb") as pipe:
        while True:
            try:
                yield pickle.load(pipe)
            except (EOFError, pickle.UnpicklingError):  # it may be killed while it tells something
                break
    yield Ended(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))


def _work(work: Callable[[Tell], None], pipe: io.RawIOBase) -> NoReturn:
    status = 1
    try:
        work(lambda said: _tell(pipe, said))
        status = 0
    except BaseException:  # it is told
        _tell(pipe, traceback.format_exc())
    finally:
        os._exit(status)


def _tell(pipe: io.RawIOBase, said: object) -> None:
    pipe.write(pickle.dumps(said))


class Session:
    """A session of pytest that collects tests and gives them to somebody, instead of running them.

    :param use: gets the tests by their names.
    :param broken: a module that is broken while it is imported.
    """

    def __init__(self, use: Callable[[dict[str, pytest.Item]], None], broken: BrokenImport | None = None) -> None:
        self._use = use
        self._broken = broken

    @pytest.hookimpl(tryfirst=True)
    def pytest_load_initial_conftests(self) -> None:
        """Break the module, before anything imports it and after pytest has seen to its own way of importing."""
        if self._broken is not None:
            sys.meta_path.insert(0, self._broken)

    def pytest_collection(self) -> None:
        """Let Hypothesis stop at the first failure that it finds."""
        import hypothesis  # noqa: PLC0415  (its plugin of pytest must come first)

        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile("mutations", hypothesis.settings(phases=phases))
        hypothesis.settings.load_profile("mutations")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Take the place of pytest's own loop."""
        if session.testsfailed:
            raise session.Interrupted("not all tests can be collected")
        self._use({item.nodeid: item for item in session.items})
        return True

    def run(self, tests: Sequence[str]) -> None:
        """Collect these tests, files and folders.

        :raises RuntimeError: pytest has failed; the text is what it said.
        """
        with tempfile.TemporaryFile() as said:
            for stream in (1, 2):
                os.dup2(said.fileno(), stream)
            status = pytest.main(["-q", "-p", "no:cacheprovider", *tests], plugins=[self])
            if status:
                said.seek(0)
                raise RuntimeError(said.read().decode()[-4000:])


class Runner:
    """Runs tests one by one, and hears from pytest how they end."""

    def __init__(self) -> None:
        self._passed = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A part of a test has ended."""
        self._passed &= report.passed

    def run(self, items: Sequence[pytest.Item], patience: Callable[[str], float]) -> Iterator[tuple[str, bool]]:
        """Run tests in turn: the name of each before it runs, then whether it has passed; False if it was skipped.

        :param patience: how many seconds of a processor a test may take; more end the process.
        """
        items[0].config.pluginmanager.register(self)
        for item, following in zip(items, [*items[1:], None], strict=True):
            signal.setitimer(signal.ITIMER_PROF, patience(item.nodeid))
            signal.setitimer(signal.ITIMER_REAL, 30 + 10 * patience(item.nodeid))
            self._passed = True
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            yield item.nodeid, self._passed
