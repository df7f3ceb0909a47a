"""A hunt: many runs of a state machine side by side, for so many minutes, and not only until the first failure.

Theory of operation: each worker is a process that lets Hypothesis play one round after the other, each from a seed of
its own, and tells after each what it has seen. A failure is made as short as it can be where it was found. Two
failures count as the same if the same law is broken and the bad luck that it takes is the same (:class:`Known`): a run
that would only say again what is known is given up, so that others are found behind it.

What fails is kept in the example database of the class's settings, under the key that its ``TestCase`` has: a test run
afterwards begins with it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import count
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import TYPE_CHECKING, Any

from hypothesis import Phase, assume
from hypothesis import settings as Settings  # noqa: N812 - a class

from qbitsim.nearest import nearest
from qbitsim.testing.counter_examples import first_failure, shorten
from qbitsim.testing.moves import Move
from qbitsim.testing.outcomes import Outcomes
from qbitsim.testing.seen import Counts, Seen
from qbitsim.testing.stateful import BackupClientMachine
from qbitsim.testing.weights import DISRUPTION, FAULT, OTHERS

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from qbitsim.testing.surroundings import Surroundings

ROUND = 50
"""Runs in a round: it should not last longer than somebody likes to wait for a sign of life."""

SHORTENING = 10.0
"""Seconds for making one failure shorter."""

_BAD_LUCK = (FAULT, OTHERS, DISRUPTION)


@dataclass(frozen=True)
class Known:
    """A kind of failure.

    :ivar error: the class of the exception; :ivar law: the law that was broken, else None.
    :ivar bad_luck: the names of the moves of bad luck, of other clients and of disruption that it takes.
    """

    error: str
    law: str | None
    bad_luck: frozenset[str]

    def covers(self, other: Known) -> bool:
        """Whether the other one is likely to be the same: more bad luck than it takes came before it."""
        return (self.error, self.law) == (other.error, other.law) and self.bad_luck <= other.bad_luck


@dataclass(frozen=True)
class Failure:
    """Something that was found.

    :ivar seed: of the round that found it.
    :ivar text: what was raised; :ivar notes: the story, and the moves as a test.
    :ivar moves: that lead there.
    """

    kind: Known
    seed: int
    text: str
    notes: Sequence[str]
    moves: Sequence[Move]


@dataclass
class Round:
    """What a worker tells.

    :ivar runs: how many there were; :ivar moves: how many moves they made.
    :ivar again: how many of them were given up, because they would only have said again what is known.
    :ivar counts: what was seen.
    :ivar outcomes: how actions of the client have ended.
    """

    runs: int = 0
    moves: int = 0
    again: int = 0
    counts: Counts = field(default_factory=Counter)
    outcomes: Outcomes = field(default_factory=Outcomes)
    failure: Failure | None = None

    def add(self, other: Round) -> None:
        """Count what another one counts."""
        self.runs += other.runs
        self.moves += other.moves
        self.again += other.again
        self.counts.update(other.counts)
        self.outcomes.update(other.outcomes)


class Watcher:
    """What a hunt wants to know of the runs of a round.

    :param known: the failures that are not worth stopping for.
    """

    def __init__(self, machine: type[BackupClientMachine], known: Sequence[Known]) -> None:
        self._machine = machine
        self._known = tuple(known)
        self.round = Round()
        self._seen = Seen(self.round.counts)

    def began(self) -> None:
        """A run begins."""
        self.round.runs += 1
        self._seen.began()

    def look(self, state: Surroundings) -> None:
        """Something has happened."""
        self._seen.look(state)

    def executed(self, name: str, *, refused: bool) -> None:
        """A command was run."""
        self._seen.executed(name, refused=refused)

    def failed(self, error: Exception, moves: Sequence[Move]) -> None:
        """A run fails; it is given up if that is known."""
        kind = kind_of(self._machine, error, moves)
        if any(known.covers(kind) for known in self._known):
            self.round.again += 1
            assume(False)  # noqa: FBT003 - Hypothesis's word for giving up

    def ended(self, moves: Sequence[Move]) -> None:
        """A run has ended."""
        self.round.moves += len(moves)
        self._seen.moved(name for name, _ in moves)


def kind_of(machine: type[BackupClientMachine], error: Exception, moves: Sequence[Move]) -> Known:
    """What kind of failure it is, if it came after these moves."""
    kinds = machine.weighted.moves
    bad_luck = frozenset(name for name, _ in moves if name in kinds and kinds[name].kind in _BAD_LUCK)
    return Known(type(error).__name__, getattr(error, "law", None), bad_luck)


def machine_at(place: str) -> type[BackupClientMachine]:
    """The class at ``module:Class``.

    :raises ImportError: the module cannot be imported.
    :raises ValueError: there is no such class in it.
    """
    module, _, name = place.partition(":")
    if not name or not all(part.isidentifier() for part in module.split(".")):
        raise ValueError(f"expected module:Class, not {place!r}")
    found: Any = import_module(module)
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"there is no {part!r} in {module!r}{nearest(part, dir(found))}")
        found = getattr(found, part)
    if not (isinstance(found, type) and issubclass(found, BackupClientMachine) and found.actions):
        raise ValueError(f"{place!r} is no subclass of BackupClientMachine that has actions")
    return found


# -- a worker


class Hunter:
    """One worker.

    :param place: where the class is, as :func:`machine_at` takes it.
    :ivar known: the failures that are not worth stopping for.
    """

    def __init__(self, place: str) -> None:
        self.machine = machine_at(place)
        self.known: list[Known] = []

    def round(self, seed: int, *, stored: bool = False) -> Round:
        """Let Hypothesis play some runs from a seed, and make what it finds short.

        :param stored: begin with what the example database has.
        """
        machine = self.machine
        phases = [*([Phase.reuse] if stored else []), Phase.generate, Phase.target]
        settings = Settings(machine.TestCase.settings, max_examples=ROUND, phases=phases, report_multiple_bugs=False)
        machine._hypothesis_internal_use_seed = seed  # noqa: SLF001 - as @seed does
        watcher = Watcher(machine, self.known)
        machine.observer = watcher
        machine.outcomes = watcher.round.outcomes
        try:
            found = first_failure(machine, settings=settings)
        finally:
            machine.observer = None
        if found is not None:
            watcher.round.failure = self._failure(shorten(machine, found, SHORTENING), seed)
        return watcher.round

    def _failure(self, error: Exception, seed: int) -> Failure:
        moves = error.__dict__.get("moves", [])
        kind = kind_of(self.machine, error, moves)
        self.known.append(kind)
        return Failure(kind, seed, f"{type(error).__name__}: {error}", getattr(error, "__notes__", []), moves)


def work(place: str, first_seed: int, step: int, boss: Connection) -> None:
    """Hunt with every so many seeds until nobody listens; runs in a process of its own."""
    hunter = Hunter(place)
    try:
        for seed in count(first_seed, step):
            while boss.poll():
                hunter.known.append(boss.recv())
            boss.send(hunter.round(seed, stored=seed == first_seed and step > first_seed % step == 0))
    except (BrokenPipeError, ConnectionResetError, EOFError, KeyboardInterrupt):
        return


# -- who leads them


class Campaign:
    """The workers of a hunt, and what they have found.

    :param place: where the class is, as :func:`machine_at` takes it.
    :param seed: of the first round; each further one has the next.
    :ivar failures: what was found, each kind once; :ivar again: how often each was found again, or given up for it.
    """

    def __init__(self, place: str, *, workers: int, seed: int = 0) -> None:
        self.total = Round()
        self.failures: list[Failure] = []
        self.rounds = 0
        context = get_context("spawn")
        self._bosses: list[Connection] = []
        self._workers: list[BaseProcess] = []
        for number in range(workers):
            mine, its = context.Pipe()
            worker = context.Process(target=work, args=(place, seed + number, workers, its), daemon=True)
            worker.start()
            its.close()
            self._bosses.append(mine)
            self._workers.append(worker)

    def rounds_until(self, end: float) -> Iterator[Round]:
        """What the workers tell until a moment of :func:`time.monotonic`, or until all have ended.

        :raises RuntimeError: a worker has died.
        """
        while self._bosses and (left := end - monotonic()) > 0:
            for boss in wait(self._bosses, left):
                assert isinstance(boss, Connection)
                try:
                    told: Round = boss.recv()
                except EOFError:
                    raise RuntimeError("a worker has died; what it said stands above") from None
                self._add(told, boss)
                yield told

    def _add(self, told: Round, boss: Connection) -> None:
        self.rounds += 1
        self.total.add(told)
        if told.failure is None:
            return
        if any(each.kind.covers(told.failure.kind) for each in self.failures):
            self.total.again += 1
            told.failure = None
            return
        self.failures.append(told.failure)
        for other in self._bosses:
            if other is not boss:
                other.send(told.failure.kind)

    def close(self) -> None:
        """End the workers."""
        for boss in self._bosses:
            boss.close()
        for worker in self._workers:
            worker.terminate()
            worker.join()
