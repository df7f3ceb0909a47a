"""What a mirror does with its target, and what it knows of it."""

from __future__ import annotations

import pytest

from qbitsim.block.node import Node
from qbitsim.jobs.mirror_target import MirrorTarget
from qbitsim.machine.machine import Machine

CLUSTER = 65536
PAGE = 4096
SIZE = 4 * CLUSTER + 3 * PAGE


def node(*, written: bool = False, backing: str | None = None, **options: object) -> Node:
    machine = Machine("11.1")
    machine.images.create("base", "qcow2", SIZE)
    machine.images.create("t", "qcow2", SIZE, backing=backing, backing_format=backing and "qcow2")
    if written:
        machine.images.lookup("t").write(0, b"o" * SIZE)
    options = {"driver": "qcow2", "node-name": "t", "backing": None, **options}
    machine.add_node({**options, "file": {"driver": "file", "filename": "t", "discard": "unmap"}})
    return machine.graph.nodes["t"]


def test_chunks_below_a_cluster_are_widened_as_long_as_their_clusters_were_not_filled() -> None:
    target = MirrorTarget(node(backing="base"), unmap=False)
    assert target.widened(PAGE, PAGE) == (PAGE, PAGE)
    target.track_clusters(SIZE, PAGE)
    assert target.widened(CLUSTER - PAGE, PAGE) == (0, CLUSTER)
    assert target.widened(CLUSTER - PAGE, 2 * PAGE) == (0, 2 * CLUSTER)
    assert target.widened(SIZE - PAGE, PAGE) == (4 * CLUSTER, 3 * PAGE)
    target.note_copied(0, CLUSTER)
    assert target.widened(CLUSTER - PAGE, PAGE) == (CLUSTER - PAGE, PAGE)
    assert target.widened(CLUSTER - PAGE, 2 * PAGE) == (0, 2 * CLUSTER)
    assert target.widened(CLUSTER, PAGE) == (CLUSTER, CLUSTER)
    target.note_copied(2 * CLUSTER, CLUSTER)
    assert target.widened(2 * CLUSTER - PAGE, 2 * PAGE) == (CLUSTER, 2 * CLUSTER)


@pytest.mark.parametrize(("backing", "granularity"), [(None, PAGE), ("base", CLUSTER), ("base", 2 * CLUSTER)])
def test_nothing_is_widened_that_fills_clusters_or_has_nothing_to_fill_them_from(
    backing: str | None, granularity: int
) -> None:
    target = MirrorTarget(node(backing=backing), unmap=False)
    target.track_clusters(SIZE, granularity)
    assert target.widened(PAGE, PAGE) == (PAGE, PAGE)


def test_zeroes_are_written_once_until_something_else_is_there() -> None:
    target = MirrorTarget(node(written=True), unmap=False)
    assert not target.is_known_zero(0, CLUSTER)
    target.track_zeroes(SIZE, PAGE)
    assert not target.is_known_zero(0, CLUSTER)
    target.write_zeroes(0, 2 * CLUSTER)
    assert target.is_known_zero(0, 2 * CLUSTER)
    assert not target.is_known_zero(0, 2 * CLUSTER + 1)
    assert target.node.read(0, 3 * CLUSTER) == bytes(2 * CLUSTER) + b"o" * CLUSTER
    assert target.write_zeroes(0, PAGE) is False
    target.write(PAGE, b"n" * PAGE)
    target.discard(3 * PAGE, PAGE)
    assert [target.is_known_zero(page * PAGE, PAGE) for page in range(5)] == [True, False, True, False, True]


def test_a_discard_reaches_a_node_that_was_opened_so() -> None:
    target = MirrorTarget(node(written=True, discard="unmap"), unmap=True)
    assert target.discard(0, SIZE)
    assert target.node.read(0, SIZE) == bytes(SIZE)


READS_AS_ZEROES = [
    # whether it must, whether it does, written, discard, whether it does, and what is there then
    (False, False, True, "ignore", True, b"o"),
    (True, False, True, "ignore", False, b"o"),
    (True, False, True, "unmap", True, b"\0"),
    (True, False, False, "ignore", True, b"\0"),
    (True, True, True, "ignore", True, b"o"),
]


@pytest.mark.parametrize("case", READS_AS_ZEROES)
def test_a_target_that_must_become_equal_reads_as_zeroes_or_gets_everything(
    case: tuple[bool, bool, bool, str, bool, bytes],
) -> None:
    must, does, written, discard, expected, content = case
    target = MirrorTarget(node(written=written, discard=discard), unmap=True)
    target.track_zeroes(SIZE, PAGE)
    assert target.read_as_zeroes(SIZE, must=must, does=does) is expected
    assert target.node.read(0, SIZE) == content * SIZE
    assert target.is_known_zero(0, SIZE) is (expected and must)


@pytest.mark.parametrize(
    ("detect_zeroes", "discard", "known"), [("unmap", "unmap", False), ("unmap", "ignore", True), ("on", "unmap", True)]
)
def test_a_target_that_unmaps_the_zeroes_that_it_detects_gets_all_of_them(
    detect_zeroes: str, discard: str, known: bool
) -> None:
    target = MirrorTarget(node(discard=discard), unmap=True)
    target.node.detect_zeroes = detect_zeroes
    target.track_zeroes(SIZE, PAGE)
    assert target.read_as_zeroes(SIZE, must=True, does=False) is known
    assert target.is_known_zero(0, SIZE) is known


def test_a_flush_has_to_wait_if_something_was_written_since_the_last_one() -> None:
    target = MirrorTarget(node(), unmap=False)
    said = [target.unflushed]
    for _ in range(2):
        target.write(0, b"n" * PAGE)
        said.append(target.unflushed)
        target.flush()
        said.append(target.unflushed)
    target.write_zeroes(CLUSTER, CLUSTER)
    assert [*said, target.unflushed] == [False, True, False, True, False, True]


def test_only_whole_clusters_are_zeroed_or_discarded() -> None:
    target = MirrorTarget(node(), unmap=False)
    places = [(0, CLUSTER), (CLUSTER, 2 * CLUSTER), (PAGE, CLUSTER), (0, PAGE), (CLUSTER, CLUSTER + PAGE)]
    assert [target.fits_clusters(*place) for place in places] == [True, True, False, False, False]
    machine = Machine()
    machine.add_node({"driver": "null-co", "node-name": "n", "size": SIZE})
    assert MirrorTarget(machine.graph.nodes["n"], unmap=False).fits_clusters(1, 2)
