"""Moves are drawn from bytes, made again without Hypothesis, left out and made simpler."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from qbitsim.testing import shorten
from qbitsim.testing.moves import Choices, Declared, Move, as_code, move, play
from qbitsim.testing.shorten import shortened
from qbitsim.testing.weights import CLIENT, FAULT, SCENES, Weights, variety


def test_choices_read_bytes_and_then_the_first_of_everything() -> None:
    choices = Choices(bytes([1, 5, 1, 2]))
    assert [choices.pick("abc"), choices.pick("abc"), choices.number()] == ["b", "c", 258]
    assert not choices.left
    assert [choices.pick("abc"), choices.number(), choices.pick(["only"])] == ["a", 0, "only"]


def test_more_than_256_values_take_two_bytes() -> None:
    assert Choices(bytes([1, 2])).pick(range(1000)) == 258


class Counter:
    """Moves about a number."""

    limit = 3

    def __init__(self) -> None:
        self.moves: list[Move] = []
        self.over = False
        self.number = 0

    @move(lambda state: state.number < state.limit, kind="own", weights=(1, 2), by=lambda state: range(state.limit))
    def add(self, by: int) -> None:
        self.number += by

    @move()
    def fail(self) -> None:
        raise LookupError

    def teardown(self) -> None:
        pass


def test_a_move_is_kept_and_made_again() -> None:
    state = Counter()
    state.add(by=3)
    state.add(by=1)  # its precondition does not hold
    assert (state.number, state.moves) == (3, [("add", {"by": 3})])
    assert play(Counter, state.moves) is None
    assert isinstance(play(Counter, [("fail", {})]), LookupError)
    assert as_code("Counter", state.moves) == ["state = Counter()", "state.add(by=3)", "state.teardown()"]


def test_arguments_may_depend_on_the_state() -> None:
    declared: Any = Counter.add
    assert declared.declared == Declared("own", 1, 2, declared.declared.arguments)
    assert declared.declared.draw(Counter(), Choices(bytes([2]))) == {"by": 2}
    assert getattr(Counter.fail, "declared") is None  # noqa: B009 - mypy does not know it


def test_a_move_becomes_as_simple_as_it_can_be() -> None:
    moves: list[Move] = [("add", {"by": 7}), ("add", {"by": 9}), ("other", {})]
    simpler = {"add": {"by": [0, 1, 5, 9]}}

    def fails(some: list[Move]) -> bool:
        return any(given.get("by", 0) >= 4 for _, given in some)

    assert shortened(moves, fails, simpler) == [("add", {"by": 5})]


def test_shortening_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count()
    monkeypatch.setattr(shorten, "monotonic", lambda: next(ticks))
    moves: list[Move] = [(str(number), {}) for number in range(100)]
    kept = shortened(moves, lambda _: True, seconds=2)
    assert len(kept) == 50


def declared(kind: str, at_rest: int, under_way: int) -> Declared:
    return Declared(kind, at_rest, under_way, {})


def test_a_mood_leaves_out_a_kind_and_a_factor_of_0_leaves_out_a_move() -> None:
    moves = {"does": declared(CLIENT, 4, 0), "goes_on": declared(CLIENT, 0, 4), "breaks": declared(FAULT, 2, 2)}
    weights = Weights(moves, {})
    quiet, loud = weights.tables(Choices(bytes([1]))), weights.tables(Choices(bytes([3])))
    assert {name for (name,) in quiet[0]} == {"does"}
    assert {name for (name,) in quiet[1]} == {"goes_on"}
    assert loud[0].count(("breaks",)) == 8
    assert weights.tables(Choices(bytes([1])))[0] is quiet[0]
    never = Weights(moves, {"breaks": 0}).tables(Choices(bytes([3])))
    assert ("breaks",) not in never[0]


def test_scenes_are_made_of_moves_that_there_are() -> None:
    from qbitsim.testing.stateful import BackupClientMachine  # noqa: PLC0415 - for one test

    class Machine(BackupClientMachine):
        actions = ("full",)

    for at_rest, under_way, names in SCENES:
        assert set(names) <= set(Machine.weighted.moves)
        assert at_rest or under_way


def test_variety_counts_what_came_one_after_the_other() -> None:
    assert variety(["a", "b", "a", "b", "a"]) == 2
    assert variety(["a"]) == 0
