"""What nodes do with requests, and what marks bits."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim.block.node import Node
from qbitsim.errors import QmpError
from qbitsim.machine.machine import Machine

SIZE = 1 << 20


def machine_with_bitmap(**options: object) -> Machine:
    machine = Machine()
    machine.add_disk("drive0", SIZE, node_name="node0", **options)
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b")
    return machine


def count(machine: Machine) -> int:
    bitmap = machine.graph.nodes["node0"].find_bitmap("b")
    assert bitmap is not None
    return bitmap.count


def refused(machine: Machine, number: int, method: str, *arguments: object) -> None:
    with pytest.raises(OSError, match=r".+") as failure:
        getattr(machine.drive("drive0"), method)(*arguments)
    assert failure.value.errno == number
    assert count(machine) == 0


def test_writes_and_zero_writes_mark_reads_flushes_and_empty_writes_do_not() -> None:
    machine = machine_with_bitmap()
    drive = machine.drive("drive0")
    drive.read(0, SIZE)
    drive.flush()
    drive.write(0, b"")
    drive.write_zeroes(5, 0)
    assert count(machine) == 0
    drive.write(65535, b"ab")
    assert count(machine) == 2 * 65536
    drive.write_zeroes(SIZE - 1, 1)
    assert count(machine) == 3 * 65536


def test_discards_mark_if_they_are_passed_on_and_are_dropped_otherwise() -> None:
    for discard, marked in ((True, 65536), (False, 0)):
        machine = machine_with_bitmap(discard=discard)
        machine.drive("drive0").discard(1, 1)
        assert count(machine) == marked


def test_a_discard_makes_whole_clusters_zero() -> None:
    machine = machine_with_bitmap(discard=True)
    drive = machine.drive("drive0")
    drive.write(0, b"x" * (3 * 65536))
    drive.discard(65535, 65536 + 2)
    assert drive.read(0, 3 * 65536) == b"x" * 65536 + bytes(65536) + b"x" * 65536


def test_a_request_beyond_the_end_is_refused_before_it_marks() -> None:
    refused(machine_with_bitmap(), errno.EIO, "write", SIZE - 1, b"ab")
    refused(machine_with_bitmap(), errno.EIO, "write", -1, b"a")
    refused(machine_with_bitmap(), errno.EIO, "write_zeroes", SIZE, 1)


def test_a_read_only_disk_refuses_writes_before_they_mark() -> None:
    machine = Machine()
    machine.images.create("d", "qcow2", SIZE)
    machine.add_disk("drive0", file="d", node_name="node0", read_only=True)
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b")
    refused(machine, errno.EPERM, "write", 0, b"a")


def test_a_drive_without_medium_has_nothing_to_read() -> None:
    machine = Machine()
    drive = machine.add_drive("cd0", None)
    assert drive.size == 0
    with pytest.raises(OSError, match="No medium found"):
        drive.read(0, 1)


@pytest.mark.parametrize(
    ("cluster_size", "granularity"),
    [(512, 4096), (4096, 4096), (32768, 32768), (65536, 65536), (131072, 65536), (2 << 20, 65536)],
)
def test_the_default_granularity_is_the_cluster_size_within_4_and_64_kib(cluster_size: int, granularity: int) -> None:
    machine = Machine()
    machine.add_disk("drive0", SIZE, cluster_size=cluster_size, node_name="node0")
    assert machine.graph.nodes["node0"].default_granularity == granularity


def test_a_raw_disk_has_no_clusters_and_the_default_granularity_is_64_kib() -> None:
    machine = Machine()
    machine.add_disk("drive0", SIZE, format="raw", node_name="node0")
    assert machine.graph.nodes["node0"].default_granularity == 65536


def node() -> Node:
    return machine_with_bitmap().graph.nodes["node0"]


def test_bitmaps_are_listed_newest_first() -> None:
    target = node()
    for name in "xy":
        target.create_bitmap(name, 65536)
    assert [bitmap.name for bitmap in target.bitmaps] == ["y", "x", "b"]


def test_there_can_be_any_number_of_anonymous_bitmaps() -> None:
    target = node()
    for _ in range(3):
        target.create_bitmap(None, 65536)
    assert [bitmap.name for bitmap in target.bitmaps] == [None, None, None, "b"]


def test_a_name_is_taken_once_per_node_and_is_at_most_1023_bytes_long() -> None:
    target = node()
    with pytest.raises(QmpError, match=r"^Bitmap already exists: b$"):
        target.create_bitmap("b", 65536)
    target.create_bitmap("é" * 511 + "x", 65536)
    too_long = "é" * 512
    with pytest.raises(QmpError, match=f"^Bitmap name too long: {too_long}$"):
        target.create_bitmap(too_long, 65536)
    assert len(target.bitmaps) == 2


def test_a_one_pebibyte_disk_costs_nothing_until_it_is_written() -> None:
    machine = Machine()
    drive = machine.add_disk("drive0", "1P")
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="b")
    drive.write((1 << 50) - 4, b"end!")
    assert drive.read((1 << 50) - 8, 8) == b"\0\0\0\0end!"
    assert machine.images.lookup("drive0.qcow2").content.allocated == 65536


REQUESTS = st.lists(
    st.tuples(st.sampled_from(["write", "zero", "discard"]), st.integers(0, SIZE), st.integers(0, 3 * 65536)),
    max_size=8,
)


@given(REQUESTS, st.booleans())
def test_any_sequence_of_requests_reads_as_a_plain_byte_array(requests: list[Any], backed: bool) -> None:
    machine = Machine()
    model = bytearray(SIZE)
    if backed:
        machine.images.create("base", "qcow2", SIZE).write(1000, b"\xbb" * 200_000)
        model[1000:201_000] = b"\xbb" * 200_000
    drive = machine.add_disk("drive0", SIZE, backing="base" if backed else None, discard=True)
    for index, (kind, offset, wanted) in enumerate(requests):
        length = min(wanted, SIZE - offset)
        end = offset + length
        if kind == "write":
            drive.write(offset, bytes([index + 1]) * length)
            model[offset:end] = bytes([index + 1]) * length
        elif kind == "zero":
            drive.write_zeroes(offset, length, unmap=bool(index % 2))
            model[offset:end] = bytes(length)
        else:
            drive.discard(offset, length)
            start, stop = -(-offset // 65536) * 65536, end // 65536 * 65536
            model[start:stop] = bytes(max(0, stop - start))
    assert drive.read(0, SIZE) == model
