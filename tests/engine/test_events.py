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
