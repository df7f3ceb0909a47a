"""Virtual time and the order of what happens."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim.engine.scheduler import NANOSECONDS, Scheduler


class Diary:
    """Callbacks that note when they ran."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.entries: list[tuple[int, str]] = []

    def note(self, text: str) -> Callable[[], None]:
        def write() -> None:
            self.entries.append((self.scheduler.now, text))

        return write


@pytest.fixture
def diary() -> Diary:
    return Diary(Scheduler())


def test_tasks_that_are_due_run_first_in_first_out(diary: Diary) -> None:
    for name in "abc":
        diary.scheduler.soon(diary.note(name), name)
    assert diary.scheduler.run_until_idle() == 3
    assert diary.entries == [(0, "a"), (0, "b"), (0, "c")]


def test_timers_without_delay_run_in_their_order_before_io(diary: Diary) -> None:
    diary.scheduler.soon(diary.note("io"), "io")
    for name in "ab":
        diary.scheduler.before_io(diary.note(name), name)
    diary.scheduler.run_until_idle()
    assert diary.entries == [(0, "a"), (0, "b"), (0, "io")]


def test_time_stands_still_until_it_is_moved(diary: Diary) -> None:
    diary.scheduler.after(5, diary.note("timer"), "timer")
    assert diary.scheduler.step() is False
    assert diary.entries == []
    assert diary.scheduler.next_deadline == 5
    diary.scheduler.advance_to(4)
    assert diary.entries == []
    diary.scheduler.advance_to(9)
    assert diary.entries == [(5, "timer")]
    assert diary.scheduler.now == 9


def test_timers_of_one_instant_run_in_the_order_in_which_they_were_made(diary: Diary) -> None:
    for name in "ab":
        diary.scheduler.after(7, diary.note(name), name)
    diary.scheduler.advance_to(NANOSECONDS)
    assert diary.entries == [(7, "a"), (7, "b")]


def test_a_cancelled_task_never_runs(diary: Diary) -> None:
    soon, later = diary.scheduler.soon(diary.note("a"), "a"), diary.scheduler.after(3, diary.note("b"), "b")
    soon.cancel()
    later.cancel()
    assert not soon.pending
    diary.scheduler.advance_to(10)
    assert diary.entries == []
    assert diary.scheduler.next_deadline is None


def test_what_is_due_can_be_looked_at(diary: Diary) -> None:
    scheduler = diary.scheduler
    scheduler.soon(diary.note("cancelled"), "cancelled").cancel()
    scheduler.after(5, diary.note("timer"), "timer")
    scheduler.move_clock(5)
    assert [task.label for task in scheduler.ready()] == ["timer"]
    assert diary.entries == []


def test_the_rest_may_be_done_in_one_go_if_the_caller_runs_until_idle_and_nothing_else_is_due() -> None:
    scheduler = Scheduler()
    answers: list[list[bool]] = []

    def ask() -> None:
        answers.append([scheduler.runs_exclusively(own) for own in (0, 1)])

    ask()
    for _ in range(3):
        scheduler.soon(ask, "ask")
    scheduler.step()
    scheduler.run_until_idle()
    ask()
    assert answers == [[False, False], [False, False], [False, True], [True, False], [False, False]]


def test_a_bottom_half_runs_before_the_next_task(diary: Diary) -> None:
    scheduler = diary.scheduler

    def task() -> None:
        scheduler.bottom_half(diary.note("bottom half"))

    scheduler.soon(task, "task")
    scheduler.soon(diary.note("next"), "next")
    scheduler.run_until_idle()
    assert [text for _when, text in diary.entries] == ["bottom half", "next"]


def test_one_poll_leaves_the_bottom_halves_that_are_added_meanwhile(diary: Diary) -> None:
    scheduler = diary.scheduler

    def first() -> None:
        diary.note("first")()
        scheduler.bottom_half(diary.note("added"))

    scheduler.bottom_half(first)
    scheduler.poll()
    assert diary.entries == [(0, "first")]
    scheduler.poll()
    scheduler.poll()
    assert diary.entries == [(0, "first"), (0, "added")]


def test_a_task_can_be_a_bottom_half_and_runs_once(diary: Diary) -> None:
    scheduler = diary.scheduler
    early = scheduler.at_once(diary.note("run before its turn"), "")
    cancelled = scheduler.at_once(diary.note("cancelled"), "")
    scheduler.at_once(diary.note("in its turn"), "")
    scheduler.run(early)
    cancelled.cancel()
    scheduler.run_bottom_halves()
    assert diary.entries == [(0, "run before its turn"), (0, "in its turn")]


def test_a_policy_chooses_among_what_is_due() -> None:
    diary = Diary(Scheduler(lambda ready: len(ready) - 1))
    for name in "abc":
        diary.scheduler.soon(diary.note(name), name)
    diary.scheduler.run_until_idle()
    assert [text for _when, text in diary.entries] == ["c", "b", "a"]


def test_running_until_idle_can_be_limited(diary: Diary) -> None:
    for name in "abc":
        diary.scheduler.soon(diary.note(name), name)
    assert diary.scheduler.run_until_idle(2) == 2
    assert len(diary.entries) == 2


@given(st.lists(st.integers(0, 50), max_size=20), st.lists(st.integers(0, 20), max_size=6))
def test_every_timer_runs_at_its_own_instant_however_time_is_moved(delays: list[int], moves: list[int]) -> None:
    diary = Diary(Scheduler())
    for index, delay in enumerate(delays):
        diary.scheduler.after(delay, diary.note(str(index)), "")
    for move in [*moves, 100]:
        diary.scheduler.advance_to(diary.scheduler.now + move)
    order = sorted(range(len(delays)), key=lambda index: (delays[index], index))
    assert diary.entries == [(delays[index], str(index)) for index in order]
