"""What nodes do with requests, and what marks bits."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim.block.drive import Drive
from qbitsim.block.node import Node, poll_all
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.machine.machine import Machine

SIZE = 1 << 20


def machine_with_bitmap(**options: object) -> Machine:
    machine = Machine()
    machine.add_disk("drive0", SIZE, node_name="node0", **options)
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b")
    return machine


def test_without_a_limit_no_request_has_to_wait() -> None:
    nodes = machine_with_bitmap().graph.nodes.values()
    operations = ("read", "write", "write-zeroes")
    assert {(node.delay(operation, SIZE), node.outage) for node in nodes for operation in operations} == {(0, 0)}


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


def test_of_several_reasons_why_a_node_is_blocked_the_newest_is_told() -> None:
    target = node()
    for reason in ("one", "another", "the last"):
        target.block(reason)
    for operation in ("mirror-target", "drive-del"):
        with pytest.raises(QmpError, match=r"^Node 'drive0' is busy: the last$"):
            target.check_not_blocked(operation)


def chain() -> Machine:
    """``top`` over ``mid`` over ``base``, all of them nodes with names."""
    machine = Machine()
    machine.images.create("base", "raw", SIZE)
    for name, below in (("mid", "base"), ("top", "mid")):
        machine.images.create(name, "qcow2", SIZE, backing=below, backing_format="qcow2" if name == "top" else "raw")
    file = {"driver": "file", "filename": "base"}
    machine.add_node({"driver": "raw", "node-name": "base", "read-only": True, "file": file})
    for name, below in (("mid", "base"), ("top", "mid")):
        read_only = name == "mid"
        file = {"driver": "file", "filename": name, "node-name": f"{name}-file", "read-only": read_only}
        options = {"driver": "qcow2", "node-name": name, "file": file, "backing": below, "read-only": read_only}
        machine.add_node(options)
    return machine


def test_a_backing_file_is_blocked_for_all_but_what_concerns_the_whole_chain() -> None:
    nodes = chain().graph.nodes
    nodes["top"].check_not_blocked("drive-del")
    text = r"^Node 'mid' is busy: node is used as backing hd of 'top'$"
    with pytest.raises(QmpError, match=text):
        nodes["mid"].check_not_blocked("drive-del")
    nodes["mid"].check_not_blocked("backup-source")
    nodes["mid"].block("a job")
    for operation in ("backup-source", "drive-del"):
        with pytest.raises(QmpError, match=r"^Node 'mid' is busy: a job$"):
            nodes["mid"].check_not_blocked(operation)


def test_who_is_above_several_nodes_is_polled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine()
    for name in ("a", "b"):
        machine.add_node({"driver": "null-co", "node-name": name, "size": SIZE})
    machine.add_node({"driver": "quorum", "node-name": "q", "vote-threshold": 1, "children": ["a", "b"]})
    machine.add_drive("drive0", machine.graph.nodes["q"])
    polled = []

    def note(drive: Drive) -> None:
        polled.append(drive)

    monkeypatch.setattr(Drive, "drained_poll", note)
    poll_all([machine.graph.nodes["a"], machine.graph.nodes["b"]])
    assert polled == [machine.drive("drive0")]


def test_nodes_know_what_is_above_and_below() -> None:
    machine = chain()
    machine.add_drive("drive0", machine.graph.nodes["top"])
    nodes = machine.graph.nodes
    names = ("top", "mid", "base")
    assert [nodes[name].device_or_node_name for name in names] == ["drive0", "mid", "base"]
    assert [nodes[name].filename for name in names] == ["top", "mid", "base"]
    assert [nodes[name].backing_chain_next for name in names] == [nodes["mid"], nodes["base"], None]
    assert [each.name for each in nodes["mid"].parent_nodes] == ["top"]
    assert [nodes["top"].leads_to(nodes[name]) for name in names] == [True] * 3
    assert [nodes[name].leads_to(nodes["mid"]) for name in names] == [True, True, False]
    assert nodes["top"].can_replace(nodes["top"])
    assert not nodes["top"].can_replace(nodes["mid"])


def test_the_file_of_a_node_is_counted_without_its_backing_file() -> None:
    machine = chain()
    for name in ("top", "mid"):
        assert machine.graph.nodes[name].allocated_file_size() == machine.images.lookup(name).actual_size


UNCHANGED = perms.CONSISTENT_READ | perms.WRITE_UNCHANGED
PERMISSIONS = [
    ("backing", False, (perms.ALL, perms.ALL), (perms.CONSISTENT_READ, perms.ALL)),
    ("backing", False, (0, perms.CONSISTENT_READ), (0, UNCHANGED)),
    ("file", False, (0, perms.ALL), (perms.CONSISTENT_READ | perms.WRITE | perms.RESIZE, UNCHANGED)),
    ("file", True, (0, perms.ALL), (perms.CONSISTENT_READ, UNCHANGED)),
    ("file", True, (perms.WRITE_UNCHANGED, 0), (UNCHANGED, 0)),
]
"""A child, whether the node is read-only, what the parents need and share, and what the node does on the child."""


@pytest.mark.parametrize(("child", "read_only", "above", "below"), PERMISSIONS)
def test_a_format_needs_its_file_to_write_metadata_and_its_backing_file_to_stay(
    child: str, read_only: bool, above: tuple[int, int], below: tuple[int, int]
) -> None:
    top = chain().graph.nodes["top"]
    top.mark_read_only(read_only=read_only)
    edge = top.child(child)
    assert edge is not None
    assert top.child_permissions(edge, *above) == below


def test_a_read_only_node_is_not_resized_and_one_with_a_busy_bitmap_neither() -> None:
    machine = machine_with_bitmap()
    target = machine.graph.nodes["node0"]
    bitmap = target.find_bitmap("b")
    assert bitmap is not None
    bitmap.busy = True
    with pytest.raises(QmpError, match=r"^Bitmap 'b' is currently in use by another operation and cannot be used$"):
        target.truncate(2 * SIZE)
    bitmap.busy = False
    target.mark_read_only(read_only=True)
    with pytest.raises(QmpError, match=r"^Image is read-only$"):
        target.truncate(2 * SIZE)
    assert (target.length, bitmap.size) == (SIZE, SIZE)
    target.mark_read_only(read_only=False)
    target.truncate(2 * SIZE)
    assert (target.length, bitmap.size) == (2 * SIZE, 2 * SIZE)


@pytest.mark.parametrize("nodes_too", [True, False])
def test_a_drained_section_concerns_all_above_or_those_only_who_are_no_nodes(nodes_too: bool) -> None:
    machine = chain()
    nodes = {name: machine.graph.nodes[name] for name in ("top", "mid", "base")}
    machine.add_drive("drive0", nodes["top"])
    machine.add_drive("drive1", nodes["mid"])

    def quiet() -> tuple[list[int], dict[str, bool]]:
        edges = [edge for node in nodes.values() for edge in node.parents]
        names = [edge.parent.name if isinstance(edge.parent, Node) else edge.parent.device_name for edge in edges]
        return [node.quiesce for node in nodes.values()], {
            name: edge.quiesced for name, edge in zip(names, edges, strict=True)
        }

    before = quiet()
    for depth in (1, 2):
        nodes["mid"].drained_begin(nodes_too=nodes_too)
        above = {"drive0": nodes_too, "top": nodes_too, "drive1": True, "mid": False}  # the edges by who is above
        assert quiet() == ([int(nodes_too), depth, 0], above)
    nodes["mid"].drained_end()
    assert quiet()[0] == [int(nodes_too), 1, 0]
    nodes["mid"].drained_end()
    assert quiet() == before


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
