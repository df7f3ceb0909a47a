"""``qcow2``: a format with clusters, a backing file and stored bitmaps.

Persistent bitmaps (block/qcow2-bitmap.c, QEMU 10.0)
=====================================================

1. Opening loads the stored bitmaps in file order, each in front of the list. While the image is writable the file's
   copies carry ``in-use``; those that carry it when the image is opened were never stored: they are inconsistent.
2. Closing, and reopening read-only, stores the persistent bitmaps: known ones keep their place in the file, new ones
   are appended, newest first. Inconsistent ones stay in the file as they are.
3. On a read-only node they are ``readonly``; new ones may be added but are stored only once it is writable.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from qbitsim.block.bitmap import MAXIMUM_NAME_BYTES
from qbitsim.block.drive import io_error
from qbitsim.block.limits import Limits
from qbitsim.block.node import Node
from qbitsim.block.status import Status, status_above
from qbitsim.drivers.driver import DriverNode, driver
from qbitsim.drivers.file import STATUS_OF, image_below
from qbitsim.drivers.filename_options import innermost, json_options, protocol_options
from qbitsim.drivers.options import Options, file_options, flag, passes_discards
from qbitsim.drivers.qcow2_caches import check_cache_sizes
from qbitsim.drivers.qcow2_options import BlockdevOptionsQcow2
from qbitsim.errors import QmpError
from qbitsim.images.image import StoredBitmap
from qbitsim.records import changed
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from qbitsim.bits.bits import Bits
    from qbitsim.block.graph import Graph
    from qbitsim.drivers.opener import Opener
    from qbitsim.images.image import Image, StoredSnapshot
    from qbitsim.jsontypes import Json
    from qbitsim.profiles import Profile

MAXIMUM_BITMAP_BYTES = 0x20000000
MAXIMUM_TABLE_ENTRIES = 0x8000000
MAXIMUM_GRANULARITY = 1 << 31
MAXIMUM_L1_ENTRIES = 1 << 22
L2_SLICE_ENTRIES = 512
MAXIMUM_WRITTEN = 65536
"""So many clusters are written before the file is told of them."""


_SIZES = ("cache-size", "l2-cache-size", "l2-cache-entry-size", "refcount-cache-size")


@driver(
    "qcow2",
    options=BlockdevOptionsQcow2,
    format=True,
    creates=True,
    accepts={"encrypt": (), "discard-no-unref": (False,)},
    sizes=_SIZES,
    reopens=[
        *("lazy-refcounts", "pass-discard-request", "pass-discard-snapshot", "pass-discard-other", "discard-no-unref"),
        *("overlap-check", "cache-clean-interval", *_SIZES),
    ],
)
class Qcow2Node(DriverNode):
    """The disk in a qcow2 file.

    :param image: what is in the file that the child ``file`` leads to.
    """

    supports_backing = True
    supports_compression = True
    can_store_bitmaps = True

    __slots__ = ("_counted", "_known", "_old", "_slices", "_written", "image")

    image: Image

    def __init__(self, graph: Graph, image: Image, *, read_only: bool = False, unmap: bool = False) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self.image = image
        self._slices: set[int] = set()
        self._known = 0  # so many of what was written are known to be in the slices
        self._written: dict[int, int] = {}
        self._old = len(image.content.allocation_order())
        self._counted = False

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """The image in the file, and its backing file."""
        file = opener.open_file_child(options)
        image = image_below(file)
        if image is None or image.format != cls.driver:
            raise QmpError("Image is not in qcow2 format")
        try:
            file.pread(0, SECTOR)
        except OSError as error:
            raise QmpError(f"Could not read qcow2 header: {error.strerror}") from None
        node = cls(opener.graph, image, read_only=flag(options, "read-only"), unmap=passes_discards(options))
        opener.open_format(node, file, options)
        node._open_backing(opener, options)
        return node

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """No image here has an external data file."""
        check_cache_sizes(options)
        if "data-file" in options:
            raise QmpError("'data-file' can only be set for images with an external data file")

    def _open_backing(self, opener: Opener, options: Options) -> None:
        """The backing file: as given, or as the image's header says; always read-only."""
        inherited = {**file_options(options), "read-only": True, "auto-read-only": False}
        given = options.get("backing", {})
        if given is None:
            return
        if not isinstance(given, dict) or "driver" in given:
            opener.open_child(self, "backing", options, inherited=inherited)
            return
        name = self.image.backing
        if name is None:
            return
        try:
            named = {**self._named_backing(opener, name), **given}
            opener.open_child(self, "backing", options, named, inherited=inherited)
            assert self.backing is not None
            self.backing.probed = not name.startswith("json:") and self.image.backing_format is None
        except QmpError as error:
            raise QmpError(f"Could not open backing file: {error.desc}") from None

    def _named_backing(self, opener: Opener, name: str) -> Options:
        """The options of the backing file that the image's header names."""
        if name.startswith("json:"):
            return json_options(name)
        file = protocol_options(self.graph.images.backing_name(self.filename, name))
        return {"driver": self.image.backing_format or opener.image(innermost(file)).format, "file": file}

    @property
    def length(self) -> int:
        """Bytes of the disk."""
        return self.image.size

    @property
    def cluster_size(self) -> int:
        """Bytes."""
        assert self.image.cluster_size is not None
        return self.image.cluster_size

    @property
    def limits(self) -> Limits:
        """Whole clusters are best discarded and zeroed (qcow2_refresh_limits)."""
        return changed(super().limits, discard=self.cluster_size, zeroes=self.cluster_size)

    @property
    def can_unmap_zeroes(self) -> bool:
        """Version 3 has clusters of zeroes."""
        return self.image.compat != "0.10"

    @property
    def header_backing(self) -> str | None:
        """As the header says."""
        return self.image.backing

    @property
    def snapshots(self) -> list[StoredSnapshot]:
        """Those of the image."""
        return self.image.snapshots

    def create_snapshot(self, name: str, date: int, clock: int) -> StoredSnapshot:
        """Take it in the image."""
        return self.image.create_snapshot(name, date, clock)

    def delete_snapshot(self, snapshot: StoredSnapshot) -> None:
        """Delete it from the image."""
        self.image.delete_snapshot(snapshot)

    def change_backing_file(self, name: str | None, driver: str | None) -> None:
        """Write it into the header."""
        self.image.backing, self.image.backing_format = name, driver

    def specific_info(self, profile: Profile) -> Json:
        """ImageInfoSpecificQCow2 (qcow2_get_specific_info)."""
        image = self.image
        data: Json = {"compat": image.compat, "refcount-bits": image.refcount_bits}
        if profile.qcow2_shows_compression_type:
            data["compression-type"] = "zlib"
        if image.compat != "0.10":
            data |= {"lazy-refcounts": image.lazy_refcounts, "corrupt": image.corrupt}
            if profile.qcow2_shows_extended_l2:
                data["extended-l2"] = False
        if image.bitmaps and profile.qcow2_shows_bitmaps:
            data["bitmaps"] = [
                {
                    "name": bitmap.name,
                    "granularity": bitmap.granularity,
                    "flags": [flag for flag, on in (("in-use", bitmap.in_use), ("auto", bitmap.auto)) if on],
                }
                for bitmap in image.bitmaps
            ]
        return {"type": "qcow2", "data": data}

    # -- requests

    def _read(self, offset: int, length: int) -> bytes:
        if self.image.faults is not None:
            self.image.faults.check("read", offset, length)
        if self.children[0].node.notices_requests:
            self._request_runs("read", offset, length)
        below = self.backing
        if below is None:
            return self.image.content.read(offset, length)
        parts, end = [], offset + length
        while offset < end:
            kind, run = self.image.content.status(offset, end - offset)
            data, zero = STATUS_OF[kind]
            parts.append(self.image.content.read(offset, run) if data or zero else _read_below(below, offset, run))
            offset += run
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        if compressed:
            self._write_compressed(offset, data)
            return
        unit, written = self.image.cluster_size or 1, self._written
        cluster, start = divmod(offset, unit)
        reach = start + len(data)
        if reach > unit or len(written) > MAXIMUM_WRITTEN:
            self._note_written(offset, offset + len(data))
        elif reach > written.get(cluster, 0):
            written[cluster] = reach
        if self.image.faults is not None:
            self.image.faults.check("write", offset, len(data))
        if self.children[0].node.notices_requests:
            self._write_through_file(offset, data)
        else:
            self.image.write(offset, data, self._below)

    def _write_compressed(self, offset: int, data: bytes) -> None:
        """Write whole clusters, each for itself (qcow2_co_pwritev_compressed_part, block/qcow2.c, QEMU 10.0).

        :raises OSError: EINVAL for a part of a cluster, EIO for one that has a place in the file; others are written.
        """
        unit, end = self.cluster_size, offset + len(data)
        if offset % unit or (end % unit and end != self.length):
            raise io_error(errno.EINVAL)
        failed = False
        for start in range(0, len(data), unit):
            piece, place = data[start : start + unit], offset + start
            if not self.image.shrinks(piece):
                self._write(place, piece, compressed=False)
            elif self.image.takes_compressed(place):
                self._write_packed(place, piece)
            else:
                failed = True
        if failed:
            raise io_error(errno.EIO)

    def _write_packed(self, offset: int, data: bytes) -> None:
        self._slices.update(self._slices_of(offset, len(data)))
        if self.image.faults is not None:
            self.image.faults.check("write", offset, len(data))
        notices = self._file.notices_requests
        if notices:
            self.image.check_room(offset, len(data))
            self._request_tables(offset)
        self.image.write_compressed(offset, data)
        if notices:
            self._request_runs("write", offset, len(data))

    @property
    def copies_ranges(self) -> bool:
        """Whether the file does."""
        return self.children[0].node.copies_ranges

    @property
    def _watched(self) -> bool:
        return self.image.faults is not None or self._file.notices_requests

    @property
    def plain_image(self) -> Image | None:
        """Itself, without a backing file and with nobody who watches."""
        return None if self._watched or self.backing is not None else self.image

    def take_clusters(self, source: Node, chosen: Bits, cluster_size: int) -> bool:
        """Let the image take them, if nobody watches; the slices of the L2 tables are in memory then."""
        image = source.plain_image
        if image is None or self.plain_image is None or self.bitmaps:
            return False
        if not self.image.can_share_clusters(image, cluster_size):
            return False
        clusters = list(chosen.indices())
        self.image.copy_clusters(image.content, clusters)
        self._written.update(dict.fromkeys(clusters, cluster_size))
        if clusters:
            end = min((max(clusters) + 1) * cluster_size, self.length)
            if end > self.noticed_end:
                self.note_write_end(end)
        return True

    def waits_for_io(self, operation: str, offset: int, length: int) -> bool:
        """Not to zero what slices of the L2 tables in memory say, and for a status only once.

        Then it looks whether the metadata were preallocated, for which it needs the first refcounts; writing may have
        read them already (qcow2_co_block_status and qcow2_detect_metadata_preallocation).
        """
        if operation == "status":
            return not (self._counted or self._slices or self._written)
        if operation != "write-zeroes" or self._watched:
            return True
        self._note_slices()
        return not self._slices.issuperset(self._slices_of(offset, length))

    def _note_slices(self) -> None:
        """Let the slices be known in which the clusters are that were written since they were noted last."""
        self._slices.update({cluster // L2_SLICE_ENTRIES for cluster in islice(self._written, self._known, None)})
        self._known = len(self._written)

    def _slices_of(self, offset: int, length: int) -> range:
        """The slices of the L2 tables for the range: the cache holds them in 4 KiB, 512 clusters each."""
        span = self.cluster_size * L2_SLICE_ENTRIES
        return range(offset // span, (offset + length - 1) // span + 1)

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self._slices.update(self._slices_of(offset, length))
        if self.image.faults is not None:
            self.image.faults.check("write-zeroes", offset, length)
        self._note_tables(offset)
        if unmap:
            self._discard_places(offset, length)
        if self._file.notices_requests:
            self.image.check_room_for_zeroes(offset, length, self._below)
            self._request_tables(offset)
        below = None if self.backing is None else self._below
        unmap = unmap and (self.unmap or self.graph.drives_unmap_zeroes)
        self.image.write_zeroes(offset, length, below, self._below_is_zero, unmap=unmap)

    def _discard(self, offset: int, length: int) -> None:
        if self.image.faults is not None:
            self.image.faults.check("discard", offset, length)
        if length >= self.cluster_size:
            self._note_tables(offset)
        self._discard_places(offset, length)
        if self._file.notices_requests:
            first, last = self.image.content.whole_clusters(offset, length)
            if first < last:
                self._request_tables(first * self.cluster_size)
        self.image.discard(offset, length)

    def _flush(self) -> None:
        if self.image.faults is not None:
            self.image.faults.check("flush", 0, 0)
        super()._flush()

    def _status(self, offset: int, length: int) -> Status:
        self._counted = True
        kind, run = self.image.content.status(offset, length)
        data, zero = STATUS_OF[kind]
        return Status(run, data=data, zero=zero)

    def looked_up_at_once(self, offset: int, length: int) -> int:
        """As far as a slice of an L2 table tells."""
        return self.image.looked_up_at_once(offset, length)

    def zeroes_fast(self, offset: int, length: int) -> bool:
        """Whole clusters; and a part of one, if all of it reads as zeroes then (qcow2_co_pwrite_zeroes, QEMU 10.0)."""
        if self.image.compat == "0.10":
            return False
        unit, end = self.cluster_size, offset + length
        head, tail = offset % unit, 0 if end == self.length else -end % unit
        if not head and not tail:
            return True
        around = ((offset - head, head), (end, min(tail, self.length - end)))
        is_data = STATUS_OF[self.image.content.status(offset, 1)[0]][0]
        return not is_data and all(status_above(self, None, *part).zero for part in around if part[1])

    def _truncate(self, size: int) -> None:
        """With the refusals of qcow2_co_truncate (block/qcow2.c, QEMU 10.0), in its order."""
        if size % SECTOR:
            raise QmpError(f"The new size must be a multiple of {SECTOR}")
        if self.image.snapshots and self.image.compat == "0.10":
            raise QmpError("Can't resize a v2 image which has snapshots")
        for stored in self.image.bitmaps:
            bitmap = self.find_bitmap(stored.name)
            if bitmap is not None:
                bitmap.check()
        if size > MAXIMUM_L1_ENTRIES * (self.cluster_size // 8) * self.cluster_size:
            raise QmpError("Failed to grow the L1 table: File too large")
        self.image.resize(size)

    def make_empty(self) -> None:
        """Forget what the layer holds (qcow2_make_empty, block/qcow2.c, QEMU 10.0); no bitmap is marked."""
        self.image.make_empty()

    def _below(self, offset: int, length: int) -> bytes:
        backing = self.backing
        return bytes(length) if backing is None else _read_below(backing, offset, length)

    def _below_is_zero(self, offset: int, length: int) -> bool:
        """Whether the layers below say that they are zero, without a look at bytes (is_zero, block/qcow2.c, 10.0)."""
        backing = self.backing
        end = min(offset + length, backing.length) if backing is not None else 0
        while backing is not None and offset < end:
            status = status_above(backing, None, offset, end - offset)
            if not status.zero:
                return False
            offset += status.length
        return True

    # -- what it asks of its file

    @property
    def _file(self) -> Node:
        return self.children[0].node

    def _note_written(self, offset: int, end: int) -> None:
        """Keep how far each cluster is written."""
        if len(self._written) > MAXIMUM_WRITTEN:
            self.tell_writes()
        unit = self.cluster_size
        for cluster in range(offset // unit, -(-end // unit)):
            reach = min(unit, end - cluster * unit)
            if reach > self._written.get(cluster, 0):
                self._written[cluster] = reach

    def tell_writes(self) -> None:
        """Let the file know how far its clusters were written."""
        self._note_slices()
        new, unit, ends = self._new_clusters(), self.cluster_size, [0]
        for (cluster, reach), place in zip(self._written.items(), self.image.places(self._written), strict=True):
            if place is not None:
                ends.append(place + (unit if cluster in new else reach))
        self._written.clear()
        self._known = 0
        self._old = len(self.image.content.allocation_order())
        file = self.children[0].node
        if max(ends) > file.highest_write:
            file.note_write_end(max(ends))

    def _host_end(self, cluster: int, new: set[int]) -> int | None:
        """How far the file is written at a cluster: all of one that is new, for what is around the data is copied."""
        unit = self.cluster_size
        place = self.image.host_offset(cluster * unit)
        if place is None:
            return None
        is_new = cluster in new or cluster not in self.image.content.allocation_order()
        return place + (unit if is_new else self._written.get(cluster, unit))

    def _new_clusters(self) -> set[int]:
        """The clusters that were stored since the file was told last."""
        stored = self.image.content.allocation_order()
        return set(islice(reversed(stored), max(0, len(stored) - self._old)))

    def _note_runs(self, file: Node, offset: int, length: int) -> None:
        """Let the file know how far each contiguous run of a request goes, for QEMU writes it in one."""
        unit, new, run_end = self.cluster_size, self._new_clusters(), 0
        for cluster in range(offset // unit, -(-(offset + length) // unit)):
            place = self.image.host_offset(cluster * unit)
            if place is None:
                continue
            if place != run_end and run_end > file.noticed_end:
                file.note_write_end(run_end)
            run_end = self._host_end(cluster, new) or run_end
        if run_end > file.noticed_end:
            file.note_write_end(run_end)

    def _note_tables(self, offset: int) -> None:
        """Let the file know of the tables that a request needs that stores no data."""
        file = self.children[0].node
        for place, length in self.image.new_table_places(offset):
            if place + length > file.noticed_end:
                file.note_write_end(place + length)

    def _discard_places(self, offset: int, length: int) -> None:
        """Let the file discard the places of the whole clusters in a range (qcow2_process_discards)."""
        if not self.unmap:
            return
        unit, end = self.cluster_size, offset + length
        self.tell_writes()
        runs: list[tuple[int, int]] = []
        for cluster in range(-(-offset // unit), (-(-end // unit) if end == self.length else end // unit)):
            place = self.image.host_offset(cluster * unit)
            if place is None:
                continue
            if runs and runs[-1][0] + runs[-1][1] == place:
                runs[-1] = runs[-1][0], runs[-1][1] + unit
            else:
                runs.append((place, unit))
        for place, run in runs:
            self.children[0].node.note_discarded(place, run)

    def _write_through_file(self, offset: int, data: bytes) -> None:
        """Write once the file has let the tables and the data be written to the places that they get there."""
        self.image.check_room(offset, len(data))
        self._request_tables(offset)
        self.image.reserve(offset, len(data))
        try:
            self._request_runs("write", offset, len(data))
            self.image.write(offset, data, self._below)
        finally:
            self.image.settle()

    def _request_tables(self, offset: int) -> None:
        """Ask for what is written before the cluster at ``offset`` can be stored or become zero."""
        for place, length in self.image.new_table_places(offset):
            self._file.pwrite(place, length)

    def _request_runs(self, operation: str, offset: int, length: int) -> None:
        """Ask for those clusters of the range that have a place in the file, one by one."""
        file, end, cluster = self._file, offset + length, self.cluster_size
        request = file.pread if operation == "read" else file.pwrite
        if operation == "write":
            self._note_runs(file, offset, length)
        while offset < end:
            stop = min(offset - offset % cluster + cluster, end)
            run = self.image.host_run(offset, stop - offset)
            if run is not None:
                file.debug_event(f"{operation}_aio")
                request(*run)
            offset = stop

    # -- stored bitmaps

    def on_opened(self) -> None:
        """Take up what the file has stored; (qcow2_load_dirty_bitmaps)."""
        for stored in self.image.bitmaps:
            bitmap = self.create_bitmap(stored.name, stored.granularity)
            bitmap.persistent = True
            if stored.in_use:
                bitmap.inconsistent = bitmap.disabled = True
                continue
            bitmap.bits = stored.bits.copy()
            bitmap.disabled = not stored.auto
            bitmap.readonly = self.read_only
            stored.in_use = not self.read_only

    def store_bitmaps(self) -> bool:
        """Write the persistent bitmaps into the file (qcow2_store_persistent_dirty_bitmaps); whether it worked.

        All are lost if there is no room for one of them: those that the file has stay in use. The bitmaps of an empty
        disk are lost, too: their tables have no entries, and QEMU takes the NULL that stands for no entries for a lack
        of memory (store_bitmap_data, block/qcow2-bitmap.c, QEMU 10.0).
        """
        wanted = self._bitmaps_to_store()
        if not wanted:
            return True
        if self._is_stored_already(wanted):
            return False
        if not self.length or self._bitmap_without_room(wanted) is not None:
            return False
        self.image.store_bitmaps(wanted.values())
        return True

    def _is_stored_already(self, wanted: dict[str, StoredBitmap]) -> bool:
        """Whether the file has a bitmap of such a name that is not in use.

        So it is when a job replaced the bitmap while the node was read-only: it could not be made writable again.
        """
        found = (self.image.find_bitmap(name) for name in wanted)
        return any(stored is not None and not stored.in_use for stored in found)

    def check_room_for_bitmaps(self) -> None:
        """Refuse to become read-only if there is no room for the bitmaps that would be stored.

        :raises QmpError: with the text of qcow2_store_persistent_dirty_bitmaps (block/qcow2-bitmap.c, QEMU 10.0).
        """
        name = self._bitmap_without_room(self._bitmaps_to_store())
        if name is not None:
            raise QmpError(f"Failed to write bitmap '{name}' to file: {os.strerror(errno.ENOSPC)}")

    def _bitmaps_to_store(self) -> dict[str, StoredBitmap]:
        """What is to be in the file, by name, in its order; empty if nothing of it is new."""
        wanted = [
            StoredBitmap(
                bitmap.name,
                bitmap.granularity,
                in_use=False,
                auto=not (bitmap.disabled or bitmap.successor),
                bits=bitmap.bits.copy(),
            )
            for bitmap in self.bitmaps
            if bitmap.persistent
            and bitmap.name is not None
            and not (bitmap.inconsistent or bitmap.readonly or bitmap.skip_store)
        ]
        kept = {stored.name: stored for stored in self.image.bitmaps} if wanted else {}
        return kept | {stored.name: stored for stored in wanted}

    def _bitmap_without_room(self, wanted: dict[str, StoredBitmap]) -> str | None:
        """The first of these bitmaps that the image's capacity does not allow to be written beside what is there."""
        if self.image.capacity is None:
            return None
        room = self.image.capacity - self.image.content.allocated
        for stored in wanted.values():
            room -= 0 if stored.in_use else self.image.bitmap_length(stored)
            if room < 0:
                return stored.name
        return None

    def reopen_prepare(self, options: Mapping[str, Any], *, read_only: bool) -> None:
        """Refuse to become read-only if there is no room for the bitmaps that would be stored then."""
        del options
        if read_only and not self.read_only:
            self.check_room_for_bitmaps()

    def on_read_only(self, read_only: bool) -> None:
        """Store the bitmaps and make them readonly, or take them up for writing again."""
        if read_only:
            if self.store_bitmaps():
                for bitmap in self.bitmaps:
                    bitmap.readonly = bitmap.persistent
            return
        for stored in self.image.bitmaps:
            found = self.find_bitmap(stored.name)
            if found is not None and found.readonly:
                found.readonly = False
                stored.in_use = True

    def close(self) -> None:
        """Store the bitmaps (qcow2_close)."""
        if not self.read_only:
            self.store_bitmaps()

    def check_can_store(self, name: str, granularity: int) -> None:
        """Refuse a bitmap that cannot be stored in this image.

        :raises QmpError: in the order of qcow2_co_can_store_new_dirty_bitmap (block/qcow2-bitmap.c, QEMU 10.0).
        """
        if self.find_bitmap(name) is not None:
            raise QmpError(f"Bitmap already exists: {name}")
        reason = self._why_not_stored(name, granularity)
        if reason is not None:
            raise QmpError(f"Can't make bitmap '{name}' persistent in '{self.device_or_node_name}': {reason}")

    def _why_not_stored(self, name: str, granularity: int) -> str | None:
        if self.image.compat == "0.10":
            return "Cannot store dirty bitmaps in qcow2 v2 files"
        if granularity > MAXIMUM_GRANULARITY:
            return f"Granularity exceeds maximum ({MAXIMUM_GRANULARITY} bytes)"
        if len(name.encode("utf-8", "surrogatepass")) > MAXIMUM_NAME_BYTES:
            return f"Name length exceeds maximum ({MAXIMUM_NAME_BYTES} characters)"
        granules = -(-self.length // granularity)
        needed = -(-granules // 8)
        if needed > MAXIMUM_BITMAP_BYTES or needed > MAXIMUM_TABLE_ENTRIES * self.cluster_size:
            return "Too much space will be occupied by the bitmap. Use larger granularity"
        return None

    def remove_stored_bitmap(self, name: str) -> None:
        """Take it off the file at once; one that was never stored is not there (qcow2_co_remove_persistent_...)."""
        if self.image.find_bitmap(name) is not None:
            self.image.remove_bitmap(name)


def _read_below(backing: Node, offset: int, length: int) -> bytes:
    """What a backing file reads as; behind its end there are zeroes."""
    inside = max(0, min(offset + length, backing.length) - offset)
    return (backing.read(offset, inside) if inside else b"").ljust(length, b"\0")
