"""Backup jobs: what is copied, what the bitmap is afterwards, what errors do."""

from __future__ import annotations

import errno
from typing import Any

import pytest

from qbitsim.errors import QmpError
from qbitsim.machine.machine import Machine

CLUSTER = 65536
SIZE = 16 * CLUSTER
OLD = b"o" * SIZE
ONE_BY_ONE = {"max-workers": 1, "max-chunk": CLUSTER}


@pytest.fixture
def machine() -> Machine:
    """A disk full of ``o``, with clusters 0 to 3 dirty in ``b``."""
    machine = Machine()
    machine.add_disk("drive0", SIZE, node_name="node0")
    machine.drive("drive0").write(0, OLD)
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="b")
    machine.drive("drive0").write(0, b"o" * (4 * CLUSTER))
    return machine


def backup(machine: Machine, sync: str = "full", **options: Any) -> None:
    machine.qmp("drive-backup", **{"device": "node0", "target": "t", "sync": sync, "job_id": "j", **options})


def dirty(machine: Machine) -> set[int]:
    bitmap = machine.graph.nodes["node0"].find_bitmap("b")
    assert bitmap is not None
    assert not bitmap.busy
    return set(bitmap.bits.indices())


def target(machine: Machine) -> bytes:
    return machine.images.read_chain("t", 0, SIZE)


def ends(machine: Machine) -> list[dict[str, Any]]:
    return [each["data"] for each in machine.events.read(0) if each["event"].startswith("BLOCK_JOB_C")]


def machine_with_layers(content: bytes) -> Machine:
    """One whose disk has this from its third cluster on, and a backing file that is full."""
    machine = Machine()
    machine.images.create("base", "qcow2", SIZE).write(0, b"b" * SIZE)
    top = machine.images.create("top", "qcow2", SIZE, backing="base", backing_format="qcow2")
    top.write(2 * CLUSTER, content)
    machine.add_disk("drive0", file="top")
    return machine


def test_a_full_backup_is_the_disk_at_its_start_whatever_the_guest_writes_meanwhile(machine: Machine) -> None:
    backup(machine, x_perf=ONE_BY_ONE)
    drive, offset = machine.drive("drive0"), SIZE
    while machine.qmp("query-jobs"):
        offset = (offset - 3 * CLUSTER // 2) % SIZE
        drive.write(offset, b"n" * min(CLUSTER, SIZE - offset))
        machine.step()
    assert target(machine) == OLD


def test_before_the_first_guest_write_all_of_the_disk_is_still_to_be_copied(machine: Machine) -> None:
    backup(machine, "none")
    (job,) = machine.qmp("query-jobs")
    assert (job["current-progress"], job["total-progress"]) == (0, SIZE)


def test_a_drained_section_after_the_look_up_of_a_top_backup_finishes_the_chunks_in_flight() -> None:
    machine = machine_with_layers(b"top" * CLUSTER)
    machine.images.create("t", "qcow2", SIZE)
    machine.delay_io("t", "write", 10)
    backup(machine, "top", device="drive0", mode="existing", x_perf=ONE_BY_ONE)
    assert [task.label for task in machine.scheduler.ready()] == ["j: look up what is allocated"]
    machine.run_until_idle()
    machine.qmp("transaction", actions=[])
    (job,) = machine.qmp("query-jobs")
    assert (job["status"], job["current-progress"], job["total-progress"]) == ("running", 2 * CLUSTER, 3 * CLUSTER)
    machine.advance(30)
    assert machine.images.lookup("t").content.stored_clusters() == [2, 3, 4]


def test_a_drained_section_finishes_the_look_up_of_a_top_backup_and_what_it_puts_in_flight() -> None:
    machine = machine_with_layers(b"top" * CLUSTER)
    backup(machine, "top", device="drive0")
    machine.qmp("transaction", actions=[])
    assert (machine.qmp("query-jobs"), machine.images.lookup("t").content.stored_clusters()) == ([], [2, 3, 4])


@pytest.mark.parametrize(
    "perf", [{"max-workers": 1}, {"max-workers": 0x7FFFFFFF}, {"max-chunk": 0}, {"max-chunk": CLUSTER}]
)
def test_the_smallest_and_the_largest_of_what_can_be_asked_for_will_do(machine: Machine, perf: dict[str, int]) -> None:
    backup(machine, x_perf=perf)
    machine.run_until_idle()
    assert target(machine) == OLD


@pytest.mark.parametrize(("copy_range", "mebibytes"), [(True, [1, 1, 16, 2]), (False, [1] * 20)])
def test_larger_chunks_are_tried_if_the_host_is_to_copy_by_itself(copy_range: bool, mebibytes: list[int]) -> None:
    machine, size = Machine(), 20 << 20
    machine.add_disk("drive0", size, node_name="node0").write(0, b"o" * size)
    backup(machine, x_perf={"use-copy-range": copy_range, "max-workers": 1})
    labels: dict[str, None] = {}
    while ready := machine.scheduler.ready():
        labels[ready[0].label] = None
        machine.step()
    assert [int(label.rpartition("+")[2]) for label in labels] == [length << 20 for length in mebibytes]


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (
            (1 << 63) - 1,
            "Could not create node: Cannot create block-copy-state: min-cluster-size needs to be a power of 2",
        ),
        (1 << 63, "min-cluster-size too large: 9223372036854775808 > 9223372036854775807"),
    ],
)
def test_a_cluster_size_is_at_most_what_63_bits_hold(machine: Machine, size: int, text: str) -> None:
    with pytest.raises(QmpError) as refusal:
        backup(machine, x_perf={"min-cluster-size": size})
    assert refusal.value.desc == text


def test_a_guest_write_before_the_copy_reads_the_old_content_once(machine: Machine) -> None:
    backup(machine, "none")
    machine.drive("drive0").write(CLUSTER + 5, b"new")
    machine.drive("drive0").write(CLUSTER + 5, b"newer")
    machine.qmp("job-cancel", id="j")
    image = machine.images.lookup("t")
    assert image.content.stored_clusters() == [1]
    assert image.content.read(CLUSTER, CLUSTER) == b"o" * CLUSTER
    assert image.backing == "drive0.qcow2"


def test_a_top_backup_copies_the_top_layer_and_keeps_the_backing_file() -> None:
    machine = Machine()
    machine.images.create("base", "qcow2", SIZE).write(0, b"b" * SIZE)
    machine.add_disk("drive0", SIZE, backing="base").write(2 * CLUSTER, b"top")
    backup(machine, "top", device="drive0")
    machine.run_until_idle()
    assert machine.images.lookup("t").backing == "base"
    assert machine.images.lookup("t").content.stored_clusters() == [2]
    assert machine.images.compare("t", "drive0.qcow2") is None


def test_an_incremental_backup_copies_what_is_dirty_and_cleans_it(machine: Machine) -> None:
    backup(machine, "incremental", bitmap="b")
    machine.run_until_idle()
    assert machine.images.lookup("t").content.stored_clusters() == [0, 1, 2, 3]
    assert dirty(machine) == set()
    assert (ends(machine)[0]["len"], ends(machine)[0]["offset"]) == (4 * CLUSTER, 4 * CLUSTER)


def test_an_incremental_backup_of_an_empty_bitmap_copies_nothing(machine: Machine) -> None:
    machine.qmp("block-dirty-bitmap-clear", node="drive0", name="b")
    backup(machine, "incremental", bitmap="b")
    machine.run_until_idle()
    assert machine.images.lookup("t").content.stored_clusters() == []
    assert (ends(machine)[0]["len"], ends(machine)[0]["offset"]) == (0, 0)


NEW = 9
"""The cluster that the guest writes during the job."""

AFTERWARDS = [
    ("incremental", None, {NEW}, {0, 1, 2, 3, NEW}),
    ("bitmap", "on-success", {NEW}, {0, 1, 2, 3, NEW}),
    ("bitmap", "never", {0, 1, 2, 3, NEW}, {0, 1, 2, 3, NEW}),
    ("bitmap", "always", {NEW}, {1, 2, 3, NEW}),
    ("full", "on-success", {NEW}, {0, 1, 2, 3, NEW}),
    ("full", "always", {NEW}, {*range(1, 16)}),
]
"""sync, bitmap-mode, what is dirty after success, and after a failure or a cancel behind the first cluster."""


def begin(machine: Machine, sync: str, mode: str | None) -> None:
    """Copy the first cluster; then the guest writes."""
    options = {"bitmap": "b", "speed": 1, "x_perf": ONE_BY_ONE, **({"bitmap_mode": mode} if mode else {})}
    backup(machine, sync, **options)
    machine.run_until_idle()
    machine.drive("drive0").write(NEW * CLUSTER, b"n")


@pytest.mark.parametrize(("sync", "mode", "after", "_failed"), AFTERWARDS)
def test_the_bitmap_after_success(machine: Machine, sync: str, mode: str, after: set[int], _failed: set[int]) -> None:
    begin(machine, sync, mode)
    machine.qmp("block-job-set-speed", device="j", speed=0)
    machine.run_until_idle()
    assert "error" not in ends(machine)[0]
    assert dirty(machine) == after


@pytest.mark.parametrize(("sync", "mode", "_after", "failed"), AFTERWARDS)
def test_the_bitmap_after_a_cancel(machine: Machine, sync: str, mode: str, _after: set[int], failed: set[int]) -> None:
    begin(machine, sync, mode)
    machine.qmp("job-cancel", id="j")
    machine.run_until_idle()
    assert dirty(machine) == failed


@pytest.mark.parametrize(("sync", "mode", "_after", "failed"), AFTERWARDS)
def test_the_bitmap_after_a_failure(machine: Machine, sync: str, mode: str, _after: set[int], failed: set[int]) -> None:
    begin(machine, sync, mode)
    machine.inject_error("t", "write", errno.EIO, CLUSTER)
    machine.qmp("block-job-set-speed", device="j", speed=0)
    machine.run_until_idle()
    assert ends(machine)[0]["error"] == "Input/output error"
    assert dirty(machine) == failed


def test_a_target_without_room_fails_and_another_try_succeeds(machine: Machine) -> None:
    machine.limit_capacity("t", 2 * CLUSTER)
    backup(machine, "incremental", bitmap="b")
    machine.run_until_idle()
    assert ends(machine)[0]["error"] == "No space left on device"
    assert dirty(machine) == {0, 1, 2, 3}
    machine.limit_capacity("t", None)
    backup(machine, "incremental", bitmap="b")
    machine.run_until_idle()
    assert dirty(machine) == set()


POLICIES = [
    ("report", errno.EIO, "report"),
    ("report", errno.ENOSPC, "report"),
    ("ignore", errno.EIO, "ignore"),
    ("ignore", errno.ENOSPC, "ignore"),
    ("stop", errno.EIO, "stop"),
    ("stop", errno.ENOSPC, "stop"),
    ("enospc", errno.EIO, "report"),
    ("enospc", errno.ENOSPC, "stop"),
    ("auto", errno.EIO, "report"),
    ("auto", errno.ENOSPC, "stop"),
]


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize(("policy", "number", "action"), POLICIES)
def test_an_error_is_reported_ignored_or_stops_the_job(
    machine: Machine, side: str, policy: str, number: int, action: str
) -> None:
    where, operation = ("node0", "read") if side == "source" else ("t", "write")
    options = {f"on_{side}_error": policy, "speed": 1, "x_perf": ONE_BY_ONE}
    backup(machine, **options)
    machine.run_until_idle()
    machine.inject_error(where, operation, number, 5 * CLUSTER, once=True)
    machine.qmp("block-job-set-speed", device="j", speed=0)
    machine.run_until_idle()
    (error,) = [each["data"] for each in machine.events.read(0) if each["event"] == "BLOCK_JOB_ERROR"]
    assert error == {"device": "j", "operation": operation, "action": action}
    if action == "stop":
        (job,) = machine.qmp("query-block-jobs")
        io_status = "nospace" if number == errno.ENOSPC else "failed"
        assert (job["status"], job["io-status"]) == ("paused", io_status)
        machine.qmp("job-resume", id="j")
        machine.run_until_idle()
    if action == "report":
        assert "error" in ends(machine)[0]
    else:
        assert "error" not in ends(machine)[0]
        assert target(machine) == OLD


def test_a_guest_write_fails_if_the_old_content_cannot_be_saved_and_the_job_goes_on(machine: Machine) -> None:
    backup(machine, "none")
    machine.inject_error("t", "write", errno.EIO, CLUSTER, once=True)
    with pytest.raises(OSError, match=r".+"):
        machine.drive("drive0").write(CLUSTER, b"n")
    assert machine.images.read_chain("drive0.qcow2", 0, SIZE) == OLD
    assert dirty(machine) == {0, 1, 2, 3}
    machine.drive("drive0").write(CLUSTER, b"n")
    assert machine.qmp("query-jobs")[0]["status"] == "running"


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"sync": "incremental"}, "must provide a valid bitmap name for 'incremental' sync mode"),
    (
        {"sync": "incremental", "bitmap": "b", "bitmap_mode": "never"},
        "Bitmap sync mode must be 'on-success' when using sync mode 'incremental'",
    ),
    ({"sync": "incremental", "bitmap": "x"}, "Bitmap 'x' could not be found"),
    ({"sync": "bitmap", "bitmap": "b"}, "Bitmap sync mode must be given when providing a bitmap"),
    (
        {"sync": "none", "bitmap": "b", "bitmap_mode": "always"},
        "sync mode 'none' does not produce meaningful bitmap outputs",
    ),
    (
        {"sync": "full", "bitmap": "b", "bitmap_mode": "never"},
        "Bitmap sync mode 'never' has no meaningful effect when combined with sync mode 'full'",
    ),
    ({"sync": "full", "bitmap_mode": "always"}, "Cannot specify bitmap sync mode without a bitmap"),
    ({"sync": "full", "format": "nosuch"}, "Unknown file format 'nosuch'"),
    ({"sync": "full", "target": "no/t"}, "Could not create 'no/t': No such file or directory"),
    ({"sync": "full", "target": "gone", "mode": "existing"}, "Could not open 'gone': No such file or directory"),
    ({"sync": "full", "device": "nope"}, "Cannot find device='nope' nor node-name='nope'"),
    ({"sync": "full", "job_id": "1"}, "Invalid job ID '1'"),
    ({"sync": "full", "speed": -1}, "Parameter 'speed' expects a non-negative value"),
    ({"sync": "full", "x_perf": {"max-workers": 0}}, "max-workers must be between 1 and 2147483647"),
    ({"sync": "full", "x_perf": {"max-workers": 1 << 31}}, "max-workers must be between 1 and 2147483647"),
    ({"sync": "full", "x_perf": {"max-chunk": -1}}, "max-chunk must be zero (which means no limit) or positive"),
    (
        {"sync": "full", "x_perf": {"max-chunk": 4096}},
        "Required max-chunk (4096) is less than backup cluster size (65536)",
    ),
]


@pytest.mark.parametrize(("options", "text"), REFUSALS)
def test_a_refused_backup_changes_nothing_but_may_leave_its_new_file(
    machine: Machine, options: dict[str, Any], text: str
) -> None:
    before = machine.qmp("query-block"), machine.qmp("query-named-block-nodes")
    with pytest.raises(QmpError) as refusal:
        backup(machine, **options)
    assert refusal.value.desc == text
    assert (machine.qmp("query-block"), machine.qmp("query-named-block-nodes")) == before
    assert machine.qmp("query-jobs") == []
    assert dirty(machine) == {0, 1, 2, 3}


def test_a_disk_is_not_its_own_target(machine: Machine) -> None:
    with pytest.raises(QmpError, match=r'^Failed to get "write" lock$'):
        backup(machine, target="drive0.qcow2", mode="existing")
    with pytest.raises(QmpError, match=r"^Source and target cannot be the same$"):
        machine.qmp("blockdev-backup", device="drive0", target="node0", sync="full")


def test_a_target_of_another_size_is_refused_and_the_bitmap_is_free_again(machine: Machine) -> None:
    machine.images.create("t", "qcow2", 2 * SIZE)
    with pytest.raises(QmpError, match=r"^Source and target image have different sizes$"):
        backup(machine, "incremental", bitmap="b", mode="existing")
    assert dirty(machine) == {0, 1, 2, 3}


def test_a_second_backup_of_the_same_drive_is_refused(machine: Machine) -> None:
    backup(machine, "none")
    with pytest.raises(QmpError, match=r"^Node 'drive0' is busy: block device is in use by block job: backup$"):
        backup(machine, device="drive0", job_id="k", target="t2")


def test_what_is_copied_together_is_the_larger_cluster(machine: Machine) -> None:
    machine.images.create("t", "qcow2", SIZE, cluster_size=4 * CLUSTER)
    machine.qmp("block-dirty-bitmap-clear", node="drive0", name="b")
    machine.drive("drive0").write(5 * CLUSTER, b"n")
    backup(machine, "incremental", bitmap="b", mode="existing", format="qcow2")
    machine.run_until_idle()
    assert ends(machine)[0]["len"] == 4 * CLUSTER
    assert machine.images.read_chain("t", 4 * CLUSTER, 4 * CLUSTER) == machine.drive("drive0").read(
        4 * CLUSTER, 4 * CLUSTER
    )


def test_a_disk_stays_as_long_as_it_was_while_a_longer_overlay_is_below_the_filter_of_a_backup(
    machine: Machine,
) -> None:
    backup(machine, "full", job_id="j", speed=1, x_perf={"max-chunk": CLUSTER})
    machine.images.create("overlay", "qcow2", SIZE + CLUSTER)
    machine.add_node({"driver": "qcow2", "node-name": "o", "file": {"driver": "file", "filename": "overlay"}})
    machine.qmp("blockdev-snapshot", node="node0", overlay="o")
    drive = machine.drive("drive0")
    with pytest.raises(OSError, match="Input/output error"):
        drive.write(SIZE, b"n")
    machine.qmp("block-job-cancel", device="j")
    machine.run_until_idle()
    drive.write(SIZE, b"n")
    assert drive.read(SIZE, 1) == b"n"


@pytest.mark.parametrize(
    ("profile", "order"),
    [("2.5", ["drive1", "drive2", "drive0"]), ("7.2", ["drive2", "drive1", "drive0"])],
)
def test_a_failed_group_ends_in_reverse_order_and_in_old_releases_who_has_failed_first(
    profile: str, order: list[str]
) -> None:
    machine, actions = Machine(profile), []
    for number in range(3):
        name = f"drive{number}"
        machine.add_disk(name, 4 * CLUSTER).write(0, b"o" * 4 * CLUSTER)
        machine.images.create(f"t{number}", "qcow2", 4 * CLUSTER)
        data = {"device": name, "target": f"t{number}", "sync": "full", "mode": "existing", "format": "qcow2"}
        actions.append({"type": "drive-backup", "data": data})
    machine.inject_error("t1", "write", errno.EIO)
    machine.qmp("transaction", actions=actions, properties={"completion-mode": "grouped"})
    machine.run_until_idle()
    said = [(each["event"], each["data"].get("device")) for each in machine.events.read(0)]
    names = {"drive1": "BLOCK_JOB_COMPLETED"}
    assert [each for each in said if each[0].startswith("BLOCK_JOB_C")] == [
        (names.get(device, "BLOCK_JOB_CANCELLED"), device) for device in order
    ]


def test_while_a_top_backup_looks_up_what_is_allocated_a_guest_write_saves_nothing_of_the_layers_below() -> None:
    machine = machine_with_layers(b"t" * CLUSTER)
    machine.qmp("drive-backup", device="drive0", target="t", sync="top", job_id="j")
    assert [task.label for task in machine.scheduler.ready()] == ["j: look up what is allocated"]
    for cluster in (2, 5):
        machine.drive("drive0").write(cluster * CLUSTER, b"n")
    assert machine.images.lookup("t").content.stored_clusters() == [2]


def test_of_a_group_that_is_refused_the_job_that_was_not_made_ends_without_a_word_of_its_own() -> None:
    machine, actions = Machine(), []
    for number in range(2):
        machine.add_disk(f"drive{number}", CLUSTER)
        data = {"device": f"drive{number}", "target": f"t{number}", "sync": "full", "job-id": f"j{number}"}
        actions.append({"type": "drive-backup", "data": {**data, "speed": -number}})
    with pytest.raises(QmpError, match="Parameter 'speed' expects a non-negative value"):
        machine.qmp("transaction", actions=actions, properties={"completion-mode": "grouped"})
    said = [(each["data"]["id"], each["data"]["status"]) for each in machine.events.read(0)]
    assert said == [("j0", "created"), ("j1", "created"), ("j1", "null")] + [
        ("j0", status) for status in ("aborting", "concluded", "null")
    ]
