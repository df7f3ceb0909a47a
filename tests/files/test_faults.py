"""Failures of I/O at a chosen place."""

from __future__ import annotations

import errno

import pytest

from qbitsim.files.faults import Fault, Faults
from qbitsim.machine.machine import Machine


def faults_of(*rules: Fault) -> Faults:
    faults = Faults()
    faults.rules.extend(rules)
    return faults


def fault(**members: object) -> Fault:
    return Fault(**{"operations": frozenset({"read"}), "errno": errno.EIO, **members})


@pytest.mark.parametrize(
    ("offset", "length", "strikes"), [(0, 10, False), (0, 11, True), (10, 1, True), (14, 1, True), (15, 5, False)]
)
def test_a_rule_strikes_requests_that_overlap_its_range(offset: int, length: int, strikes: bool) -> None:
    assert fault(offset=10, length=5).concerns("read", offset, length) is strikes


def test_a_rule_without_a_range_strikes_everywhere() -> None:
    assert fault().concerns("read", 1 << 60, 1)


def test_a_rule_strikes_its_own_operations_only() -> None:
    assert not fault().concerns("write", 0, 1)


def test_the_failure_has_the_chosen_number_and_its_text() -> None:
    with pytest.raises(OSError, match="No space left on device") as failure:
        faults_of(fault(errno=errno.ENOSPC)).check("read", 0, 1)
    assert failure.value.errno == errno.ENOSPC


def test_a_rule_that_strikes_once_is_gone_afterwards() -> None:
    faults = faults_of(fault(times=1))
    with pytest.raises(OSError, match="Input/output error"):
        faults.check("read", 0, 1)
    faults.check("read", 0, 1)
    assert faults.rules == []


def test_a_rule_lets_some_requests_go_on_first() -> None:
    rule = fault(after=2, times=1)
    assert [rule.applies_to("read", 0, 1) for _ in range(5)] == [False, False, True, False, False]


def test_a_rule_that_strikes_by_chance_strikes_the_same_requests_on_every_run() -> None:
    drawn = [[fault(probability=0.5, seed=7).applies_to("read", 0, 1) for _ in range(1)] for _ in range(10)]
    assert all(each == drawn[0] for each in drawn)


def test_the_first_rule_that_matches_decides() -> None:
    faults = faults_of(fault(offset=5), fault(errno=errno.ENOSPC))
    for offset, number in ((0, errno.ENOSPC), (5, errno.EIO)):
        with pytest.raises(OSError, match=r".+") as failure:
            faults.check("read", offset, 1)
        assert failure.value.errno == number


def test_a_guest_write_that_fails_below_the_node_changes_no_content_and_marks_all_the_same() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1M")
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="b")
    machine.inject_error("drive0", "write", errno.EIO, 0, 1)
    with pytest.raises(OSError, match="Input/output error"):
        machine.drive("drive0").write(0, b"x" * 512)
    assert machine.images.read_chain("drive0.qcow2", 0, 512) == bytes(512)
    assert machine.qmp("query-block")[0]["inserted"]["dirty-bitmaps"][0]["count"] == 65536
