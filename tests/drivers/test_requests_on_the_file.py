"""What a qcow2 node asks of its file, and that it changes nothing before the file has agreed.

Places are those of a new file of 1 GiB with clusters of 64 KiB: header, refcount table, refcounts and the L1 table take
a cluster each, the first L2 table is at 4 clusters, the first data at 5. That a failed zero-write and a failed discard
leave the disk as it was is measured on QEMU 7.2 with blkdebug's l2_alloc_write.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence

import pytest

from qbitsim.block.drive import Drive
from qbitsim.machine.machine import Machine

CLUSTER = 65536
DATA = b"x" * CLUSTER
TABLE, FIRST = 4 * CLUSTER, 5 * CLUSTER


def watched(
    *rules: dict[str, object], states: Sequence[dict[str, object]] = (), bitmap: bool = False
) -> tuple[Machine, Drive]:
    """A qcow2 disk whose file is below blkdebug, with a bitmap ``b`` on the file if wanted."""
    machine = Machine()
    machine.images.create("q", "qcow2", 1 << 30)
    file = {"driver": "file", "filename": "q", "node-name": "p"}
    debug = {"driver": "blkdebug", "image": file, "inject-error": list(rules), "set-state": list(states)}
    machine.execute("blockdev-add", {"driver": "qcow2", "node-name": "n", "discard": "unmap", "file": debug})
    if bitmap:
        machine.qmp("block-dirty-bitmap-add", node="p", name="b", granularity=512)
    return machine, machine.add_drive("d", machine.graph.nodes["n"])


def failing_at(place: int, **more: object) -> dict[str, object]:
    return {"event": "none", "iotype": "write", "sector": place // 512, "once": True, **more}


def dirty(machine: Machine) -> list[tuple[int, int]]:
    bitmap = machine.graph.nodes["p"].find_bitmap("b")
    assert bitmap is not None
    return [(start * 512, (stop - start) * 512) for start, stop in bitmap.bits.ranges()]


def test_a_first_write_asks_for_the_tables_and_then_for_the_data_and_the_file_grows() -> None:
    machine, drive = watched(bitmap=True)
    drive.write(CLUSTER, b"y" * 512)
    assert dirty(machine) == [(2 * CLUSTER, CLUSTER + 512), (TABLE, CLUSTER + 512)]
    assert machine.graph.nodes["p"].length == FIRST + CLUSTER


def test_a_later_write_in_reach_of_the_same_table_asks_for_its_data_only() -> None:
    machine, drive = watched(bitmap=True)
    drive.write(0, DATA)
    machine.qmp("block-dirty-bitmap-clear", node="p", name="b")
    drive.write(CLUSTER, DATA)
    assert dirty(machine) == [(FIRST + CLUSTER, CLUSTER)]


@pytest.mark.parametrize("bitmap", [False, True])
def test_a_table_that_cannot_be_written_leaves_the_disk_and_the_places_as_they_were(bitmap: bool) -> None:
    machine, drive = watched(failing_at(TABLE), bitmap=bitmap)
    image = machine.images.lookup("q")
    before = image.image_end, image.file_length
    with pytest.raises(OSError, match="Input/output error"):
        drive.write(0, DATA)
    assert (image.image_end, image.file_length) == before
    assert drive.read(0, CLUSTER) == bytes(CLUSTER)
    drive.write(0, DATA)
    assert (image.host_offset(0), image.image_end) == (FIRST, FIRST + CLUSTER)


def test_data_that_cannot_be_written_give_their_place_back_and_the_new_table_stays() -> None:
    machine, drive = watched(failing_at(FIRST + CLUSTER, errno=errno.ENOSPC))
    image = machine.images.lookup("q")
    with pytest.raises(OSError, match="No space left"):
        drive.write(0, 3 * DATA)
    assert image.image_end == FIRST
    assert drive.read(0, 3 * CLUSTER) == bytes(3 * CLUSTER)
    drive.write(7 * CLUSTER, DATA)
    assert [image.host_offset(cluster * CLUSTER) for cluster in (0, 7)] == [None, FIRST]


def test_a_cluster_that_had_data_keeps_them_and_its_place_if_it_cannot_be_written_again() -> None:
    machine, drive = watched({"event": "none", "iotype": "write", "sector": (FIRST + CLUSTER) // 512})
    drive.write(0, DATA)
    with pytest.raises(OSError, match="Input/output error"):
        drive.write(0, b"z" * (2 * CLUSTER))
    image = machine.images.lookup("q")
    assert (drive.read(0, CLUSTER), image.host_offset(0), image.host_offset(CLUSTER)) == (DATA, FIRST, None)


@pytest.mark.parametrize("operation", ["write_zeroes", "discard"])
def test_what_cannot_be_zeroed_or_discarded_stays_as_it_was(operation: str) -> None:
    machine, drive = watched(failing_at(TABLE))
    image = machine.images.lookup("q")
    with pytest.raises(OSError, match="Input/output error"):
        getattr(drive, operation)(0, CLUSTER)
    assert drive.status(0, CLUSTER).allocated is False
    assert image.image_end == TABLE
    getattr(drive, operation)(0, CLUSTER)
    assert image.image_end == FIRST


def test_a_discard_of_no_whole_cluster_asks_for_nothing() -> None:
    machine, drive = watched(bitmap=True)
    drive.discard(1, CLUSTER)
    assert dirty(machine) == []


def test_a_limit_on_the_image_is_looked_at_before_the_file_is_asked() -> None:
    machine, drive = watched(bitmap=True)
    image = machine.images.lookup("q")
    image.file.capacity = 0
    with pytest.raises(OSError, match="No space left"):
        drive.write(0, DATA)
    assert (dirty(machine), image.image_end) == ([], TABLE)


def test_a_cluster_that_was_zeroed_in_place_is_still_one_after_a_write_that_failed() -> None:
    rule = {"event": "write_aio", "state": 2, "iotype": "write", "once": True}
    _machine, drive = watched(rule, states=[{"event": "flush_to_disk", "state": 1, "new_state": 2}])
    drive.write(0, DATA)
    drive.write_zeroes(0, CLUSTER)
    drive.flush()
    for compressed in (False, True):  # the second one is refused because the cluster has a place
        with pytest.raises(OSError, match="Input/output error"):
            drive.write(0, DATA, compressed=compressed)
