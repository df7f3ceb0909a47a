"""What a node writes into its file when it is closed or cut off, as a threshold tells; measured on QEMU 7.2 to 11.1.

It has its header, two tables of refcounts and the L1 table in clusters 0 to 3, the L2 table in 4, data from 5 on.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from qbitsim.machine.machine import Machine

CLUSTER = 65536
REFCOUNTS = 3 * CLUSTER
RELEASES = ("7.2", "10.0", "11.1")


def opened(release: str, *, backing: bool = False) -> Machine:
    """A disk ``node0`` in ``file0``, of which clusters 4 to 7 were written and not flushed."""
    made = Machine(release)
    made.images.create("base", "qcow2", 1 << 20)
    made.images.create("top", "qcow2", 1 << 20, backing="base" if backing else None, backing_format="qcow2")
    file = {"driver": "file", "filename": "top", "node-name": "file0"}
    below = {"backing": {"driver": "qcow2", "file": {"driver": "file", "filename": "base"}}} if backing else {}
    made.add_node({"driver": "qcow2", "node-name": "node0", "discard": "unmap", "file": file, **below})
    made.images.create("target", "raw", 1 << 20)
    made.add_node({"driver": "file", "node-name": "target", "filename": "target"})
    return made


def write(machine: Machine) -> None:
    machine.graph.nodes["node0"].write(4 * CLUSTER, b"x" * (4 * CLUSTER))
    machine.graph.nodes["node0"].tell_writes()


def told(machine: Machine, act: Callable[[], object]) -> list[int]:
    """Where the first write behind the first cluster ends, if there is one."""
    machine.qmp("block-set-write-threshold", node_name="file0", write_threshold=CLUSTER)
    seen = machine.events.end
    act()
    data = [event["data"] for event in machine.events.read(seen) if event["event"] == "BLOCK_WRITE_THRESHOLD"]
    machine.qmp("block-set-write-threshold", node_name="file0", write_threshold=0)
    return [each["amount-exceeded"] + CLUSTER for each in data]


def flush(machine: Machine) -> list[int]:
    return told(machine, machine.graph.nodes["node0"].flush)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("options", "ends"),
    [
        ({"driver": "copy-on-read"}, [REFCOUNTS]),
        ({"driver": "throttle", "throttle-group": "group"}, [REFCOUNTS]),
        ({"driver": "raw"}, []),
    ],
)
def test_a_filter_that_is_deleted_flushes_what_it_may_write_to(
    release: str, options: dict[str, str], ends: list[int]
) -> None:
    machine = opened(release)
    machine.qmp("object-add", qom_type="throttle-group", id="group")
    machine.execute("blockdev-add", {**options, "node-name": "filter", "file": "node0"})
    write(machine)
    assert told(machine, lambda: machine.qmp("blockdev-del", node_name="filter")) == ends
    assert flush(machine) == ([] if ends else [REFCOUNTS])


def test_a_disk_that_is_deleted_is_flushed() -> None:
    machine = Machine()
    machine.images.create("top", "qcow2", 1 << 20)
    machine.execute("blockdev-add", {"driver": "file", "filename": "top", "node-name": "file0"})
    machine.execute("blockdev-add", {"driver": "qcow2", "node-name": "node0", "file": "file0"})
    write(machine)
    assert told(machine, lambda: machine.qmp("blockdev-del", node_name="node0")) == [REFCOUNTS]


@pytest.mark.parametrize(("release", "ends"), [("7.2", []), ("10.0", [REFCOUNTS])])
def test_the_filter_of_a_stream_flushes_when_the_job_is_dismissed(release: str, ends: list[int]) -> None:
    machine = opened(release, backing=True)
    write(machine)
    machine.qmp("block-stream", job_id="j", device="node0", auto_dismiss=False)
    assert told(machine, machine.run_until_idle) == []
    assert told(machine, lambda: machine.qmp("job-dismiss", id="j")) == ends
    assert flush(machine) == ([] if ends else [REFCOUNTS])


@pytest.mark.parametrize(("release", "ends"), [("7.2", []), ("10.0", [REFCOUNTS])])
def test_the_filter_of_a_backup_flushes_when_it_is_taken_out(release: str, ends: list[int]) -> None:
    machine = opened(release)
    write(machine)
    machine.qmp("blockdev-backup", job_id="j", device="node0", target="target", sync="full")
    assert told(machine, machine.run_until_idle) == ends


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(("end", "ends"), [("job-cancel", [REFCOUNTS]), ("job-complete", [])])
def test_the_filter_of_a_mirror_flushes_the_source_that_it_gives_back(release: str, end: str, ends: list[int]) -> None:
    machine = opened(release)
    write(machine)
    machine.qmp("blockdev-mirror", job_id="j", device="node0", target="target", sync="full")
    machine.run_until_idle()

    def finish() -> None:
        machine.qmp(end, id="j")
        machine.run_until_idle()

    assert told(machine, finish) == ends


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("flushed", "size", "ends"),
    [
        (True, 8, [2 * CLUSTER]),  # the refcount table
        (True, 5, [9 * CLUSTER]),  # the discard
        (True, 0, [9 * CLUSTER]),
        (True, 32, []),
        (False, 8, [2 * CLUSTER]),
        (False, 5, [REFCOUNTS]),
        (False, 0, [REFCOUNTS]),
        (False, 32, [REFCOUNTS]),
    ],
)
def test_a_disk_that_is_resized_writes_its_tables(release: str, flushed: bool, size: int, ends: list[int]) -> None:
    machine = opened(release)
    write(machine)
    if flushed:
        flush(machine)
    assert told(machine, lambda: machine.qmp("block_resize", node_name="node0", size=size * CLUSTER)) == ends
    assert flush(machine) == []


@pytest.mark.parametrize(("sizes", "found"), [((5,), (1, 3)), ((5, 4), (2, 4)), ((0,), (2, 5)), ((8,), (0, 0))])
def test_what_is_cut_off_is_discarded_together_and_each_l2_table_alone(
    sizes: tuple[int, ...], found: tuple[int, int]
) -> None:
    machine = opened("10.0")
    machine.add_drive("drive0", machine.graph.nodes["node0"])
    write(machine)
    for size in sizes:
        machine.qmp("block_resize", node_name="node0", size=size * CLUSTER)
    stats = machine.qmp("query-blockstats", query_nodes=True)
    specific = next(each["driver-specific"] for each in stats if each["node-name"] == "file0")
    assert (specific["discard-nb-ok"], specific["discard-bytes-ok"] // CLUSTER) == found
