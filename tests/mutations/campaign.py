"""Break after break, each with the tests that could notice it."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

import pytest

from .changes import Mutation
from .functions import BrokenImport, Functions, module_name
from .processes import Ended, Runner, Session, Tell, in_process


class Outcome(Enum):
    """What comes of a mutation.

    :cvar NOT_IMPORTED: the module cannot be imported with it, so that no test can run; of the tests it says nothing.
    """

    NOTICED = auto()
    SURVIVED = auto()
    NOT_IMPORTED = auto()


@dataclass(frozen=True)
class Test:
    """What is known of a test that passes.

    :ivar seconds: of a processor that it takes.
    :ivar reached: the lines of the statements that it reaches, by module.
    """

    name: str
    seconds: float
    reached: dict[str, frozenset[int]]

    def reaches(self, path: str, mutation: Mutation) -> bool:
        """Whether it runs the statement, or any of the module if the mutation is in none of a function."""
        lines = self.reached.get(path, frozenset())
        return bool(lines) if mutation.statement is None else mutation.statement in lines


def survey(items: dict[str, pytest.Item], modules: dict[str, Functions]) -> Iterator[Test]:
    """Run all tests; those that pass, with what they reach."""
    reached: dict[str, set[int]] = {path: set() for path in modules}
    for path, functions in modules.items():
        functions.report(reached[path].add)
    start = time.process_time()
    for name, passed in Runner().run(list(items.values()), lambda _name: 600):
        end = time.process_time()
        if passed:
            yield Test(name, end - start, {path: frozenset(lines) for path, lines in reached.items() if lines})
        for lines in reached.values():
            lines.clear()
        start = end


BEGINS = "the tests begin to run"
"""What a process tells."""


def _tell_all(tests: Iterable[Test], tell: Tell) -> None:
    for test in tests:
        tell(test)


class Campaign:
    """Breaks modules and tells what is noticed.

    :param chosen: the mutations of each module, which is a path from the folder that the process runs in.
    :param budget: seconds of a processor that the tests may take for a mutation, if all goes well.
    :param known: what is known of tests from before; they are not run once more to find out.
    """

    def __init__(
        self, chosen: Mapping[str, Sequence[Mutation]], tests: Sequence[str], budget: float, known: Iterable[Test] = ()
    ) -> None:
        self._chosen = chosen
        self._tests = tests
        self._budget = budget
        self._known = {test.name: test for test in known}
        self._noticed_by: Counter[tuple[str, str]] = Counter()

    @property
    def known(self) -> list[Test]:
        """What is known of the tests."""
        return list(self._known.values())

    def run(self) -> Iterator[tuple[str, Mutation, Outcome]]:
        """Try each mutation: its module, and what comes of it.

        :raises SystemExit: the tests cannot be collected, or something else has failed.
        """
        left = []
        known, self._known = self._known, {}
        for said in in_process(lambda tell: Session(lambda items: self._try_all(known, items, tell)).run(self._tests)):
            match said:
                case Test() as test:
                    self._known[test.name] = test
                case (str() as path, Mutation() as mutation, None):
                    left.append((path, mutation))
                case tuple():
                    yield said
                case str():
                    raise SystemExit(said)
        for path, mutation in left:
            yield path, mutation, self._try_import(path, mutation)

    def _try_all(self, known: dict[str, Test], items: dict[str, pytest.Item], tell: Tell) -> None:
        """Tell what is known of the tests, then what comes of each mutation: None if an import has to show it."""
        modules = {path: Functions(path) for path in self._chosen}
        self._known = {name: known[name] for name in items if name in known}
        new = {name: item for name, item in items.items() if name not in known}
        for test in self._known.values():
            tell(test)
        for said in in_process(lambda tell_us: _tell_all(survey(new, modules), tell_us)) if new else ():
            if isinstance(said, str):
                raise RuntimeError(said)
            if isinstance(said, Test):
                tell(said)
                self._known[said.name] = said
        gc.collect()
        gc.freeze()  # so that the processes share what is there now
        for path, chosen in self._chosen.items():
            for mutation in chosen:
                tell((path, mutation, self._try(items, modules[path], path, mutation)))

    def _try(
        self, items: dict[str, pytest.Item], functions: Functions, path: str, mutation: Mutation
    ) -> Outcome | None:
        if mutation.statement is None:
            return None

        def work(names: list[str], tell: Tell) -> None:
            if functions.replace(mutation.applied(functions.source)):
                self._run_to_failure([items[name] for name in names], tell)

        return self._outcome(path, mutation, work)

    def _try_import(self, path: str, mutation: Mutation) -> Outcome:
        def work(names: list[str], tell: Tell) -> None:
            broken = BrokenImport(path, mutation.applied(Path(path).read_text()))
            signal.setitimer(signal.ITIMER_PROF, 120)
            Session(lambda items: self._run_to_failure([items[name] for name in names], tell), broken).run(names)

        return self._outcome(path, mutation, work) or Outcome.NOT_IMPORTED

    def _outcome(self, path: str, mutation: Mutation, work: Callable[[list[str], Tell], None]) -> Outcome | None:
        """What comes of it if a process works with the tests that could notice it; None if it does not begin to."""
        names = self._tests_for(path, mutation)
        if not names:
            return Outcome.SURVIVED
        *said, ended = in_process(lambda tell: work(names, tell))
        assert isinstance(ended, Ended)
        if BEGINS not in said:
            return None
        if not ended.status:
            return Outcome.SURVIVED
        self._noticed_by[path, next((name for name in reversed(said) if name in self._known), "")] += 1
        return Outcome.NOTICED

    def _run_to_failure(self, items: Sequence[pytest.Item], tell: Tell) -> None:
        tell(BEGINS)
        for name, passed in Runner().run(items, lambda name: 2 + 5 * self._known[name].seconds):
            if not passed:
                tell(name)
                os._exit(1)

    def _tests_for(self, path: str, mutation: Mutation) -> list[str]:
        """The tests that reach the statement, or else anything of the module, in the order in which they are run.

        What a module of nothing but declarations declares is reached by nobody: those are the tests that reach
        modules that import it.
        """
        home = f"tests/{Path(path).parent.name}/"
        reaching = [test for test in self._known.values() if test.reaches(path, mutation)]
        if mutation.statement is None and not reaching:
            known = {other for test in self._known.values() for other in test.reached}
            users = {other for other in known if module_name(path) in Path(other).read_text()}
            reaching = [test for test in self._known.values() if users & test.reached.keys()]
        reaching.sort(key=lambda test: (not test.name.startswith(home), test.seconds))
        reaching.sort(key=lambda test: self._noticed_by[path, test.name] / max(test.seconds, 0.01), reverse=True)
        spent = 0.0
        names: list[str] = []
        for test in reaching:
            spent += test.seconds
            if names and spent > self._budget:
                break
            names.append(test.name)
        return names
