"""The three pacings, without a server."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_fake import FakeMachine

from qbitsim.serving.pacing import Immediate, Realtime, check_pacing, make_pacing, pacing_text, read_pacing


class Wall:
    """A clock on the wall that a test moves."""

    def __init__(self):
        self.seconds = 100.0

    def __call__(self):
        return self.seconds


def paced(text):
    machine, wall = FakeMachine(), Wall()
    return machine, wall, make_pacing(text, machine, wall)


@pytest.mark.parametrize(
    ("text", "name", "factor"),
    [
        ("manual", "manual", 1.0),
        ("immediate", "immediate", 1.0),
        ("realtime", "realtime", 1.0),
        ("realtime:10", "realtime", 10.0),
        ("realtime:0.5", "realtime", 0.5),
        ("realtime:.5", "realtime", 0.5),
        ("realtime:1e3", "realtime", 1000.0),
        (10, "realtime", 10.0),
        (1e-7, "realtime", 1e-7),
    ],
)
def test_a_pacing_has_a_name_and_realtime_a_factor(text, name, factor):
    assert check_pacing(text) == (name, factor)


@pytest.mark.parametrize(
    "text",
    ["", "fast", "Manual", "manual:1", "immediate:", "realtime:", "realtime:0", "realtime:-1", "realtime:x",
     "realtime:inf", "realtime:nan", "realtime:1e999", "realtime:1_0", " realtime",
     0, -1.5, float("inf"), float("nan"), True],
)  # fmt: skip
def test_anything_else_is_refused_with_the_choices(text):
    with pytest.raises(ValueError, match="choose manual, immediate, realtime or realtime:FACTOR"):
        check_pacing(text)


@pytest.mark.parametrize("text", ["manual", "immediate", "realtime", "realtime:10", "realtime:0.5"])
def test_a_text_is_read_as_what_calls_take_and_written_again(text):
    read = read_pacing(text)
    assert check_pacing(read) == check_pacing(text)
    assert pacing_text(read) == pacing_text(text) == text


def test_manual_does_nothing():
    machine, wall, pacing = paced("manual")
    machine.execute("work", {"steps": 3})
    machine.execute("sleep", {"ns": 5})
    wall.seconds += 10
    assert not pacing.catch_up(math.inf)
    assert not pacing.work(math.inf)
    assert pacing.wake_at() is None
    assert (machine.work, machine.now, machine.deadlines) == (3, 0, [5])


def test_immediate_does_all_and_jumps_from_deadline_to_deadline():
    machine, wall, pacing = paced("immediate")
    machine.execute("work", {"steps": 3})
    machine.execute("sleep", {"ns": 5})
    machine.execute("sleep", {"ns": 7_000_000_000})
    assert isinstance(pacing, Immediate)
    assert not pacing.work(math.inf)
    assert (machine.work, machine.now, machine.deadlines) == (0, 7_000_000_000, [])
    assert pacing.wake_at() is None
    wall.seconds += 10
    assert not pacing.catch_up(math.inf)
    assert machine.now == 7_000_000_000


@pytest.mark.parametrize("text", ["immediate", "realtime"])
def test_the_slice_ends_when_the_time_on_the_wall_is_over(text):
    machine, wall, pacing = paced(text)
    machine.execute("work", {"steps": 3})
    assert pacing.work(wall.seconds)
    assert machine.work == 2
    assert not pacing.work(math.inf)


def test_realtime_follows_the_wall_and_meets_deadlines():
    machine, wall, pacing = paced("realtime:4")
    machine.execute("sleep", {"ns": 1_000_000_000})
    assert pacing.wake_at() == 100.25
    wall.seconds += 0.125
    assert not pacing.catch_up(math.inf)
    assert (machine.now, machine.deadlines) == (500_000_000, [1_000_000_000])
    wall.seconds += 1
    assert not pacing.catch_up(math.inf)
    assert (machine.now, machine.deadlines) == (4_500_000_000, [])
    assert machine.events.read(0)[0]["timestamp"] == {"seconds": 1, "microseconds": 0}


def test_realtime_goes_on_from_where_somebody_has_moved_the_time():
    machine, wall, pacing = paced("realtime")
    machine.now = 50_000_000_000
    wall.seconds += 1
    pacing.catch_up(math.inf)
    assert machine.now == 50_000_000_000
    wall.seconds += 1
    pacing.catch_up(math.inf)
    assert machine.now == 51_000_000_000
    machine.now = 0
    pacing.anchor()
    wall.seconds += 1
    pacing.catch_up(math.inf)
    assert machine.now == 1_000_000_000


@given(
    sleeps=st.lists(st.integers(0, 10**10), max_size=6),
    waits=st.lists(st.floats(0, 5), max_size=6),
    factor=st.sampled_from([0.5, 1.0, 7.0]),
)
def test_time_never_goes_back_nor_past_what_is_due(sleeps, waits, factor):
    machine, wall = FakeMachine(), Wall()
    pacing = Realtime(machine, wall, factor)
    for each in sleeps:
        machine.execute("sleep", {"ns": each})
    total = 0.0
    for wait in waits:
        wall.seconds += wait
        total = (wall.seconds - 100) * factor * 10**9
        before = machine.now
        assert not pacing.catch_up(math.inf)
        assert before <= machine.now == int(total)
        assert all(when > machine.now for when in machine.deadlines)
    assert len(machine.events.read(0)) == sum(when <= int(total) or not when for when in sleeps) * bool(waits)
