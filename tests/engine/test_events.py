"""The log of events and the cursors of those who read it."""

from __future__ import annotations

import pytest

from qbitsim.engine.events import EventLog


def log_of(*names: str) -> EventLog:
    log = EventLog()
    for name in names:
        log.append({"event": name})
    return log


def test_a_cursor_reads_what_came_since() -> None:
    log = log_of("A")
    cursor = log.end
    log.append({"event": "B"})
    assert log.read(cursor) == [{"event": "B"}]
    assert log.read(log.end) == []
    assert log.read(0) == [{"event": "A"}, {"event": "B"}]


def test_cursors_keep_their_meaning_when_old_events_are_forgotten() -> None:
    log = log_of("A", "B", "C")
    log.trim(2)
    assert log.read(2) == [{"event": "C"}]
    assert log.end == 3
    log.trim(1)
    assert log.read(2) == [{"event": "C"}]


def test_reading_what_was_forgotten_is_a_bug_of_the_reader() -> None:
    log = log_of("A")
    log.trim(1)
    with pytest.raises(AssertionError):
        log.read(0)


def test_what_is_still_there_can_be_counted_gone_over_and_looked_up() -> None:
    log = log_of("A", "B", "C")
    log.trim(1)
    assert (log.start, log.end, len(log), list(log)) == (1, 3, 2, [{"event": "B"}, {"event": "C"}])
    assert [log.at(place) for place in (1, 2)] == [{"event": "B"}, {"event": "C"}]
    log.trim(2)
    assert (log.start, log.end, len(log), list(log)) == (2, 3, 1, [{"event": "C"}])


def test_what_was_forgotten_already_is_not_forgotten_again() -> None:
    log = log_of("A", "B", "C")
    log.trim(2)
    log.trim(2)
    log.trim(0)
    assert (log.start, list(log)) == (2, [{"event": "C"}])


def test_nobody_has_read_or_waited_at_first() -> None:
    log = log_of("A")
    assert (log.waited, log.resumed_at) == (set(), 0)
