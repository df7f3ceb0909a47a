"""The file that a qcow2 image would be, cluster by cluster, for an image that is kept in memory.

A :class:`RenderedFile` serves any range of it. Which cluster holds what is worked out when the first range is asked
for, and kept until clusters are taken or freed; the bytes of a cluster are made each time. A cluster that nothing
leads to reads as zeroes, whatever was there before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.images.content import zero_block
from qbitsim.images.pages import FILE_PAGE
from qbitsim.images.qcow2 import rendering
from qbitsim.images.qcow2.packing import pack
from qbitsim.images.spans import Spans
from qbitsim.light_library import partial

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qbitsim.images.content import Content
    from qbitsim.images.qcow2.image import Qcow2Image
    from qbitsim.images.qcow2.tables import Tables

    Maker = Callable[[], bytes]


class RenderedFile:
    """A :class:`.ByteSource`: the bytes of the file of an image in memory.

    :param image: whose file it is.
    """

    __slots__ = ("_image", "_makers", "_pages", "_seen")

    def __init__(self, image: Qcow2Image) -> None:
        self._image = image
        self._makers: dict[int, list[tuple[int, Maker]]] = {}
        self._pages = Spans()
        self._seen: tuple[object, ...] = ()  # what the image was when it was worked out what is where

    @property
    def length(self) -> int:
        """Bytes of the file."""
        return self._image.layout.end

    def read_at(self, offset: int, length: int) -> bytes:
        """*length* bytes from *offset* on, fewer where the file ends."""
        end = min(offset + length, self.length)
        if offset >= end:
            return b""
        unit = self._image.content.cluster_size
        first, last = offset // unit, (end - 1) // unit
        parts = self._clusters()
        found = b"".join(_cluster(parts.get(number, []), unit) for number in range(first, last + 1))
        return found[offset - first * unit : end - first * unit]

    def status(self, offset: int, length: int) -> tuple[bool, int]:
        """Whether the byte at *offset* is in a page that was written, and for how many of *length* bytes that goes on.

        A file system would say that there are data, otherwise that there is a hole.
        """
        self._clusters()
        page, end = offset // FILE_PAGE, offset + length
        stop = min(self._pages.next_border(page, -(-end // FILE_PAGE)) * FILE_PAGE, end)
        if page not in self._pages:
            return False, stop - offset
        hole, run = self._image.holes.run(offset, stop)
        return not hole, run

    def _clusters(self) -> dict[int, list[tuple[int, Maker]]]:
        """What is in each cluster: pairs of where it begins in the cluster, below 0 if before, and what makes it."""
        image, clusters = self._image, self._image.layout.clusters
        now = (clusters, clusters.changes, *(content for _, content in _disks(image)))
        if now != self._seen:
            self._seen = now
            self._find_parts()
        return self._makers

    def _find_parts(self) -> None:
        unit = self._image.content.cluster_size
        self._makers, self._pages = {}, Spans()
        for offset, length, maker in parts(self._image):
            for number in range(offset // unit, -(-(offset + length) // unit)):
                self._makers.setdefault(number, []).append((offset - number * unit, maker))
            self._pages.add(offset // FILE_PAGE, -(-(offset + length) // FILE_PAGE))


def _cluster(parts: list[tuple[int, Maker]], unit: int) -> bytes:
    """The bytes of a cluster that has these parts."""
    if not parts:
        return zero_block(unit)
    if len(parts) == 1 and parts[0][0] == 0:
        whole = parts[0][1]()
        return whole if len(whole) == unit else whole[:unit].ljust(unit, b"\0")
    cluster = bytearray(unit)
    for start, maker in parts:
        data = maker()[max(-start, 0) : unit - start]
        cluster[max(start, 0) : max(start, 0) + len(data)] = data
    return bytes(cluster)


def parts(image: Qcow2Image) -> Iterator[tuple[int, int, Maker]]:
    """Everything that is in the file: offset, length, and what makes its bytes; last what wins."""
    layout = image.layout
    unit, clusters = layout.cluster_size, layout.clusters
    for tables, content in reversed(_disks(image)):
        yield from _disk_parts(image, tables, content)
    first, length = layout.snapshots.list_place
    yield first * unit, length, partial(rendering.snapshot_table, image)
    yield from _bitmap_parts(image)
    yield (
        clusters.table[0] * unit,
        clusters.table[1] * unit,
        partial(rendering.refcount_table, clusters, clusters.blocks),
    )
    for number, place in clusters.blocks.items():
        yield place * unit, unit, partial(rendering.refcount_block, clusters, number)
    yield 0, unit, partial(rendering.header_cluster, image)


def _disks(image: Qcow2Image) -> list[tuple[Tables, Content]]:
    """The disk and those of the snapshots: their tables and contents."""
    layout = image.layout
    saved = [each.content for each in image.snapshots]
    return list(zip([layout.active, *layout.snapshots.saved], [image.content, *saved], strict=True))


def _disk_parts(image: Qcow2Image, tables: Tables, content: Content) -> Iterator[tuple[int, int, Maker]]:
    layout = image.layout
    unit = layout.cluster_size
    if not layout.external:
        for guest, place in tables.places.items():
            yield place * unit, unit, partial(_stored_cluster, content, guest)
    for guest, (offset, length) in tables.packed.items():
        yield offset, length, partial(_packed_cluster, image, offset, content, guest)
    for number, place in tables.l2.items():
        yield place * unit, unit, partial(rendering.l2_table, layout, tables, content, number)
    first, entries = tables.l1
    yield first * unit, entries * 8, partial(rendering.l1_table, layout, tables)


def _stored_cluster(content: Content, guest: int) -> bytes:
    """Nothing if the cluster was zeroed where it is; a snapshot may have its data."""
    return content.whole_cluster(guest) if guest in content.allocation_order() else b""


def _packed_cluster(image: Qcow2Image, offset: int, content: Content, guest: int) -> bytes:
    kept = image.layout.packed_bytes.get(offset)
    return pack(content.whole_cluster(guest), image.compression) if kept is None else kept


def _bitmap_parts(image: Qcow2Image) -> Iterator[tuple[int, int, Maker]]:
    layout = image.layout
    unit, places = layout.cluster_size, layout.bitmaps
    for bitmap in image.bitmaps:
        place = places.by_name.get(bitmap.name)
        if place is None:
            continue
        for number, entry in place.data.items():
            if entry >= unit:
                yield entry, unit, partial(rendering.bitmap_data, bitmap, number, unit)
        yield place.table * unit, place.entries * 8, partial(rendering.bitmap_table, places, bitmap.name)
    if places.directory is not None:
        yield *places.directory, partial(rendering.bitmap_directory, image)
