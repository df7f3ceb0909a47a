"""What happens how often: the kinds of moves, moods, and what goes together.

Theory of operation: what is likely to be wrong with a client shows when something fails, or the guest writes, at a
decisive moment: while a job copies, between two requests, between two backups. Four things lead there:

* *weights*: each move declares how often it is made while the client does nothing, and while it does;
* *moods* (swarm testing): each run leaves out some kinds of moves, or makes them often, so that one run has a quiet
  guest and many failures, and the next one the reverse;
* *scenes*: some moves mean something only one after the other, and are made so;
* *variety*: Hypothesis is told how many different things came one after the other, and tries for more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from qbitsim.nearest import nearest
from qbitsim.testing.moves import Choices, Declared

CLIENT, MACHINE, GUEST, FAULT, OTHERS, DISRUPTION = "client", "machine", "guest", "fault", "others", "disruption"
"""The kinds of moves that :class:`~qbitsim.testing.stateful.BackupClientMachine` has."""

_MOODS = {CLIENT: (2,), MACHINE: (2,), GUEST: (2, 4, 1, 0)}
_OTHER_MOODS = (2, 0, 0, 4)
"""For each kind how often its moves are made in a run, one of these numbers."""

SCENES: tuple[tuple[int, int, tuple[str, ...]], ...] = (
    (4, 0, ("guest_writes", "client_begins", "backup_begins", "steps", "guest_writes", "everything_ends")),
    (4, 0, ("guest_writes", "guest_writes", "disk_fails", "client_does")),
    (3, 0, ("guest_writes", "client_begins", "backup_begins", "target_fails", "everything_ends")),
    (2, 0, ("guest_writes", "client_begins", "backup_begins", "target_is_full", "everything_ends")),
    (2, 0, ("client_begins", "backup_begins", "steps", "another_client_cancels", "everything_ends")),
    (2, 0, ("client_does", "guest_writes", "client_does")),
    (2, 0, ("guest_writes", "machine_crashes", "client_does")),
    (1, 0, ("client_begins", "backup_begins", "steps", "machine_crashes", "client_does")),
    (2, 0, ("client_does", "guest_writes", "client_begins", "backup_begins", "machine_restarts")),
    (1, 0, ("guest_writes", "machine_restarts", "client_does")),
    (3, 0, ("guest_writes", "client_does", "disk_is_resized", "client_does")),
    (2, 0, ("guest_writes", "client_begins", "backup_begins", "backup_ends", "machine_crashes", "client_does")),
    (2, 0, ("guest_writes", "client_begins", "backup_begins", "backup_ends", "machine_restarts", "client_does")),
    (2, 0, ("guest_writes", "client_begins", "backup_begins", "backup_ends", "command_refused", "everything_ends")),
    (0, 3, ("guest_writes", "steps", "guest_writes")),
)
"""How often at rest, how often under way, and the names of the moves."""

Table = list[tuple[str, ...]]


class Weights:
    """What is made how often by one class of state machines.

    :param moves: those that it has, by name.
    :param factors: how much more often than declared a move is made, by its name; 0 for never.
    :raises ValueError: there is no such move.
    """

    def __init__(self, moves: Mapping[str, Declared], factors: Mapping[str, float]) -> None:
        for name in factors:
            if name not in moves:
                raise ValueError(f"weights: there is no move {name!r}{nearest(name, moves)}")
        self.moves = moves
        self.kinds = sorted({each.kind for each in moves.values()})
        self._factors = factors
        self._tables: dict[tuple[int, ...], tuple[Table, Table]] = {}

    def tables(self, choices: Choices) -> tuple[Table, Table]:
        """Draw a mood; return what to pick from at rest, and what under way."""
        mood = tuple(choices.pick(_MOODS.get(kind, _OTHER_MOODS)) for kind in self.kinds)
        if mood not in self._tables:
            often = dict(zip(self.kinds, mood, strict=True))
            self._tables[mood] = (self._table(often, 0), self._table(often, 1))
        return self._tables[mood]

    def _table(self, often: Mapping[str, int], phase: int) -> Table:
        """Hypothesis likes zeroes, so that what is picked by them comes first: what the client does most."""

        def place(named: tuple[str, Declared]) -> tuple[bool, int, str]:
            name, each = named
            return each.kind != CLIENT, -(each.under_way if phase else each.at_rest), name

        ordered = sorted(self.moves.items(), key=place)
        entries = [(each.at_rest, each.under_way, (name,)) for name, each in ordered]
        table: Table = []
        for *weights, names in (*entries, *SCENES):
            if all(name in self.moves for name in names):
                table += [names] * self._times(weights[phase], often, names)
        return table

    def _times(self, weight: int, often: Mapping[str, int], names: Iterable[str]) -> int:
        factors = (often[self.moves[name].kind] / 2 * self._factors.get(name, 1) for name in names)
        return round(weight * 2 * min(factors))


def variety(moves: Iterable[str]) -> float:
    """How many different things came one after the other: threes of moves."""
    names = list(moves)
    return float(len(set(zip(names, names[1:], names[2:], strict=False))))


def declared_moves(cls: type, is_own: Callable[[Any], bool]) -> dict[str, Declared]:
    """The moves of a class that have weights, by name; those that ``is_own`` says no to are left out."""
    found = {}
    for name in dir(cls):
        method = getattr(cls, name)
        declared = getattr(method, "declared", None)
        if isinstance(declared, Declared) and is_own(method):
            found[name] = declared
    return found
