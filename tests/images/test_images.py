"""Images, the file system they live in, their locks, and where a qcow2 file keeps what."""

from __future__ import annotations

import errno
import os
import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim.bits.bits import Bits
from qbitsim.files.locks import CREATOR, READER, WRITER, Locks
from qbitsim.files.permissions import ALL, CONSISTENT_READ, WRITE
from qbitsim.images.content import Content, Kind
from qbitsim.images.image_file import ImageFile
from qbitsim.images.qcow2.allocator import Allocator
from qbitsim.images.qcow2.bitmaps import StoredBitmap
from qbitsim.images.qcow2.check import check_file, repair
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.qcow2.rendered import RenderedFile
from qbitsim.images.qcow2.snapshots import find_by_id_or_name
from qbitsim.images.raw import RawImage
from qbitsim.images.spans import Spans
from qbitsim.images.store import ImageStore, LockConflictError

CLUSTER = 65536
MIB = 1 << 20


def stored(name: str, granularity: int = 65536, size: int = MIB) -> StoredBitmap:
    return StoredBitmap(name, granularity, in_use=False, auto=True, bits=Bits(-(-size // granularity)))


@contextmanager
def failure(number: int) -> Iterator[None]:
    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as caught:
        yield
    assert caught.value.errno == number


# -- spans


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 40), st.integers(0, 40))))
def test_spans_are_a_set_of_numbers(steps: list[tuple[bool, int, int]]) -> None:
    spans, model = Spans(), set()
    for add, one, other in steps:
        start, stop = sorted((one, other))
        if add:
            spans.add(start, stop)
            model |= set(range(start, stop))
        else:
            spans.remove(start, stop)
            model -= set(range(start, stop))
        assert {number for start, stop in spans for number in range(start, stop)} == model
        assert all(earlier[1] < later[0] for earlier, later in zip(list(spans), list(spans)[1:], strict=False))
        for number in range(41):
            assert (number in spans) == (number in model)
            border = next((n for n in range(number + 1, 50) if (n in model) != (n - 1 in model)), 50)
            assert spans.next_border(number, 50) == border


@given(st.lists(st.integers(0, 30)), st.lists(st.integers(0, 30)))
def test_single_numbers_are_added_at_once(before: list[int], numbers: list[int]) -> None:
    spans = Spans((number, number + 1) for number in before)
    spans.add_all(numbers)
    assert {number for start, stop in spans for number in range(start, stop)} == {*before, *numbers}


# -- locks


def test_a_writer_excludes_writers_and_readers_but_not_forced_ones() -> None:
    locks = Locks()
    assert locks.acquire("vm", *WRITER) is None
    assert locks.acquire("other", *WRITER) == 'Failed to get "write" lock'
    assert locks.acquire("reader", *READER) == 'Failed to get shared "write" lock'
    assert locks.conflict(*CREATOR) == 'Failed to get "write" lock'
    assert locks.conflict(CONSISTENT_READ, ALL) is None
    locks.release("vm")
    assert not locks
    assert locks.acquire("reader", *READER) is None
    assert locks.acquire("another", *READER) is None
    assert locks.acquire("vm", *WRITER) == 'Failed to get "write" lock'


def test_a_holder_does_not_conflict_with_itself_and_keeps_what_it_has_after_a_refusal() -> None:
    locks = Locks()
    assert locks.acquire("a", CONSISTENT_READ, ALL) is None
    assert locks.acquire("a", *WRITER) is None
    assert locks.acquire("b", CONSISTENT_READ, ALL) is None
    assert locks.acquire("b", CONSISTENT_READ | WRITE, ALL) == 'Failed to get "write" lock'
    locks.release("a")
    assert locks.acquire("c", *WRITER) is None


# -- images


def test_a_full_disk_refuses_a_write_and_changes_nothing() -> None:
    image = Qcow2Image(ImageFile("a"), MIB)
    image.file.capacity = 2 * CLUSTER
    image.write(0, b"x" * (2 * CLUSTER))
    with failure(errno.ENOSPC):
        image.write(CLUSTER, b"y" * (2 * CLUSTER))
    assert image.content.read(0, MIB) == (b"x" * 2 * CLUSTER).ljust(MIB, b"\0")
    source = Content(MIB, CLUSTER)
    source.write(3 * CLUSTER, b"z" * CLUSTER)
    with failure(errno.ENOSPC):
        image.copy_clusters(source, [0, 3])
    assert image.content.read(0, CLUSTER) == b"x" * CLUSTER
    image.write(CLUSTER, b"y" * CLUSTER)
    image.write_zeroes(0, MIB)
    assert list(image.content.ranges(Kind.ZERO)) == [(0, MIB)]
    image.copy_clusters(source, [0, 3])
    assert image.content.allocated == CLUSTER


def test_a_discard_does_not_uncover_the_backing_file() -> None:
    image = Qcow2Image(ImageFile("a"), MIB, backing="b", backing_format="raw")
    image.discard(0, MIB, backed=True)
    assert list(image.content.ranges(Kind.ZERO)) == [(0, MIB)]


def test_a_discard_leaves_holes_if_the_backing_file_of_the_header_is_not_open() -> None:
    """As after blockdev-reopen with ``"backing": null`` (discard_in_l2_slice asks for bs->backing)."""
    image = Qcow2Image(ImageFile("a"), MIB, backing="b", backing_format="raw")
    image.discard(0, MIB)
    assert list(image.content.ranges(Kind.ZERO)) == []


def test_version_2_stores_zeroes_as_bytes_only_over_a_backing_file() -> None:
    image = Qcow2Image(ImageFile("a"), MIB, compat="0.10")
    image.write(0, b"x" * CLUSTER)
    image.write_zeroes(0, CLUSTER)
    assert list(image.content.ranges(Kind.DATA)) == []
    image.write_zeroes(0, CLUSTER, lambda _, length: b"b" * length)
    assert list(image.content.ranges(Kind.DATA)) == [(0, CLUSTER)]


def test_a_cluster_that_was_zeroed_keeps_its_place_unless_it_is_unmapped() -> None:
    image = Qcow2Image(ImageFile("a"), MIB)
    image.write(0, b"x" * (2 * CLUSTER))
    image.write_zeroes(0, CLUSTER)
    assert (image.host_offset(0), image.host_offset(CLUSTER), fragments(image)) == (327680, 393216, (2, 0, 0))
    image.write_zeroes(0, CLUSTER, unmap=True)
    assert (image.host_offset(0), fragments(image)) == (None, (1, 0, 0))
    image.write(5 * CLUSTER, b"x" * CLUSTER)
    assert image.host_offset(5 * CLUSTER) == 327680


def test_every_used_cluster_of_the_file_has_an_owner() -> None:
    image = Qcow2Image(ImageFile("a"), MIB, cluster_size=512, refcount_bits=64)
    below = random.Random(5)
    for _ in range(400):
        offset = below.randrange(0, MIB // 512) * 512
        length = min(MIB - offset, below.choice((512, 512, 40 * 512, 200 * 512)))
        match below.randrange(6):
            case 0:
                image.write_zeroes(offset, length, unmap=below.random() < 0.5)
            case 1:
                image.discard(offset, length)
            case 2 if image.takes_compressed(offset):
                image.write_compressed(offset, bytes([below.randrange(256)]) * 512)
            case 3 if below.random() < 0.1:
                size = below.choice((0, 300, 40000))
                if size:
                    image.save_state(size)
                image.create_snapshot(f"s{len(image.snapshots)}", 0, 0, size)
            case 3 if image.snapshots and below.random() < 0.2:
                image.delete_snapshot(below.choice(image.snapshots))
            case 4 if image.snapshots and below.random() < 0.2:
                image.apply_snapshot(below.choice(image.snapshots))
            case _:
                image.write(offset, b"x" * length)
        assert counted(image) == owned(image)


def fragments(image: Qcow2Image) -> tuple[int, int, int]:
    """How many guest clusters are allocated, do not follow the one before, are compressed."""
    found = check_file(RenderedFile(image))
    assert not found.lines
    return found.allocated, found.fragmented, found.compressed


def counted(image: Qcow2Image) -> dict[int, int]:
    """The refcounts of all clusters in use."""
    clusters = image.layout.clusters
    return {number: clusters.refcount(number) for start, stop in clusters.used() for number in range(start, stop)}


def owned(image: Qcow2Image) -> dict[int, int]:
    """How often the header and the tables lead to each cluster."""
    layout, found = image.layout, Counter([0])
    first, count = layout.clusters.table
    found.update([*range(first, first + count), *layout.clusters.blocks.values()])
    found.update(layout.snapshots.list_clusters(layout.cluster_size))
    for tables in (layout.active, *layout.snapshots.saved):
        first, entries = tables.l1
        found.update(range(first, first - (-entries * 8 // layout.cluster_size)))
        found.update([*tables.l2.values(), *tables.places.values()])
        for offset, length in tables.packed.values():
            found.update(range(offset // 512, (offset + length - 1) // 512 + 1))
    return dict(sorted(found.items()))


def test_a_snapshot_keeps_what_the_disk_was_and_its_places() -> None:
    image = Qcow2Image(ImageFile("a"), MIB)
    image.write(0, b"a" * (2 * CLUSTER))
    taken = image.create_snapshot("s", 5, 7)
    image.write(0, b"b" * CLUSTER)
    assert (taken.id, taken.name, taken.date, taken.clock) == ("1", "s", 5, 7)
    assert taken.content.read(0, 4) == b"aaaa"
    assert (image.host_offset(0), image.host_offset(CLUSTER)) == (655360, 393216)
    image.apply_snapshot(taken)
    assert (image.content.read(0, 4), image.host_offset(0)) == (b"aaaa", 327680)
    image.delete_snapshot(taken)
    assert image.snapshots == []
    assert counted(image) == owned(image)


def test_the_state_of_a_machine_is_behind_the_disk_and_stays_with_its_snapshot() -> None:
    image = Qcow2Image(ImageFile("a"), MIB)
    image.write(0, b"a" * CLUSTER)
    image.save_state(1107)
    taken = image.create_snapshot("s", 0, 0, 1107)
    assert (taken.state_size, taken.content.size) == (1107, MIB)
    # The L1 table has moved and has two entries; the disk's table and the snapshot's lead to another table each.
    active, [saved] = image.layout.active, image.layout.snapshots.saved
    assert (active.l1, saved.l1[1]) == ((6, 2), 2)
    assert sorted(active.places) == [0]
    assert sorted(saved.places) == [0, 8192]
    assert fragments(image) == (1, 0, 0)
    image.apply_snapshot(taken)
    assert fragments(image) == (2, 0, 0)
    assert counted(image) == owned(image)


def test_a_disk_that_shrinks_leaks_the_state_that_was_loaded() -> None:
    image = Qcow2Image(ImageFile("a"), MIB)
    image.save_state(1107)
    image.apply_snapshot(image.create_snapshot("s", 0, 0, 1107))
    place = image.layout.active.places[8192]
    image.resize(MIB // 2)
    found = check_file(RenderedFile(image), leaks=True)
    assert found.lines == [
        f"Leaked cluster {place} refcount=2 reference=1",
        f"Repairing cluster {place} refcount=2 reference=1",
    ]
    repair(image.layout, found)
    assert check_file(RenderedFile(image)).lines == []
    assert counted(image) == owned(image)


def test_an_id_counts_more_than_a_name() -> None:
    image = Qcow2Image(ImageFile("a"), MIB)
    first, second = image.create_snapshot("2", 0, 0), image.create_snapshot("x", 0, 0)
    assert [find_by_id_or_name(image.snapshots, text) for text in ("1", "2", "x", "y")] == [first, second, second, None]


def test_file_clusters_are_given_out_in_the_order_of_the_first_writes() -> None:
    image = Qcow2Image(ImageFile("a"), 1 << 40)
    assert (image.file_length, image.image_end) == (3 * CLUSTER + 16384, 4 * CLUSTER)
    for offset in (600 * MIB, 0, 2 * MIB, 2 * MIB + CLUSTER, 0):
        image.write(offset, b"x" * CLUSTER)
    assert [image.host_offset(offset) for offset in (0, 2 * MIB, 2 * MIB + CLUSTER + 5, 600 * MIB, 4 * MIB)] == [
        458752,
        524288,
        589829,
        327680,
        None,
    ]
    assert (image.file_length, image.image_end) == (655360, 655360)


def test_one_look_at_a_qcow2_image_tells_of_what_is_in_one_piece_in_the_file() -> None:
    image = Qcow2Image(ImageFile("a"), 8 * CLUSTER)
    for cluster in (2, 1, 3, 4):
        image.write(cluster * CLUSTER, b"x" * CLUSTER)
    image.write_zeroes(4 * CLUSTER, 2 * CLUSTER)
    found, offset = [], 0
    while offset < 8 * CLUSTER:
        kind, length = image.status(offset, 8 * CLUSTER - offset)
        found.append((kind, length // CLUSTER))
        offset += length
    data, zero, hole = Kind.DATA, Kind.ZERO, Kind.HOLE
    assert found == [(hole, 1), (data, 1), (data, 1), (data, 1), (zero, 1), (zero, 1), (hole, 2)]


def test_one_look_at_a_qcow2_image_tells_of_no_more_than_a_slice_of_an_l2_table() -> None:
    image = Qcow2Image(ImageFile("a"), 4 << 20, cluster_size=4096)
    assert image.status(4096, (4 << 20) - 4096) == (Kind.HOLE, (2 << 20) - 4096)


def test_a_plain_file_keeps_bytes_where_they_are() -> None:
    image = RawImage(ImageFile("a"), MIB)
    assert (image.host_offset(12345), image.file_length, image.cluster_size) == (12345, MIB, None)


def test_storing_bitmaps_takes_room_in_the_file_as_qemu_does() -> None:
    image = Qcow2Image(ImageFile("a"), MIB)
    image.write(0, b"x" * CLUSTER)
    sizes = []
    for name in ("b0", "b1", "b2"):
        image.reopen()
        image.store_bitmaps([*image.bitmaps, stored(name)])
        sizes.append((image.file_length, image.image_end))
    image.reopen()
    image.remove_bitmap("b1")
    image.store_bitmaps(image.bitmaps)
    sizes.append((image.file_length, image.image_end))
    image.reopen()
    image.write(CLUSTER, b"x" * CLUSTER)
    assert sizes == [(459264, 524288), (655872, 720896), (786944, 851968), (786944, 720896)]
    assert [bitmap.name for bitmap in image.bitmaps] == ["b0", "b2"]
    with pytest.raises(KeyError):
        image.remove_bitmap("b1")


def test_a_resize_takes_the_stored_bitmaps_along() -> None:
    image = Qcow2Image(ImageFile("a"), MIB)
    bitmap = stored("b")
    bitmap.bits.set(8, 16)
    image.store_bitmaps([bitmap])
    image.resize(MIB // 2 + 512)
    assert list(bitmap.bits.ranges()) == [(8, 9)]
    image.resize(MIB)
    assert (bitmap.bits.length, list(bitmap.bits.ranges())) == (16, [(8, 9)])


@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 9), st.booleans()), max_size=12),
    st.integers(0, 200),
    st.booleans(),
)
def test_clusters_that_are_taken_together_are_those_that_are_taken_one_by_one(
    steps: list[tuple[int, int, bool]], count: int, shared: bool
) -> None:
    """With holes among the used clusters, across the ends of refcount blocks and of their table."""
    allocator = Allocator(512, 64)
    taken: list[int] = [allocator.take(1) for _ in range(60)]
    for place, more, free in steps:
        if free and taken:
            allocator.free(taken.pop(place % len(taken)))
        else:
            taken.append(allocator.take(more))
    if shared and taken:
        allocator.refer(taken[0])
    twin = allocator.copy()
    assert allocator.take_each(count) == [twin.take(1) for _ in range(count)]
    assert (allocator.used(), allocator.blocks, allocator.table) == (twin.used(), twin.blocks, twin.table)
    assert (allocator.next_free, allocator.end) == (twin.next_free, twin.end)


def test_an_image_that_is_made_in_a_file_replaces_the_one_that_was_there() -> None:
    store = ImageStore()
    store.limit("a", MIB)
    file = store.create("a", "raw", MIB).file
    file.locks.acquire("vm", *WRITER)
    made = file.make_qcow2(2 * MIB)
    assert store.lookup("a") is file.image is made
    assert (made.name, made.file.capacity, bool(made.file.locks)) == ("a", MIB, True)


# -- the store


def test_names_are_files_of_one_working_directory() -> None:
    store = ImageStore()
    image = store.create("./a.qcow2", "qcow2", MIB)
    assert store.lookup("a.qcow2") is image
    assert "a.qcow2" in store
    store.mkdir("d")
    inner = store.create("d/b", "qcow2", backing="../a.qcow2", backing_format="qcow2")
    assert inner.size == MIB
    assert store.chain("d/b") == [inner, image]
    assert (store.names(), store.names("d"), store.is_directory("d")) == (["a.qcow2", "d"], ["b"], True)
    store.rename("d/b", "c")
    assert (store.names(), store.names("d"), inner.name) == (["a.qcow2", "c", "d"], [], "c")
    store.remove("c")
    assert store.names() == ["a.qcow2", "d"]


def test_what_is_not_there_is_refused_as_by_a_file_system() -> None:
    store = ImageStore()
    store.mkdir("d")
    store.create("f", "raw", MIB)
    for number, call in [
        (errno.ENOENT, lambda: store.lookup("x")),
        (errno.EISDIR, lambda: store.lookup("d")),
        (errno.ENOENT, lambda: store.create("x/y", "raw", MIB)),
        (errno.ENOENT, lambda: store.create("/x/y", "raw", MIB)),
        (errno.EISDIR, lambda: store.create("d", "raw", MIB)),
        (errno.ENOENT, lambda: store.create("y", "qcow2", backing="x")),
        (errno.ENOENT, lambda: store.remove("x")),
        (errno.ENOENT, lambda: store.rename("x", "y")),
        (errno.ENOENT, lambda: store.rename("f", "x/y")),
        (errno.EEXIST, lambda: store.mkdir("d")),
        (errno.EEXIST, lambda: store.mkdir("f")),
        (errno.ENOENT, lambda: store.mkdir("x/y")),
        (errno.ENOENT, lambda: store.names("x")),
    ]:
        with failure(number):
            call()
    assert store.names() == ["d", "f"]


def test_a_file_in_use_is_not_overwritten() -> None:
    store = ImageStore()
    image = store.create("a", "qcow2", MIB)
    image.file.locks.acquire("vm", *WRITER)
    with pytest.raises(LockConflictError, match='Failed to get "write" lock'):
        store.create("a", "qcow2", MIB)
    assert store.lookup("a") is image


def test_a_new_plain_file_has_its_first_page_and_sizes_are_whole_sectors() -> None:
    image = ImageStore().create("a", "raw", 1000000)
    assert image.size == 1000448
    assert list(image.content.ranges(Kind.DATA)) == [(0, 4096)]


def test_chains_are_compared_and_read_through_their_backing_files() -> None:
    store = ImageStore()
    base = store.create("base", "qcow2", MIB)
    base.write(0, b"b" * CLUSTER)
    top = store.create("top", "qcow2", backing="base", backing_format="qcow2")
    assert store.compare("top", "base") is None
    top.write(CLUSTER + 7, b"t")
    assert store.compare("top", "base") == CLUSTER + 7
    assert store.read_chain("top", CLUSTER - 2, 10) == b"bb" + bytes(7) + b"t"
    store.remove("base")
    with failure(errno.ENOENT):
        store.chain("top")
    top.backing = "top"
    with failure(errno.ELOOP):
        store.chain("top")


def test_a_clone_of_the_store_is_independent_and_unlocked() -> None:
    store = ImageStore()
    image = store.create("a", "qcow2", MIB)
    block = b"x" * CLUSTER
    image.write(0, block)
    image.store_bitmaps([stored("b")])
    image.file.locks.acquire("vm", *WRITER)
    twin = store.clone()
    image.write(0, b"y" * CLUSTER)
    image.bitmaps[0].bits.set(0, 1)
    store.create("c", "raw", MIB)
    other = twin.lookup("a")
    assert other.content.read(0, CLUSTER) is block
    assert not other.bitmaps[0].bits
    assert (twin.names(), bool(other.file.locks)) == (["a"], False)
    assert (other.file_length, other.image_end, other.host_offset(0)) == (459264, 524288, 327680)


def test_an_image_is_made_empty_and_cut_behind_its_tables() -> None:
    store = ImageStore()
    store.create("base.qcow2", "qcow2", 1 << 20)
    image = store.create("top.qcow2", "qcow2", 1 << 20, backing="base.qcow2")
    image.write(0, b"x" * 65536)
    image.write_zeroes(131072, 65536)
    assert (image.file_length, image.actual_size) == (6 * 65536, 5 * 65536 + 4096)
    image.make_empty()
    assert image.content.status(0, 1 << 20) == (Kind.HOLE, 1 << 20)
    assert (image.file_length, image.image_end) == (4 * 65536, 4 * 65536)


def test_an_image_with_more_in_it_is_made_empty_where_it_is() -> None:
    image = ImageStore().create("v2.qcow2", "qcow2", 1 << 20, compat="0.10")
    image.write(0, b"x" * 65536)
    image.make_empty()
    assert image.content.allocated == 0
    assert image.image_end == 5 * 65536  # the L2 table stays
