"""What is copied in which pieces, and how guest writes and copies come together."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from qbitsim.copying.ratelimit import RateLimit
from qbitsim.errors import QmpError
from qbitsim.files.faults import StalledError
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


def test_what_nobody_can_tell_apart_is_copied_in_one_go() -> None:
    def steps(**options: Any) -> int:
        machine = copying(16 * MIB, x_perf={"max-workers": 4}, **options)
        taken = machine.run_until_idle()
        assert (machine.qmp("query-jobs"), machine.images.compare("drive0.qcow2", "t")) == ([], None)
        return taken

    assert (steps(), steps(speed=1 << 40)) == (5, 16)


def test_of_two_chunks_that_fail_the_first_says_why() -> None:
    machine = copying(speed=1, x_perf={"max-workers": 2, "max-chunk": CLUSTER})
    machine.inject_error("t", "write", 28, offset=5 * CLUSTER)
    machine.inject_error("drive0", "read", 5, offset=6 * CLUSTER)
    machine.qmp("block-job-set-speed", device="j", speed=0)
    machine.run_until_idle()
    said = [each["data"] for each in machine.events.read(0) if each["event"].startswith("BLOCK_JOB")]
    end = {"device": "j", "len": 4 * MIB, "offset": 5 * CLUSTER, "speed": 0, "type": "backup"}
    assert said == [
        {"device": "j", "operation": "write", "action": "report"},
        {**end, "error": "No space left on device"},
    ]


def test_a_pause_ends_with_the_chunks_in_flight() -> None:
    machine = copying(x_perf={"max-workers": 1})
    machine.qmp("job-pause", id="j")
    machine.run_until_idle()
    (job,) = machine.qmp("query-jobs")
    assert (job["status"], job["current-progress"]) == ("paused", 2 * MIB)  # one of them waited for a slot


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


def test_a_guest_write_across_the_end_of_a_cluster_copies_both() -> None:
    machine = copying(speed=1, x_perf={"max-workers": 1, "max-chunk": CLUSTER})
    machine.run_until_idle()
    machine.drive("drive0").write(11 * CLUSTER - 1, b"n" * 2)
    assert machine.images.lookup("t").content.stored_clusters() == [0, 10, 11]


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


def test_what_the_source_cannot_tell_is_copied_before_a_guest_write(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_node: object, _offset: int, _length: int) -> None:
        raise OSError(5, "cannot tell")

    machine = Machine()
    machine.images.create("base", "qcow2", MIB)
    machine.images.create("d", "qcow2", MIB, backing="base", backing_format="qcow2").write(0, b"o" * MIB)
    drive = machine.add_disk("drive0", file="d")
    machine.images.create("t", "qcow2", MIB)
    machine.qmp("drive-backup", device="drive0", target="t", mode="existing", sync="top")
    monkeypatch.setattr(type(drive.node.skip_filters()), "_status", fail)
    drive.write(3 * CLUSTER, b"n")  # before the job has looked what is allocated
    assert machine.images.lookup("t").content.stored_clusters() == [3]


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


@pytest.mark.parametrize("driver", ["raw", "qcow2"])
def test_data_waits_for_a_limit_below_any_format(driver: str) -> None:
    machine = Machine()
    machine.execute("object-add", {"qom-type": "throttle-group", "id": "g", "limits": {"bps-write": MIB}})
    machine.images.create("t", driver, 4 * MIB)
    below = {"driver": "throttle", "throttle-group": "g", "file": {"driver": "file", "filename": "t"}}
    machine.add_node({"driver": driver, "node-name": "t", "file": below})
    machine.add_disk("drive0", 4 * MIB).write(0, b"o" * 4 * MIB)
    machine.qmp("blockdev-backup", device="drive0", target="t", sync="full", job_id="j")
    machine.until("BLOCK_JOB_COMPLETED")
    assert machine.scheduler.now / 10**9 == pytest.approx(2.9, abs=0.1)


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


def progress(machine: Machine) -> int:
    (job,) = machine.qmp("query-jobs")
    assert isinstance(job["current-progress"], int)
    return job["current-progress"]


ONE_BY_ONE: dict[str, Any] = {"max-workers": 1, "max-chunk": CLUSTER}


def test_only_the_chunk_that_touches_the_range_of_a_delay_waits() -> None:
    machine = copying(speed=1, x_perf=ONE_BY_ONE)
    machine.delay_io("t", "write", 10, offset=5 * CLUSTER + 1)
    machine.qmp("block-job-set-speed", device="j", speed=0)
    machine.advance(9)
    assert progress(machine) == 5 * CLUSTER
    machine.advance(2)
    assert machine.qmp("query-jobs") == []


@pytest.mark.parametrize(("where", "operation"), [("t", "write"), ("drive0", "read")])
def test_only_the_chunk_that_touches_the_range_of_a_stall_waits(where: str, operation: Any) -> None:
    machine = copying(speed=1, x_perf=ONE_BY_ONE)
    stall = machine.stall_io(where, operation, offset=5 * CLUSTER + 1)
    machine.qmp("block-job-set-speed", device="j", speed=0)
    machine.advance(100)
    assert progress(machine) == 5 * CLUSTER
    stall.release()
    machine.run_until_idle()
    assert machine.qmp("query-jobs") == []


def test_the_last_chunk_asks_for_nothing_behind_the_end_of_the_disk() -> None:
    machine = copying(CLUSTER + 512, speed=1, x_perf=ONE_BY_ONE)
    stall = machine.stall_io("t", "write", offset=CLUSTER + 511)
    machine.qmp("block-job-set-speed", device="j", speed=0)
    machine.run_until_idle()
    assert (progress(machine), stall.waiting) == (CLUSTER, 1)


def test_a_new_speed_leaves_no_timer_of_the_old_one() -> None:
    machine = copying(speed=1, x_perf=ONE_BY_ONE)
    machine.run_until_idle()
    assert machine.scheduler.next_deadline is not None
    machine.qmp("block-job-set-speed", device="j", speed=0)
    machine.run_until_idle()
    assert (machine.qmp("query-jobs"), machine.scheduler.next_deadline) == ([], None)


@pytest.mark.parametrize(
    ("target", "compress", "chunks"),
    [
        ("file", False, [1, 1, 1, 16, 13]),
        ("null-co", False, [1] * 32),
        ("file", True, [1] + [1 / 16] * 31 * 16),
    ],
)
def test_a_host_that_copies_by_itself_gets_larger_chunks_once_it_has_shown_that(
    target: str, compress: bool, chunks: list[float]
) -> None:
    machine = Machine()
    size = 32 * MIB
    machine.add_disk("drive0", size).write(MIB, b"o" * (size - MIB))  # zeroes show nothing, and take no time
    if target == "file":
        machine.images.create("t", "qcow2", size)
        machine.add_node({"driver": "qcow2", "node-name": "t", "file": {"driver": "file", "filename": "t"}})
    else:
        machine.add_node({"driver": "null-co", "node-name": "t", "size": size, "read-zeroes": True})
    perf = {"max-workers": 1, "use-copy-range": True}
    arguments = {"target": "t", "sync": "full", "job_id": "j", "x_perf": perf, "compress": compress}
    machine.qmp("blockdev-backup", device="drive0", **arguments)
    seen = [0, *offsets(machine), size]
    assert [(after - before) / MIB for before, after in pairwise(seen) if after > before] == chunks


def test_the_progress_of_old_releases_is_the_place_up_to_which_everything_is_copied() -> None:
    machine = Machine("2.5")
    machine.add_disk("drive0", MIB).write(0, b"o" * MIB)
    machine.qmp("drive-backup", device="drive0", target="t", sync="full", speed=CLUSTER)

    def shown() -> tuple[int, int]:
        (job,) = machine.qmp("query-block-jobs")
        return job["offset"], job["len"]

    machine.run_until_idle()
    assert shown() == (CLUSTER, MIB)
    machine.drive("drive0").write(9 * CLUSTER, b"n")
    assert shown() == (CLUSTER, MIB)
    machine.drive("drive0").write(CLUSTER, b"n")
    assert shown() == (2 * CLUSTER, MIB)
    machine.qmp("block-job-set-speed", device="drive0", speed=0)
    machine.run_until_idle()
    (end,) = [each["data"] for each in machine.events.read(0) if each["event"] == "BLOCK_JOB_COMPLETED"]
    assert (end["offset"], end["len"]) == (MIB, MIB)


def scattered(clusters: int, **options: Any) -> Machine:
    """A backup with ``sync=none`` of a disk of which no two clusters lie in one piece in the file."""
    machine = Machine()
    drive = machine.add_disk("drive0", clusters * CLUSTER, **options)
    for cluster in reversed(range(clusters)):
        drive.write(cluster * CLUSTER, b"o" * CLUSTER)
    machine.qmp("drive-backup", device="drive0", target="t", sync="none", job_id="j")
    return machine


def test_before_a_guest_write_64_chunks_are_in_flight_and_the_next_is_given_up_if_one_of_them_fails() -> None:
    machine = scattered(70)
    machine.inject_error("t", "write", 5, offset=0, once=True)
    with pytest.raises(OSError, match="copy-before-write"):
        machine.drive("drive0").write(0, b"n" * 70 * CLUSTER)
    assert progress(machine) == 63 * CLUSTER
    machine.drive("drive0").write(0, b"n" * 70 * CLUSTER)
    assert progress(machine) == 70 * CLUSTER
    assert machine.images.read_chain("t", 0, 70 * CLUSTER) == b"o" * 70 * CLUSTER


def test_what_a_guest_write_could_not_copy_because_a_chunk_waits_at_a_breakpoint_stays_to_be_copied() -> None:
    machine = Machine()
    machine.images.create("d", "qcow2", MIB)
    file = {"driver": "blkdebug", "image": {"driver": "file", "filename": "d"}}
    machine.add_node({"driver": "qcow2", "node-name": "n", "file": file})
    machine.add_drive("drive0", machine.graph.nodes["n"])
    drive = machine.drive("drive0")
    for cluster in reversed(range(16)):
        drive.write(cluster * CLUSTER, b"o" * CLUSTER)
    machine.qmp("drive-backup", device="drive0", target="t", sync="none", job_id="j")
    machine.qmp("human-monitor-command", command_line='qemu-io drive0 "break read_aio A"')
    with pytest.raises(StalledError, match="breakpoint 'A'"):
        drive.write(CLUSTER, b"n" * 5 * CLUSTER)
    assert progress(machine) == 0
    machine.qmp("human-monitor-command", command_line='qemu-io drive0 "remove_break A"')
    drive.write(CLUSTER, b"n" * 5 * CLUSTER)
    assert progress(machine) == 5 * CLUSTER
    kept = machine.images.lookup("t").content
    assert kept.stored_clusters() == [1, 2, 3, 4, 5]
    assert kept.read(CLUSTER, 5 * CLUSTER) == b"o" * 5 * CLUSTER


@pytest.mark.parametrize("seed", range(10))
def test_of_the_top_layer_the_clusters_are_work_in_which_it_has_anything(seed: int) -> None:
    drawn, unit, size = random.Random(seed), 4096, 40 * CLUSTER + 8192
    machine = Machine()
    machine.images.create("base", "raw", size).write(0, b"b" * size)
    drive = machine.add_disk("drive0", size, cluster_size=unit, backing="base")
    touched = set()
    for _ in range(drawn.randrange(1, 12)):
        place = drawn.randrange(size // unit)
        end = min(place + drawn.choice([1, 2, 15, 16, 17, 40]), size // unit)
        drive.write(place * unit, b"t" * (end - place) * unit)
        touched |= {each * unit // CLUSTER for each in range(place, end)}
    machine.qmp("drive-backup", device="drive0", target="t", sync="top", job_id="j", speed=1, x_perf=ONE_BY_ONE)
    machine.run_until_idle()
    (job,) = machine.qmp("query-jobs") or [{"total-progress": CLUSTER}]
    assert job["total-progress"] == len(touched) * CLUSTER
    if machine.qmp("query-jobs"):
        machine.qmp("block-job-set-speed", device="j", speed=0)
        machine.run_until_idle()
    assert machine.images.lookup("t").content.stored_clusters() == sorted(touched)
    assert machine.images.compare("t", "drive0.qcow2") is None


@pytest.mark.parametrize("speed", [1, 100_000, 1 << 20])
def test_a_rate_limit_lets_the_first_go_and_then_no_more_than_the_speed(speed: int) -> None:
    limit, now, sent = RateLimit(), 0, 0
    limit.set_speed(speed)
    while now < 20 * 10**9:
        delay = limit.delay(now)
        if delay:
            now += delay
        else:
            limit.delay(now, CLUSTER)
            sent += CLUSTER
            assert sent <= CLUSTER + speed * (now / 10**9 + 0.2) + CLUSTER
    assert sent >= min(CLUSTER, speed * 20 / 2)


def test_what_was_sent_is_waited_for_to_the_nanosecond_and_a_slice_begins_when_the_last_one_is_over() -> None:
    limit = RateLimit()
    limit.set_speed(10 * CLUSTER)
    moments = [
        (0, CLUSTER - 1, 0),
        (0, 1, 100_000_000),
        (30_000_000, CLUSTER // 2, 120_000_000),
        (150_000_000, 0, 0),
        (150_000_001, CLUSTER - 1, 0),
        (150_000_001, 1, 100_000_000),
    ]
    assert [limit.delay(now, length) for now, length, _delay in moments] == [delay for *_moment, delay in moments]
    limit.set_speed(20 * CLUSTER)  # what was sent counts, for half as long now
    assert limit.delay(150_000_001, 0) == 0
    assert limit.delay(150_000_001, CLUSTER) == 100_000_000


def test_the_first_slice_begins_with_the_first_chunk() -> None:
    limit = RateLimit()
    limit.set_speed(10 * CLUSTER)
    assert [limit.delay(now, CLUSTER // 2) for now in (0, 30_000_000)] == [0, 70_000_000]


def test_the_lowest_speeds_let_one_byte_go_in_each_slice() -> None:
    limit = RateLimit()
    limit.set_speed(1)
    assert [limit.delay(0, length) for length in (0, 2, 1)] == [0, 200_000_000, 300_000_000]


def test_without_a_speed_nothing_waits() -> None:
    limit = RateLimit()
    assert [limit.delay(0, CLUSTER) for _ in range(100)] == [0] * 100
