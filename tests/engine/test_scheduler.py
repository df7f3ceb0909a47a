"""Virtual time and the order of what happens."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim.engine.observer import Observer
from qbitsim.engine.scheduler import NANOSECONDS, Scheduler, Task, first_in_first_out


class Diary:
    """Callbacks that note when they ran."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.entries: list[tuple[int, str]] = []

    def note(self, text: str) -> Callable[[], None]:
        def write() -> None:
            self.entries.append((self.scheduler.now, text))

        return write


class Watcher(Observer):
    """Notes the steps."""

    def __init__(self, diary: Diary) -> None:
        self.diary = diary

    def stepping(self, label: str) -> None:
        self.diary.note(f"stepping {label}")()

    def stepped(self) -> None:
        self.diary.note("stepped")()


@pytest.fixture
def diary() -> Diary:
    return Diary(Scheduler())


def test_tasks_that_are_due_run_first_in_first_out(diary: Diary) -> None:
    for name in "abc":
        diary.scheduler.soon(diary.note(name), name)
    assert diary.scheduler.run_until_idle() == 3
    assert diary.entries == [(0, "a"), (0, "b"), (0, "c")]


def test_tasks_are_numbered_in_the_order_in_which_they_are_made(diary: Diary) -> None:
    scheduler, made = diary.scheduler, []
    for _ in range(2):
        made += [scheduler.soon(diary.note(""), ""), scheduler.after(5, diary.note(""), "")]
        made += [scheduler.at_once(diary.note(""), ""), scheduler.before_io(diary.note(""), "")]
    assert [task.when for task in made] == [0, 5, 0, 0] * 2
    assert [task.sequence for task in made] == [1, 2, 3, 4, 5, 6, 7, 8]


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


def test_what_was_cancelled_or_ran_before_its_turn_is_not_due(diary: Diary) -> None:
    tasks = [diary.scheduler.soon(diary.note(name), name) for name in "abcd"]
    tasks[1].cancel()
    diary.scheduler.complete(tasks[2])
    assert [task.label for task in diary.scheduler.ready()] == ["a", "d"]


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


def test_a_policy_does_not_see_what_was_cancelled() -> None:
    seen: list[list[str]] = []

    def last(ready: Sequence[Task]) -> int:
        seen.append([task.label for task in ready])
        return len(ready) - 1

    diary = Diary(Scheduler(last))
    tasks = [diary.scheduler.soon(diary.note(name), name) for name in "abcd"]
    for number in (1, 3):
        tasks[number].cancel()
    assert diary.scheduler.run_until_idle() == 2
    assert seen == [["a", "c"]]
    assert [text for _when, text in diary.entries] == ["c", "a"]


def test_running_until_idle_can_be_limited(diary: Diary) -> None:
    for name in "abc":
        diary.scheduler.soon(diary.note(name), name)
    assert diary.scheduler.run_until_idle(2) == 2
    assert len(diary.entries) == 2


def test_bottom_halves_run_newest_first_and_a_poll_within_one_finishes_the_outer_one_before_what_is_new(
    diary: Diary,
) -> None:
    scheduler = diary.scheduler

    def polls() -> None:
        diary.note("polls")()
        scheduler.bottom_half(diary.note("new"))
        scheduler.bottom_half(diary.note("newer"))
        scheduler.run_bottom_halves()
        diary.note("has polled")()

    for name in "ab":
        scheduler.bottom_half(diary.note(name))
    scheduler.bottom_half(polls)
    scheduler.run_bottom_halves()
    assert [text for _when, text in diary.entries] == ["polls", "b", "a", "newer", "new", "has polled"]
    assert scheduler.step() is False


def test_what_bottom_halves_there_are_is_a_step(diary: Diary) -> None:
    scheduler = diary.scheduler
    scheduler.soon(diary.note("task"), "task")
    scheduler.bottom_half(diary.note("bottom half"))
    assert scheduler.run_until_idle(1) == 1
    assert diary.entries == [(0, "bottom half")]
    assert (scheduler.run_until_idle(), scheduler.steps) == (1, 1)


def test_a_task_that_is_run_before_its_turn_counts_and_does_not_run_again(diary: Diary) -> None:
    scheduler = diary.scheduler
    early = scheduler.after(5, diary.note("early"), "early")
    scheduler.soon(diary.note("task"), "task")
    scheduler.run(early)
    scheduler.advance_to(10)
    assert diary.entries == [(0, "early"), (0, "task")]
    assert (scheduler.steps, early.pending, scheduler.next_deadline) == (2, False, None)


def test_an_observer_is_told_before_and_after_each_step(diary: Diary) -> None:
    scheduler = diary.scheduler
    scheduler.observer = Watcher(diary)
    scheduler.after(3, lambda: scheduler.bottom_half(diary.note("bottom half")), "timer")
    scheduler.advance_to(3)
    assert diary.entries == [(3, "stepping timer"), (3, "bottom half"), (3, "stepped")]


@pytest.mark.parametrize("why", ["a limit", "a policy", "an observer", "a bottom half"])
def test_the_rest_is_not_done_in_one_go_if_somebody_could_see_it(why: str) -> None:
    scheduler = Scheduler((lambda _ready: 0) if why == "a policy" else first_in_first_out)
    answers: list[bool] = []

    def ask() -> None:
        if why == "a bottom half":
            scheduler.bottom_half(lambda: None)
        answers.append(scheduler.runs_exclusively(0))

    scheduler.soon(ask, "ask")
    scheduler.observer = Watcher(Diary(scheduler)) if why == "an observer" else None
    scheduler.run_until_idle(5 if why == "a limit" else None)
    assert answers == [False]


def test_a_timer_that_was_cancelled_is_no_deadline_and_one_that_is_due_is_none_either(diary: Diary) -> None:
    scheduler = diary.scheduler
    first, second = (scheduler.after(delay, diary.note(str(delay)), "") for delay in (4, 7))
    first.cancel()
    assert scheduler.next_deadline == 7
    scheduler.move_clock(7)
    assert (scheduler.now, scheduler.ready(), scheduler.next_deadline) == (7, [second], None)
    scheduler.advance_to(7)
    assert diary.entries == [(7, "7")]


def test_time_does_not_go_back(diary: Diary) -> None:
    diary.scheduler.advance_to(5)
    diary.scheduler.after(1, diary.note("timer"), "timer")
    for move, when in (
        (diary.scheduler.move_clock, 4),
        (diary.scheduler.advance_to, 4),
        (diary.scheduler.move_clock, 7),
    ):
        with pytest.raises(AssertionError):
            move(when)
    assert (diary.scheduler.now, diary.entries) == (5, [])


@given(st.lists(st.integers(0, 50), max_size=20), st.lists(st.integers(0, 20), max_size=6))
def test_every_timer_runs_at_its_own_instant_however_time_is_moved(delays: list[int], moves: list[int]) -> None:
    diary = Diary(Scheduler())
    for index, delay in enumerate(delays):
        diary.scheduler.after(delay, diary.note(str(index)), "")
    for move in [*moves, 100]:
        diary.scheduler.advance_to(diary.scheduler.now + move)
    order = sorted(range(len(delays)), key=lambda index: (delays[index], index))
    assert diary.entries == [(delays[index], str(index)) for index in order]


def test_what_needs_no_io_runs_while_something_waits_for_io(diary: Diary) -> None:
    scheduler = diary.scheduler
    scheduler.soon(diary.note("io"), "io")
    scheduler.before_io(lambda: scheduler.bottom_half(diary.note("end")), "timer")
    scheduler.before_io(diary.note("timer"), "another timer")
    scheduler.run_before_io()
    assert diary.entries == [(0, "timer"), (0, "end")]
    scheduler.run_until_idle()
    assert diary.entries[2:] == [(0, "io")]


def test_a_request_that_is_waited_for_ends_behind_what_was_due_and_before_what_comes_later(diary: Diary) -> None:
    scheduler = diary.scheduler

    def first() -> None:
        diary.note("first")()
        scheduler.soon(diary.note("second"), "second")
        scheduler.before_io(diary.note("timer"), "timer")

    scheduler.soon(first, "first")
    scheduler.wait_for_io(1, "own")
    assert diary.entries == [(0, "first"), (0, "timer")]
    scheduler.wait_for_io(1, "own")
    assert diary.entries[2:] == [(0, "second")]
    scheduler.wait_for_io(0, "own")
    assert not scheduler.ready()


def test_timers_that_are_due_together_run_before_what_they_leave_to_bottom_halves(diary: Diary) -> None:
    scheduler = diary.scheduler
    scheduler.observer = Watcher(diary)
    scheduler.soon(diary.note("io"), "io")
    for name in "ab":
        scheduler.before_io(lambda name=name: scheduler.bottom_half(diary.note(f"end of {name}")), name)  # type: ignore[misc]
    assert scheduler.step()
    assert [text for _, text in diary.entries] == ["stepping a, b", "end of b", "end of a", "stepped"]
    assert [task.label for task in scheduler.ready()] == ["io"]
