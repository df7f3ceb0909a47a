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


def test_a_bitmap_that_is_resized_resizes_its_successor() -> None:
    bitmap = bitmap_on(node_of(4 * 65536))
    bitmap.create_successor()
    assert bitmap.successor is not None
    bitmap.resize(8 * 65536 + 512)
    bitmap.successor.mark(8 * 65536, 1)
    assert [(each.size, each.bits.length) for each in (bitmap, bitmap.successor)] == [(8 * 65536 + 512, 9)] * 2
    assert bitmap.successor.dirty_ranges == [(8 * 65536, 512)]


@pytest.mark.parametrize("flag", ["readonly", "inconsistent"])
def test_a_bitmap_can_be_frozen_that_may_not_be_changed(flag: str) -> None:
    bitmap = bitmap_on(node_of())
    setattr(bitmap, flag, True)
    bitmap.create_successor()
    assert (bitmap.busy, bitmap.disabled, bitmap.recording) == (True, True, True)
    with pytest.raises(QmpError, match=r"^Bitmap 'b' is currently in use by another operation and cannot be used$"):
        bitmap.check(allow_readonly=True, allow_inconsistent=True)


def test_a_readonly_bitmap_may_be_merged_into_another_and_an_inconsistent_one_may_not() -> None:
    node = node_of()
    source, target = bitmap_on(node, "s"), bitmap_on(node, "t")
    source.mark(0, 1)
    source.readonly = True
    target.merge_checked(source)
    assert granules(target) == {0}
    source.inconsistent = True
    with pytest.raises(QmpError, match=r"^Bitmap 's' is inconsistent and cannot be used$"):
        target.merge_checked(source)
    target.readonly = True
    with pytest.raises(QmpError, match=r"^Bitmap 't' is readonly and cannot be modified$"):
        target.merge_checked(source)


def test_a_bitmap_that_has_abdicated_is_nothing_any_more() -> None:
    node = node_of()
    bitmap = bitmap_on(node)
    bitmap.persistent = True
    bitmap.create_successor()
    heir = bitmap.abdicate()
    assert (bitmap.name, bitmap.persistent, bitmap.busy, bitmap.successor) == (None, False, False, None)
    assert (node.find_bitmap("b"), heir.name, heir.successor) == (heir, "b", None)


def test_dirty_areas_are_found_in_bytes_and_cut_at_a_limit_and_at_the_end() -> None:
    bitmap = bitmap_on(node_of())
    assert bitmap.next_area(0, SIZE, SIZE) is None
    bitmap.mark(65536, 2 * 65536)
    bitmap.mark(SIZE - 1, 1)
    assert bitmap.next_area(0, SIZE, SIZE) == (65536, 2 * 65536)
    assert bitmap.next_area(0, SIZE, 65536) == (65536, 65536)
    assert bitmap.next_area(0, SIZE, 65537) == (65536, 2 * 65536)
    assert bitmap.next_area(2 * 65536, SIZE, SIZE) == (2 * 65536, 65536)
    assert bitmap.next_area(2 * 65536 + 1, 3 * 65536 - 1, SIZE) == (2 * 65536, 65535)
    assert bitmap.next_area(3 * 65536, 1 << 20, SIZE) == (983040, 65536)
    assert bitmap.next_area(3 * 65536, SIZE, SIZE) == (983040, SIZE - 983040)
    assert bitmap.next_area(0, 65536, SIZE) is None
    assert [bitmap.any_dirty(*each) for each in ((0, 65536), (0, 65537), (3 * 65536, 983040), (983040, 1 << 20))] == [
        *(False, True, False, True)
    ]


def test_whole_granules_are_made_clean_and_the_last_one_up_to_the_end_of_the_disk() -> None:
    bitmap = bitmap_on(node_of())
    bitmap.mark(0, SIZE)
    bitmap.reset(65536, 2 * 65536)
    bitmap.reset(983040, SIZE - 983040)
    assert granules(bitmap) == {0, *range(3, 15)}


def test_who_waits_for_a_mark_is_told_of_each() -> None:
    bitmap, told = bitmap_on(node_of()), []
    bitmap.mark(0, 1)
    bitmap.on_mark = lambda: told.append(granules(bitmap))
    bitmap.mark(65536, 1)
    bitmap.reset(0, 65536)
    assert told == [{0, 1}]


def test_a_new_bitmap_records_and_is_nothing_else() -> None:
    bitmap = bitmap_on(node_of())
    flags = ("recording", "busy", "disabled", "persistent", "readonly", "inconsistent", "skip_store")
    assert [flag for flag in flags if getattr(bitmap, flag)] == ["recording"]
    assert (bitmap.count, bitmap.successor, bitmap.on_mark) == (0, None, None)


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
