"""Who runs next when several tasks are due."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qbitsim.engine.policies import Drawn, Recorded, Replay, ReplayError, Seeded
from qbitsim.engine.scheduler import Scheduler


def order(policy: Recorded, names: str = "abcd") -> str:
    """The order in which tasks run, each of which is due at once."""
    scheduler, ran = Scheduler(policy), []

    def note(name: str) -> Callable[[], None]:
        return lambda: ran.append(name)

    for name in names:
        scheduler.soon(note(name), name)
    scheduler.run_until_idle()
    return "".join(ran)


def test_a_record_says_who_is_next_and_a_task_that_is_due_alone_is_no_choice() -> None:
    policy = Replay([3, 0, 1])
    assert order(policy) == "dacb"
    assert policy.choices == [3, 0, 1]
    assert repr(policy) == "Replay([3, 0, 1])"


def test_a_record_that_ends_too_early_is_told_with_what_is_due() -> None:
    with pytest.raises(ReplayError, match=r"^the record ends after 1 choices, but there is one more: a, c, d$"):
        order(Replay([1]))


def test_behind_the_end_of_a_record_the_first_is_first_if_that_is_wanted() -> None:
    policy = Replay([2], then_first=True)
    assert order(policy) == "cabd"
    assert policy.choices == [2, 0, 0]


@pytest.mark.parametrize("chosen", [-1, 3])
def test_from_a_choice_that_does_not_fit_the_first_is_first_if_that_is_wanted(chosen: int) -> None:
    policy = Replay([2, chosen, 1], then_first=True)
    assert order(policy) == "cabd"
    assert policy.choices == [2, 0, 0]


@pytest.mark.parametrize("chosen", [-1, 2])
def test_a_choice_of_a_task_that_is_not_there_is_told(chosen: int) -> None:
    with pytest.raises(ReplayError, match=f"^choice 1 is {chosen}, but only 2 tasks are due$"):
        order(Replay([0, chosen]), "abc")


def test_a_seed_gives_one_order_each_time_and_another_seed_another() -> None:
    orders = [order(Seeded(seed), "abcdefgh") for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == list("abcdefgh")
    recorded = Seeded(2)
    order(recorded, "abcdefgh")
    assert order(Replay(recorded.choices), "abcdefgh") == orders[2]


def test_who_draws_is_told_how_many_tasks_are_due_and_their_labels() -> None:
    asked: list[tuple[int, list[str]]] = []

    def draw(count: int, labels: list[str]) -> int:
        asked.append((count, labels))
        return count - 1

    assert order(Drawn(draw), "abc") == "cba"
    assert asked == [(3, ["a", "b", "c"]), (2, ["a", "b"])]
