"""The disk of a VMDK image: grains whose places are in the tables of the file, which is all that is known of them."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from qbitsim.files.failures import ReportedError
from qbitsim.images.content import Content, Kind, Reader
from qbitsim.images.file_bytes import BytesContent
from qbitsim.images.vmdk import structures
from qbitsim.images.vmdk.structures import GRAIN_MARKER_LENGTH, pack_entry, pack_grain_marker
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from qbitsim.files.tree import ByteFile
    from qbitsim.images.vmdk.extent import Extent

MAXIMUM_SECTORS = 1 << 32
"""No grain begins behind so many sectors of the file (VMDK_EXTENT_MAX_SECTORS)."""


class WrittenGrainError(ReportedError):
    """A grain of a compressed extent was written before (vmdk_pwritev)."""

    report = "Could not write to allocated cluster for streamOptimized"

    def __init__(self) -> None:
        super().__init__(errno.EIO, os.strerror(errno.EIO))


class GrainContent(BytesContent):
    """The disk of one extent. Nothing is below it.

    A grain of a compressed extent is written once, and as a whole.

    :param file: the bytes of the image, to be written, too.
    :param extent: where its tables are.
    """

    __slots__ = ("_next", "extent")

    file: ByteFile

    def __init__(self, file: ByteFile, extent: Extent) -> None:
        super().__init__(file, extent.size)
        self.cluster_size = extent.grain_size
        self.zero_clusters = extent.has_zero_grains
        self.extent = extent
        self.find_end()

    def find_end(self) -> None:
        """The file was opened: what is new comes behind what it has, where a grain may begin."""
        grain = self.extent.header.grain
        self._next = -(-self.file.length // (grain * SECTOR)) * grain

    # -- reading

    def entry(self, grain: int) -> int:
        """The entry of a grain: where it is, in sectors; 0 for nowhere."""
        places = self.extent.places(grain)
        return int.from_bytes(self.file.read_at(places[0], structures.TABLE_ENTRY), "little") if places else 0

    def kind(self, entry: int) -> Kind:
        """What an entry says of its grain."""
        if entry == structures.ENTRY_OF_ZEROES and self.extent.has_zero_grains:
            return Kind.ZERO
        return Kind.DATA if entry else Kind.HOLE

    def place(self, offset: int) -> int | None:
        """Where in the file the byte at *offset* of the disk is, None if it is not there as it is."""
        grain, skip = divmod(offset, self.cluster_size)
        entry = self.entry(grain)
        if self.extent.is_compressed or self.kind(entry) is not Kind.DATA:
            return None
        return entry * SECTOR + skip

    def read(self, offset: int, length: int) -> bytes:
        """As every content; OSError(EINVAL) of a compressed grain that is damaged (vmdk_read_extent)."""
        assert 0 <= offset <= offset + length <= self.size, (offset, length, self.size)
        parts = [self._read_part(*part) for part in self.parts(offset, length)]
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def parts(self, offset: int, length: int) -> Iterator[tuple[int, int]]:
        """A range cut where grains begin, as (offset, length)."""
        end = offset + length
        while offset < end:
            stop = min(end, offset - offset % self.cluster_size + self.cluster_size)
            yield offset, stop - offset
            offset = stop

    def _read_part(self, offset: int, length: int) -> bytes:
        grain, skip = divmod(offset, self.cluster_size)
        entry = self.entry(grain)
        if self.kind(entry) is not Kind.DATA:
            return bytes(length)
        if self.extent.is_compressed:
            found = self._unpacked(entry * SECTOR)[skip : skip + length]
            if len(found) < length:
                raise _error(errno.EINVAL)
            return found
        return self.file.read_at(entry * SECTOR + skip, length).ljust(length, b"\0")

    def _unpacked(self, place: int) -> bytes:
        """The bytes of a compressed grain; two grains are read, for it may not have become smaller."""
        data = self.file.read_at(place, 2 * self.cluster_size).ljust(2 * self.cluster_size, b"\0")
        packed = data[: self.cluster_size]
        if self.extent.has_markers:
            length = structures.grain_length(data)
            packed = data[GRAIN_MARKER_LENGTH : GRAIN_MARKER_LENGTH + length]
            if not length or len(packed) < length:
                raise _error(errno.EINVAL)
        unpacker = zlib.decompressobj()
        try:
            found = unpacker.decompress(packed, self.cluster_size)
            if not unpacker.eof and (unpacker.decompress(unpacker.unconsumed_tail, 1) or not unpacker.eof):
                raise _error(errno.EINVAL)
        except zlib.error:
            raise _error(errno.EINVAL) from None
        return found

    def status(self, offset: int, length: int) -> tuple[Kind, int]:
        """As every content; a run of data is one grain at most, as QEMU has it (vmdk_co_block_status)."""
        assert 0 <= offset < self.size
        assert length > 0
        unit, end = self.cluster_size, min(offset + length, self.size)
        grain, last = offset // unit, -(-end // unit)
        kind = self.kind(self.entry(grain))
        stop = grain + 1 if kind is Kind.DATA else self._run_end(grain, last, kind)
        return kind, min(stop * unit, end) - offset

    def _run_end(self, grain: int, last: int, kind: Kind) -> int:
        """The first of the grains up to before *last* that is not of a kind."""
        entries = self.extent.header.table_entries
        while grain < last:
            stop = min(grain - grain % entries + entries, last)
            places = self.extent.places(grain)
            if not places and kind is not Kind.HOLE:
                return grain
            if places:
                length = (stop - grain) * structures.TABLE_ENTRY
                table = self.file.read_at(places[0], length).ljust(length, b"\0")
                if kind is not Kind.HOLE or table.count(0) < length:
                    for number, entry in enumerate(structures.unpack_entries(table)):
                        if self.kind(entry) is not kind:
                            return grain + number
            grain = stop
        return last

    @property
    def allocated(self) -> int:
        """Bytes of the grains that hold data."""
        return len(self.stored_clusters()) * self.cluster_size

    def growth(self, offset: int, length: int) -> int:
        """As every content."""
        parts = self.parts(offset, length)
        return sum(self.cluster_size for start, _ in parts if self.status(start, 1)[0] is not Kind.DATA)

    # -- writing

    def write(self, offset: int, data: bytes, below: Reader | None = None) -> None:
        """As every content.

        :raises WrittenGrainError: the extent is compressed, and a grain is there already.
        :raises OSError: EINVAL for a part of a compressed grain, where there is no table, or if the file would become
            too long; or as the file says.
        """
        del below
        for start, length in self.parts(offset, len(data)):
            self.write_part(start, data[start - offset : start - offset + length])

    def write_part(self, offset: int, data: bytes) -> None:
        """The same of one grain, or of a part of it: first the bytes, then the tables (vmdk_pwritev)."""
        grain, skip = divmod(offset, self.cluster_size)
        entry = self.entry(grain)
        is_new = self.kind(entry) is not Kind.DATA
        if self.extent.is_compressed and not is_new:
            raise WrittenGrainError
        if is_new:
            entry = self._take_place(grain)
            self._fill_up(entry * SECTOR, skip, len(data))
        if self.extent.is_compressed:
            self._write_packed(entry, offset, data)
        else:
            self.file.write_at(entry * SECTOR + skip, data)
        if is_new:
            self._set_entry(grain, entry)

    def _take_place(self, grain: int) -> int:
        if not self.extent.places(grain) or self._next >= MAXIMUM_SECTORS:
            raise _error(errno.EINVAL)
        place, self._next = self._next, self._next + self.extent.header.grain
        return place

    def _fill_up(self, place: int, skip: int, length: int) -> None:
        """Write zeroes around what is written of a new grain; of one that is compressed everywhere, as QEMU does."""
        if self.extent.is_compressed:
            skip = length = 0
        if skip:
            self.file.write_at(place, bytes(skip))
        if skip + length < self.cluster_size:
            self.file.write_at(place + skip + length, bytes(self.cluster_size - skip - length))

    def _write_packed(self, sector: int, offset: int, data: bytes) -> None:
        is_whole = len(data) == self.cluster_size or offset + len(data) == self.size
        if offset % self.cluster_size or not is_whole or not self.extent.has_markers:
            raise _error(errno.EINVAL)
        packed = zlib.compress(data)
        self.file.write_at(sector * SECTOR, pack_grain_marker(offset // SECTOR, len(packed)) + packed)
        self._next = sector + -(-(GRAIN_MARKER_LENGTH + len(packed)) // SECTOR)

    def _set_entry(self, grain: int, entry: int) -> None:
        for place in self.extent.places(grain):
            self.file.write_at(place, pack_entry(entry))

    def zero_grain(self, grain: int) -> None:
        """Let a table say that a grain is zero, which this extent can; what it had is lost (vmdk_pwritev)."""
        assert self.extent.has_zero_grains
        if self.kind(self.entry(grain)) is not Kind.ZERO:
            self._set_entry(grain, structures.ENTRY_OF_ZEROES)

    def write_zeroes(
        self,
        offset: int,
        length: int,
        below: Reader | None = None,
        below_is_zero: Callable[[int, int], bool] | None = None,
    ) -> None:
        """As every content: whole grains are zero where the tables can say so, anything else is written.

        :raises OSError: as :meth:`write`; with nothing changed if a compressed grain is there already.
        """
        del below, below_is_zero
        if self.extent.is_compressed and any(self.status(*part)[0] is Kind.DATA for part in self.parts(offset, length)):
            raise WrittenGrainError
        for start, run in self.parts(offset, length):
            if self.can_zero(run):
                self.zero_grain(start // self.cluster_size)
            else:
                self.write_part(start, bytes(run))

    def can_zero(self, length: int) -> bool:
        """Whether *length* bytes of one grain can be zero without being written: all of it, even of the last one."""
        return self.extent.has_zero_grains and length == self.cluster_size

    def discard(self, offset: int, length: int, *, backed: bool = False) -> None:
        """Nothing: grains are never given up."""

    def resize(self, size: int, *, zero_new: bool = False) -> None:
        """Not here: the format has no way."""
        raise AssertionError(f"{size} bytes for a disk that cannot be resized")

    def copy_clusters(self, source: Content, clusters: Iterable[int]) -> None:
        """Not here: nothing is shared with a file."""
        raise AssertionError("clusters for a file")


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
