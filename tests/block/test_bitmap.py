"""Dirty bitmaps: marking, freezing, abdicating, reclaiming, merging."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim.block.bitmap import DirtyBitmap, check_granularity
from qbitsim.block.node import Node
from qbitsim.errors import QmpError
from qbitsim.machine.machine import Machine

SIZE = 1_000_448


def node_of(size: int = SIZE) -> Node:
    machine = Machine()
    machine.add_disk("drive0", size, node_name="node0")
    return machine.graph.nodes["node0"]


def bitmap_on(node: Node, name: str = "b", granularity: int = 65536) -> DirtyBitmap:
    return node.create_bitmap(name, granularity)


def granules(bitmap: DirtyBitmap) -> set[int]:
    return set(bitmap.bits.indices())


@pytest.mark.parametrize("granularity", [512, 1024, 65536, 1 << 31])
def test_a_granularity_is_a_power_of_two_of_at_least_512(granularity: int) -> None:
    check_granularity(granularity)


@pytest.mark.parametrize("granularity", [0, 1, 256, 511, 513, 65537, 3 << 20])
def test_any_other_granularity_is_refused(granularity: int) -> None:
    with pytest.raises(QmpError, match=r"^Granularity must be power of 2 and at least 512$"):
        check_granularity(granularity)


def test_a_count_is_whole_granules_also_past_the_end_of_the_disk() -> None:
    bitmap = bitmap_on(node_of())
    bitmap.mark(0, SIZE)
    assert bitmap.count == 1 << 20
    huge = bitmap_on(bitmap.node, "huge", 1 << 31)
    huge.mark(SIZE - 1, 1)
    assert huge.count == 1 << 31


def test_dirty_ranges_are_cut_at_the_end_of_the_disk() -> None:
    bitmap = bitmap_on(node_of())
    bitmap.mark(SIZE - 1, 1)
    assert bitmap.dirty_ranges == [(983040, SIZE - 983040)]


def test_a_frozen_bitmap_keeps_its_bits_and_its_successor_records() -> None:
    node = node_of()
    bitmap = bitmap_on(node)
    node.write(0, b"x")
    bitmap.create_successor()
    node.write(65536, b"x")
    assert (granules(bitmap), bitmap.recording, bitmap.busy) == ({0}, True, True)
    assert bitmap.successor is not None
    assert granules(bitmap.successor) == {1}
    assert node.bitmaps == [bitmap.successor, bitmap]


def test_on_success_the_successor_takes_over_the_name_and_what_the_bitmap_is() -> None:
    node = node_of()
    bitmap = bitmap_on(node)
    bitmap.persistent = True
    bitmap.create_successor()
    node.write(65536, b"x")
    heir = bitmap.abdicate()
    assert (heir.name, granules(heir), heir.persistent, heir.busy, heir.recording) == ("b", {1}, True, False, True)
    assert node.bitmaps == [heir]


def test_on_failure_both_are_merged_back() -> None:
    node = node_of()
    bitmap = bitmap_on(node)
    node.write(0, b"x")
    bitmap.create_successor()
    node.write(65536, b"x")
    assert bitmap.reclaim() is bitmap
    assert (granules(bitmap), bitmap.busy, bitmap.recording) == ({0, 1}, False, True)
    assert node.bitmaps == [bitmap]


@pytest.mark.parametrize("ending", ["abdicate", "reclaim"])
def test_a_disabled_bitmap_stays_disabled_through_a_job(ending: str) -> None:
    node = node_of()
    bitmap = bitmap_on(node)
    bitmap.disabled = True
    bitmap.create_successor()
    node.write(0, b"x")
    after = getattr(bitmap, ending)()
    assert (after.recording, granules(after)) == (False, set())


def test_the_checks_come_in_the_order_busy_readonly_inconsistent() -> None:
    bitmap = bitmap_on(node_of())
    bitmap.busy = bitmap.readonly = bitmap.inconsistent = True
    texts = []
    for flag in ("busy", "readonly", "inconsistent"):
        with pytest.raises(QmpError) as refusal:
            bitmap.check()
        texts.append(refusal.value.desc)
        setattr(bitmap, flag, False)
    bitmap.check()
    assert texts == [
        "Bitmap 'b' is currently in use by another operation and cannot be used",
        "Bitmap 'b' is readonly and cannot be modified",
        "Bitmap 'b' is inconsistent and cannot be used",
    ]


def test_bitmaps_of_different_sizes_are_not_merged() -> None:
    one, other = bitmap_on(node_of(1 << 20)), bitmap_on(node_of(2 << 20))
    other.mark(0, 1)
    text = "Bitmaps are of different sizes (destination size is 1048576, source size is 2097152) and can't be merged"
    with pytest.raises(QmpError, match=f"^{re.escape(text)}$"):
        one.merge_checked(other)
    assert granules(one) == set()


def test_resizing_keeps_what_is_below_and_forgets_what_is_cut() -> None:
    bitmap = bitmap_on(node_of(1 << 20))
    bitmap.mark(0, 1 << 20)
    bitmap.resize(3 * 65536)
    assert granules(bitmap) == {0, 1, 2}
    bitmap.resize(1 << 20)
    assert granules(bitmap) == {0, 1, 2}


RANGES = st.lists(st.tuples(st.integers(0, SIZE - 1), st.integers(1, SIZE)), max_size=6)
SHIFTS = st.sampled_from([9, 12, 15, 16, 17, 20, 31])


@given(RANGES, SHIFTS)
def test_every_granule_that_a_write_touches_is_dirty_and_no_other(ranges: list[tuple[int, int]], shift: int) -> None:
    bitmap = bitmap_on(node_of(), granularity=1 << shift)
    model = set()
    for offset, length in ranges:
        end = min(offset + length, SIZE)
        bitmap.mark(offset, end - offset)
        model |= set(range(offset >> shift, ((end - 1) >> shift) + 1))
    assert granules(bitmap) == model
    assert bitmap.count == len(model) << shift


@given(RANGES, SHIFTS, SHIFTS)
def test_merging_makes_dirty_what_overlaps(ranges: list[tuple[int, int]], shift: int, other: int) -> None:
    node = node_of()
    source, target = bitmap_on(node, "s", 1 << shift), bitmap_on(node, "t", 1 << other)
    for offset, length in ranges:
        source.mark(offset, min(length, SIZE - offset))
    target.merge_from(source)
    model = set()
    for start, length in source.dirty_ranges:
        model |= set(range(start >> other, ((start + length - 1) >> other) + 1))
    assert granules(target) == model
