"""What is where in a qcow2 file: read from a real one, and told of one that is emulated, in the same words."""

from __future__ import annotations

import hashlib
import os
import struct
import zlib
from pathlib import Path
from typing import Any

from qbitsim.images.content import Kind
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.qcow2.layout import HostLayout
from qbitsim.images.qcow2.rendered import parts
from qbitsim.images.qcow2.tables import Tables

Places = dict[str, Any]

MAGIC = b"QFI\xfb"
BITMAPS = 0x23852875
OFFSET = 0x00FFFFFFFFFFFE00
COMPRESSED = 1 << 62
ZERO = 1
NO_BITMAPS: Places = {"directory": None, "stored": []}


class Qcow2File:
    """A real file.

    :ivar places: everything that the file holds and where.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with open(path, "rb") as file:
            self._descriptor = file.fileno()
            self._read_header()
            self.places: Places = {
                "length": -(-os.fstat(self._descriptor).st_size // 512) * 512,
                "size": self.size,
                "version": self.version,
                "active": self._tables(self.l1_offset, self.l1_size),
                "snapshots": self._snapshots(),
                "refcount table": (self.table_offset // self.cluster, self.table_clusters),
                **self._refcounts(),
                "bitmaps": self._bitmaps() if self.version >= 3 else NO_BITMAPS,
            }

    def data(self) -> Places:
        """What the clusters hold: digests of the data of the disk, the snapshots and the bitmaps."""
        with open(self._path, "rb") as file:
            self._descriptor = file.fileno()
            tables = [self.places["active"], *self.places["snapshots"]]
            return {
                "header": self.header,
                "disks": [self._disk_data(each["clusters"]) for each in tables],
                "bitmaps": self._bitmap_data(),
            }

    def _disk_data(self, clusters: Places) -> Places:
        found = {}
        for number, (kind, *where) in clusters.items():
            if kind == "data":
                found[number] = self._digest(where[0] * self.cluster, self.cluster)
            elif kind == "compressed":
                packed = self._at(where[0], 512 - where[0] % 512 + where[1] * 512)
                found[number] = zlib.decompressobj(-15).decompress(packed, self.cluster)
        return found

    def _digest(self, offset: int, length: int) -> str:
        return hashlib.md5(self._at(offset, length)).hexdigest()[:8]

    def _bitmap_data(self) -> list[Any]:
        count, size, offset = self.directory
        data, at, found = self._at(offset, size), 0, []
        for _ in range(count):
            table, entries, flags, kind, bits, name_length, extra = struct.unpack(">QIIBBHI", data[at : at + 24])
            words = self._words(table, entries)
            digests = [self._digest(word, self.cluster) if word & OFFSET else word for word in words]
            found.append((flags, kind, bits, digests))
            at += -(-(24 + extra + name_length) // 8) * 8
        return found

    def _at(self, offset: int, length: int) -> bytes:
        return os.pread(self._descriptor, length, offset).ljust(length, b"\0")

    def _words(self, offset: int, count: int) -> tuple[int, ...]:
        return struct.unpack(f">{count}Q", self._at(offset, count * 8))

    def _read_header(self) -> None:
        (magic, self.version, _, _, bits, self.size, _, self.l1_size, self.l1_offset, self.table_offset) = (
            struct.unpack(">4sIQIIQIIQQ", self._at(0, 56))
        )
        assert magic == MAGIC
        self.header = self._at(0, min(1 << bits, 4096)).hex()
        self.table_clusters, self.snapshot_count, self.snapshot_offset = struct.unpack(">IIQ", self._at(56, 16))
        self.cluster = 1 << bits
        self.refcount_bits, header = 16, 72
        if self.version >= 3:
            order, header = struct.unpack(">II", self._at(96, 8))
            self.refcount_bits = 1 << order
        self.directory: tuple[int, int, int] = (0, 0, 0)
        while True:
            kind, length = struct.unpack(">II", self._at(header, 8))
            if kind == 0:
                break
            if kind == BITMAPS:
                count, _, size, offset = struct.unpack(">IIQQ", self._at(header + 8, 24))
                self.directory = count, size, offset
            header += 8 + -(-length // 8) * 8

    def _tables(self, offset: int, entries: int) -> Places:
        tables = {index: entry & OFFSET for index, entry in enumerate(self._words(offset, entries)) if entry & OFFSET}
        clusters = {}
        per_table = self.cluster // 8
        for index, place in tables.items():
            for number, entry in enumerate(self._words(place, per_table)):
                found = self._entry(entry)
                if found is not None:
                    clusters[index * per_table + number] = found
        return {
            "l1": (offset // self.cluster, entries),
            "l2": {index: place // self.cluster for index, place in tables.items()},
            "clusters": clusters,
        }

    def _entry(self, entry: int) -> tuple[Any, ...] | None:
        if entry & COMPRESSED:
            shift = 62 - (self.cluster.bit_length() - 1 - 8)
            offset = entry & ((1 << shift) - 1)
            sectors = (entry & (COMPRESSED - 1)) >> shift
            return "compressed", offset, sectors
        place = (entry & OFFSET) // self.cluster
        if entry & ZERO:
            return ("zero", place) if place else ("zero",)
        return ("data", place) if place else None

    def _snapshots(self) -> list[Places]:
        found, offset = [], self.snapshot_offset
        for _ in range(self.snapshot_count):
            l1_offset, l1_size, id_length, name_length = struct.unpack(">QIHH", self._at(offset, 16))
            (extra,) = struct.unpack(">I", self._at(offset + 36, 4))
            texts = self._at(offset + 40 + extra, id_length + name_length).decode()
            names = (texts[:id_length], texts[id_length:])
            found.append({"names": names, **self._tables(l1_offset, l1_size)})
            offset += -(-(40 + extra + id_length + name_length) // 8) * 8
        return found

    def _refcounts(self) -> Places:
        blocks, counts = {}, {}
        per_block = self.cluster * 8 // self.refcount_bits
        for index, entry in enumerate(self._words(self.table_offset, self.table_clusters * self.cluster // 8)):
            if not entry:
                continue
            blocks[index] = entry // self.cluster
            data = self._at(entry, self.cluster)
            for number in range(per_block):
                if self.refcount_bits < 8:
                    place, shift = divmod(number * self.refcount_bits, 8)
                    count = data[place] >> shift & ((1 << self.refcount_bits) - 1)
                else:
                    width = self.refcount_bits // 8
                    count = int.from_bytes(data[number * width : (number + 1) * width], "big")
                if count:
                    counts[index * per_block + number] = count
        return {"refcount blocks": blocks, "refcounts": counts}

    def _bitmaps(self) -> Places:
        count, size, offset = self.directory
        data, at, bitmaps = self._at(offset, size), 0, []
        for _ in range(count):
            table, entries, _, _, _, name_length, extra = struct.unpack(">QIIBBHI", data[at : at + 24])
            name = data[at + 24 + extra : at + 24 + extra + name_length].decode()
            places = [entry // self.cluster for entry in self._words(table, entries) if entry & OFFSET]
            bitmaps.append((name, table // self.cluster, places))
            at += -(-(24 + extra + name_length) // 8) * 8
        return {"directory": offset // self.cluster if count else None, "stored": bitmaps}


def different_parts(path: Path, image: Qcow2Image) -> list[str]:
    """Where the file has other bytes than the emulated image would have in its place.

    The list of snapshots, with dates in it, and the flags of entries in their tables are left out.
    """
    data, layout = path.read_bytes(), image.layout
    inactive = {place for tables in layout.snapshots.saved for place in (tables.l1[0], *tables.l2.values())}
    inactive = (inactive | {layout.snapshots.list_place[0]}) - {0, *layout.active.l2.values()}
    found = []
    for offset, length, make in parts(image):
        made = make()[:length]
        is_inactive = not offset % image.cluster_size and offset // image.cluster_size in inactive
        if not is_inactive and data[offset : offset + len(made)].ljust(len(made), b"\0") != made:
            found.append(f"{offset:#x}")
    return found


def places_of(image: Qcow2Image) -> Places:
    """The same of an emulated image."""
    layout = image.layout
    return {
        "length": image.file_length,
        "size": image.size,
        "version": 2 if image.compat == "0.10" else 3,
        "active": _tables_of(layout, layout.active, image),
        "snapshots": [
            {"names": (found.id, found.name), **_tables_of(layout, tables, found)}
            for found, tables in zip(image.snapshots, layout.snapshots.saved, strict=True)
        ],
        "refcount table": layout.clusters.table,
        "refcount blocks": dict(sorted(layout.clusters.blocks.items())),
        "refcounts": {
            cluster: layout.clusters.refcount(cluster)
            for start, stop in layout.clusters.used()
            for cluster in range(start, stop)
        },
        "bitmaps": layout.bitmaps.places(layout.cluster_size),
    }


def _tables_of(layout: HostLayout, tables: Tables, holder: Any) -> Places:
    content, clusters = holder.content, {}
    stored = content.allocation_order()
    for guest, (offset, length) in tables.packed.items():
        clusters[guest] = "compressed", offset, (offset + length - 1) // 512 - offset // 512
    for guest, place in tables.places.items():
        clusters[guest] = "data" if guest in stored else "zero", place
    for offset, length in content.ranges(Kind.ZERO):
        for guest in range(offset // layout.cluster_size, -(-(offset + length) // layout.cluster_size)):
            clusters.setdefault(guest, ("zero",))
    return {"l1": tables.l1, "l2": dict(sorted(tables.l2.items())), "clusters": dict(sorted(clusters.items()))}
