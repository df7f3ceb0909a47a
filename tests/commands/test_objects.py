"""object-add of throttle groups, and what they do to jobs."""

from __future__ import annotations

import pytest

from qbitsim.block.throttle_group import Bucket
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.machine.machine import Machine

SECOND = 1_000_000_000


@pytest.fixture
def machine():
    return Machine()


def add(machine, identifier="tg0", **limits):
    given = {key.replace("_", "-"): value for key, value in limits.items()}
    machine.execute("object-add", {"qom-type": "throttle-group", "id": identifier, "limits": given})


def refusal(machine, identifier="tg9", **limits):
    with pytest.raises(QmpError) as caught:
        add(machine, identifier, **limits)
    assert identifier not in machine.graph.throttle_groups
    return caught.value.desc


def test_limits_are_checked(machine):
    assert refusal(machine, bps_total=1, bps_read=1) == (
        "bps/iops/max total values and read/write values cannot be used at the same time"
    )
    assert refusal(machine, bps_total=-1) == "bps/iops/max values must be within [0, 1000000000000000]"
    assert refusal(machine, bps_total_max=5) == "bps_max/iops_max require corresponding bps/iops values"
    assert refusal(machine, bps_total=5, bps_total_max=4) == "bps_max/iops_max cannot be lower than bps/iops"
    assert refusal(machine, bps_total_max_length=0) == "the burst length cannot be 0"
    assert refusal(machine, bps_total_max_length=5) == "burst length set without burst rate"
    assert refusal(machine, bps_total=1, iops_size=5) == "iops size requires an iops value to be set"
    assert refusal(machine, "1x") == "Parameter 'id' expects an identifier"


def test_a_group_that_is_used_stays(machine):
    add(machine)
    with pytest.raises(QmpError, match="attempt to add duplicate property 'tg0' to object"):
        add(machine)
    options = {"driver": "throttle", "node-name": "t", "throttle-group": "tg0", "file": {"driver": "null-co"}}
    machine.execute("blockdev-add", options)
    with pytest.raises(QmpError, match="object 'tg0' is in use, can not be deleted"):
        machine.qmp("object-del", id="tg0")
    machine.qmp("blockdev-del", node_name="t")
    machine.qmp("object-del", id="tg0")
    with pytest.raises(QmpError, match="object 'tg0' not found"):
        machine.qmp("object-del", id="tg0")
    with pytest.raises(QmpError, match="Throttle group 'tg0' does not exist"):
        machine.execute("blockdev-add", options)


def test_other_objects_are_refused_loudly(machine):
    with pytest.raises(UnsupportedError):
        machine.execute("object-add", {"qom-type": "rng-random", "id": "rng0"})


def test_a_bucket_lets_a_tenth_of_a_second_through_and_then_the_rate():
    bucket = Bucket(1000, 0, 1)
    assert [bucket.reserve(0, 100) for _ in range(4)] == [0, 0, SECOND // 10, SECOND // 5]
    assert bucket.reserve(SECOND, 100) == 0


def test_a_throttled_target_slows_a_backup_down_on_virtual_time(machine):
    drive = machine.add_disk("drive0", "4M", node_name="node0")
    for offset in range(0, 4 << 20, 1 << 20):
        drive.write(offset, b"x" * (1 << 20))
    machine.images.create("t.raw", "raw", 4 << 20)
    add(machine, bps_write=1 << 20)
    file = {"driver": "raw", "file": {"driver": "file", "filename": "t.raw"}}
    machine.execute("blockdev-add", {"driver": "throttle", "node-name": "t", "throttle-group": "tg0", "file": file})
    machine.qmp("blockdev-backup", device="drive0", target="t", sync="full", job_id="j")
    machine.advance(2.0)
    assert 0 < machine.qmp("query-jobs")[0]["current-progress"] < 4 << 20
    machine.advance(2.0)
    assert machine.qmp("query-jobs") == []
    assert machine.images.compare("drive0.qcow2", "t.raw") is None


def limits_of(machine):
    return machine.qmp("qom-get", path="tg0", property="limits")


def test_the_limits_of_a_group_are_told_and_changed_together(machine):
    add(machine, iops_total=1000)
    before = limits_of(machine)
    assert {name: value for name, value in before.items() if value} == {
        "iops-total": 1000,
        **{f"{unit}-{side}-max-length": 1 for unit in ("iops", "bps") for side in ("total", "read", "write")},
    }
    assert len(before) == 19
    given = {"iops-total": 0, "bps-read": 5, "bps-read-max": 7, "bps-read-max-length": 3}
    machine.qmp("qom-set", path="/objects/tg0", property="limits", value=given)
    assert limits_of(machine) == {**before, **given}
    assert machine.qmp("qom-get", path="tg0", property="x-bps-read-max") == 7


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("nope", 1, "Property 'throttle-group.nope' not found"),
        ("type", "x", "Property 'throttle-group.type' is not writable"),
        ("x-iops-total", 1, "Property cannot be set after initialization"),
        ("limits", 3, "Invalid parameter type for 'limits', expected: object"),
        ("limits", {"iops-total": "x"}, "Invalid parameter type for 'limits.iops-total', expected: integer"),
        ("limits", {"foo": 1}, "Parameter 'limits.foo' is unexpected"),
        ("limits", {"bps-write": -1}, "bps/iops/max values must be within [0, 1000000000000000]"),
        ("limits", {"bps-read-max-length": 1 << 32}, "bps-read-max-length value must be in the range [0, 4294967295]"),
        (
            "limits",
            {"iops-read": 10},
            "bps/iops/max total values and read/write values cannot be used at the same time",
        ),
    ],
)
def test_a_group_refuses_what_it_cannot_be(machine, name, value, text):
    add(machine, iops_total=1000)
    before = limits_of(machine)
    with pytest.raises(QmpError) as caught:
        machine.qmp("qom-set", path="tg0", property=name, value=value)
    assert caught.value.desc == text
    assert limits_of(machine) == before


def test_other_limits_hold_from_the_next_request_on(machine):
    for name in ("src", "raw"):
        machine.add_node({"driver": "null-co", "node-name": name, "size": 1 << 20, "read-zeroes": True})
    add(machine, bps_total=1 << 20)
    machine.add_node({"driver": "throttle", "node-name": "slow", "throttle-group": "tg0", "file": "raw"})
    machine.qmp("qom-set", path="tg0", property="limits", value={"bps-total": 0})
    machine.qmp("blockdev-backup", job_id="j", device="src", target="slow", sync="full")
    machine.run_until_idle()
    assert machine.qmp("query-jobs") == []
    assert machine.clock() < SECOND // 2
