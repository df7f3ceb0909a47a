"""What is copied in which pieces, and how guest writes and copies come together."""

from __future__ import annotations

from typing import Any

import pytest

from qbitsim.copying.ratelimit import RateLimit
from qbitsim.errors import QmpError
from qbitsim.machine.machine import Machine

CLUSTER = 65536
MIB = 1 << 20


def copying(size: int = 4 * MIB, **options: Any) -> Machine:
    """A backup of a disk full of data that has begun; a rule that never strikes keeps it from being done in one go."""
    machine = Machine()
    machine.add_disk("drive0", size)
    machine.drive("drive0").write(0, b"o" * size)
    machine.qmp("drive-backup", device="drive0", target="t", sync="full", job_id="j", **options)
    return machine


def offsets(machine: Machine) -> list[int]:
    """The progress after each step."""
    seen = []
    while jobs := machine.qmp("query-jobs"):
        seen.append(jobs[0]["current-progress"])
        if not machine.step():
            break
    return list(dict.fromkeys(seen))


def test_a_chunk_is_at_most_a_mebibyte() -> None:
    machine = copying(x_perf={"max-workers": 1}, auto_finalize=False)
    machine.advance(0)
    assert all(after - before <= MIB for before, after in zip(offsets(machine), offsets(machine)[1:], strict=False))


def test_chunks_can_be_made_smaller() -> None:
    machine = copying(speed=1, x_perf={"max-workers": 1, "max-chunk": 2 * CLUSTER})
    machine.run_until_idle()
    assert machine.qmp("query-jobs")[0]["current-progress"] == 2 * CLUSTER


def test_the_last_cluster_counts_whole() -> None:
    machine = copying(1_000_448)
    machine.run_until_idle()
    (end,) = [each["data"] for each in machine.events.read(0) if each["event"] == "BLOCK_JOB_COMPLETED"]
    assert (end["len"], end["offset"]) == (MIB, MIB)


def test_a_guest_write_copies_first_whatever_the_speed_limit_says_and_counts_as_progress() -> None:
    machine = copying(speed=1, x_perf={"max-workers": 1, "max-chunk": CLUSTER})
    machine.run_until_idle()
    machine.drive("drive0").write(10 * CLUSTER + 1, b"n" * CLUSTER)
    assert machine.qmp("query-jobs")[0]["current-progress"] == 3 * CLUSTER
    assert machine.images.read_chain("t", 10 * CLUSTER, 2 * CLUSTER) == b"o" * (2 * CLUSTER)


def test_a_guest_write_waits_for_a_chunk_that_waits_for_a_slot() -> None:
    machine = copying(x_perf={"max-workers": 1, "max-chunk": CLUSTER})
    machine.drive("drive0").write(CLUSTER, b"n")
    machine.run_until_idle()
    assert machine.images.read_chain("t", 0, 4 * MIB) == b"o" * (4 * MIB)


def test_a_guest_write_right_beside_chunks_in_flight_does_not_wait_for_them() -> None:
    machine = copying(x_perf={"max-workers": 1, "max-chunk": CLUSTER})
    machine.step()
    machine.step()  # clusters 2 and 3 are in flight
    for cluster in (1, 4):
        machine.drive("drive0").write(cluster * CLUSTER, b"n" * CLUSTER)
    assert machine.qmp("query-jobs")[0]["current-progress"] == 3 * CLUSTER


def test_chunks_before_a_guest_write_are_in_flight_together_so_that_one_failure_does_not_stop_the_others() -> None:
    machine = Machine()
    drive = machine.add_disk("drive0", MIB)
    for cluster in reversed(range(16)):
        drive.write(cluster * CLUSTER, b"o" * CLUSTER)
    machine.qmp("drive-backup", device="drive0", target="t", sync="none", job_id="j")
    machine.inject_error("t", "write", 5, offset=CLUSTER, once=True)
    with pytest.raises(OSError, match="copy-before-write"):
        drive.write(0, b"n" * (5 * CLUSTER))
    assert machine.qmp("query-jobs")[0]["current-progress"] == 4 * CLUSTER
    assert drive.read(0, MIB) == b"o" * MIB


def test_what_is_not_in_one_piece_in_the_file_is_not_copied_as_one() -> None:
    machine = Machine()
    drive = machine.add_disk("drive0", MIB)
    for cluster in (2, 0, 1, 3):
        drive.write(cluster * CLUSTER, b"o" * CLUSTER)
    machine.qmp("drive-backup", device="drive0", target="t", sync="full", job_id="j", speed=1)
    machine.run_until_idle()
    assert machine.qmp("query-jobs")[0]["current-progress"] == 2 * CLUSTER


def test_zero_areas_are_not_written_but_count() -> None:
    machine = Machine()
    machine.add_disk("drive0", "4M").write(MIB, b"x")
    machine.qmp("drive-backup", device="drive0", target="t", sync="full")
    machine.run_until_idle()
    assert machine.images.lookup("t").content.stored_clusters() == [16]
    (end,) = [each["data"] for each in machine.events.read(0) if each["event"] == "BLOCK_JOB_COMPLETED"]
    assert end["offset"] == 4 * MIB


@pytest.mark.parametrize(
    ("target", "seconds"),
    [
        ({"driver": "throttle", "file": {"driver": "file", "filename": "t"}}, 2.9),
        ({"driver": "raw", "file": {"driver": "throttle", "file": {"driver": "file", "filename": "t"}}}, 2.9),
        ({"driver": "qcow2", "file": {"driver": "throttle", "file": {"driver": "file", "filename": "t"}}}, 0),
    ],
)
def test_zeroes_wait_for_a_limit_on_the_target_unless_a_format_only_notes_them(
    target: dict[str, Any], seconds: float
) -> None:
    machine = Machine()
    machine.execute("object-add", {"qom-type": "throttle-group", "id": "g", "limits": {"bps-write": MIB}})
    machine.images.create("t", "qcow2" if target["driver"] == "qcow2" else "raw", 4 * MIB)
    (target if target["driver"] == "throttle" else target["file"])["throttle-group"] = "g"
    machine.add_node({**target, "node-name": "t"})
    machine.add_disk("drive0", 4 * MIB)
    machine.qmp("blockdev-backup", device="drive0", target="t", sync="full", job_id="j")
    machine.until("BLOCK_JOB_COMPLETED")
    assert machine.scheduler.now / 10**9 == pytest.approx(seconds, abs=0.1)


def test_a_single_cluster_that_the_top_layer_does_not_have_is_neither_work_nor_copied_with_the_next() -> None:
    machine = Machine()
    machine.images.create("base", "qcow2", 4 * CLUSTER).write(0, b"b" * 4 * CLUSTER)
    drive = machine.add_disk("drive0", 4 * CLUSTER, backing="base")
    for cluster in (1, 3):
        drive.write(cluster * CLUSTER, b"top")
    machine.qmp("drive-backup", device="drive0", target="t", sync="top", job_id="j")
    assert machine.qmp("query-jobs")[0]["total-progress"] == 2 * CLUSTER
    machine.run_until_idle()
    assert machine.images.lookup("t").content.stored_clusters() == [1, 3]


def backup_of_a_node(*, read_only: bool, **options: Any) -> Machine:
    """A backup of ``source``, whose first two of four clusters are data, to ``target``."""
    machine = Machine()
    for name, read in (("source", read_only), ("target", False)):
        machine.images.create(name, "qcow2", 4 * CLUSTER)
        if name == "source":
            machine.images.lookup(name).write(0, b"o" * 2 * CLUSTER)
        file = {"driver": "file", "filename": name, "read-only": read}
        machine.add_node({"driver": "qcow2", "node-name": name, "read-only": read, "discard": "unmap", "file": file})
    machine.qmp("blockdev-backup", device="source", target="target", sync="full", job_id="j", **options)
    machine.run_until_idle()
    return machine


@pytest.mark.parametrize(("discards", "left"), [(True, []), (False, [0, 1])])
def test_the_source_is_discarded_where_it_is_copied_if_that_is_wanted(discards: bool, left: list[int]) -> None:
    images = backup_of_a_node(read_only=False, discard_source=discards).images
    assert [images.lookup(name).content.stored_clusters() for name in ("source", "target")] == [left, [0, 1]]


def test_only_a_backup_that_discards_its_source_writes_to_it() -> None:
    machine = backup_of_a_node(read_only=True)
    assert machine.images.lookup("target").content.stored_clusters() == [0, 1]
    with pytest.raises(QmpError, match=r"^Block node is read-only$"):
        backup_of_a_node(read_only=True, discard_source=True)


@pytest.mark.parametrize("speed", [1, 100_000, 1 << 20])
def test_a_rate_limit_lets_the_first_go_and_then_no_more_than_the_speed(speed: int) -> None:
    limit, now, sent = RateLimit(), 0, 0
    limit.set_speed(speed)
    while now < 20 * 10**9:
        delay = limit.delay(now, 0)
        if delay:
            now += delay
        else:
            limit.delay(now, CLUSTER)
            sent += CLUSTER
            assert sent <= CLUSTER + speed * (now / 10**9 + 0.2) + CLUSTER
    assert sent >= min(CLUSTER, speed * 20 / 2)


def test_without_a_speed_nothing_waits() -> None:
    limit = RateLimit()
    assert [limit.delay(0, CLUSTER) for _ in range(100)] == [0] * 100
