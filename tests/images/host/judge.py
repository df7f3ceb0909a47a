"""A second opinion on a qcow2 file: is each cluster counted at least as often as it is used, and what does it hold."""

from __future__ import annotations

import zlib
from collections import Counter
from pathlib import Path

from qcow2_file import OFFSET, Qcow2File

COPIED = 1 << 63


class Judgement(Qcow2File):
    """What ``qemu-img check`` looks for.

    :ivar errors: what must not be: clusters that are used more often than they are counted.
    :ivar leaks: how many clusters are counted more often than they are used.
    :ivar copied: COPIED flags that are not as the refcount says.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.errors: list[str] = []
        with open(path, "rb") as file:
            self._descriptor = file.fileno()
            counted: Counter[int] = Counter(self.places["refcounts"])
            used = self._references()
            for cluster, references in sorted(used.items()):
                if counted[cluster] < references:
                    self.errors.append(f"cluster {cluster}: counted {counted[cluster]} times, used {references} times")
            self.leaks = sum(count > used[cluster] for cluster, count in counted.items())
            self.copied = self._wrong_flags(counted)
            length = path.stat().st_size
            self.errors += [f"cluster {each} is behind the end" for each in used if (each - 1) * self.cluster >= length]

    @property
    def is_dirty(self) -> bool:
        """Whether the header says that the refcounts are to be found out anew."""
        return self.version >= 3 and bool(int(self.header[144:160], 16) & 1)

    def _references(self) -> Counter[int]:
        used: Counter[int] = Counter([0])
        first, count = self.places["refcount table"]
        used.update(range(first, first + count))
        used.update(self.places["refcount blocks"].values())
        for tables in (self.places["active"], *self.places["snapshots"]):
            self._count_tables(used, tables)
        self._count_bytes(used, self.snapshot_offset, self._list_length())
        bitmaps, size = self.places["bitmaps"], self.directory[1]
        if bitmaps["directory"] is not None:
            self._count_bytes(used, bitmaps["directory"] * self.cluster, size)
        for _, table, data in bitmaps["stored"]:
            used.update(data)
            used[table] += 1
        return used

    def _count_tables(self, used: Counter[int], tables: dict[str, object]) -> None:
        first, entries = tables["l1"]  # type: ignore[misc]
        self._count_bytes(used, first * self.cluster, entries * 8)
        used.update(tables["l2"].values())  # type: ignore[attr-defined]
        for kind, *where in tables["clusters"].values():  # type: ignore[attr-defined]
            if kind == "compressed":
                offset = where[0] // 512 * 512
                stop = offset + (where[1] + 1) * 512
                used.update(range(offset // self.cluster, (stop - 1) // self.cluster + 1))
            elif where:
                used[where[0]] += 1

    def _count_bytes(self, used: Counter[int], offset: int, length: int) -> None:
        if length:
            used.update(range(offset // self.cluster, (offset + length - 1) // self.cluster + 1))

    def _list_length(self) -> int:
        length = 0
        for snapshot in self.places["snapshots"]:
            extra = int.from_bytes(self._at(self.snapshot_offset + -(-length // 8) * 8 + 36, 4), "big")
            length = -(-length // 8) * 8 + 40 + extra + sum(len(name.encode()) for name in snapshot["names"])
        return length

    def _wrong_flags(self, counted: Counter[int]) -> list[str]:
        wrong: list[str] = []
        for number, entry in enumerate(self._words(self.l1_offset, self.l1_size)):
            place = entry & OFFSET
            if not place:
                continue
            if bool(entry & COPIED) != (counted[place // self.cluster] == 1):
                wrong.append(f"L2 table {number}")
            for index, found in enumerate(self._words(place, self.cluster // 8)):
                cluster = (found & OFFSET) // self.cluster
                if not found & 1 << 62 and cluster and bool(found & COPIED) != (counted[cluster] == 1):
                    wrong.append(f"guest cluster {number * self.cluster // 8 + index}")
        return wrong

    def disk(self, snapshot: int | None = None, below: bytes = b"") -> bytes:
        """What the disk, or a snapshot of it, holds.

        :param below: what the backing file reads as.
        """
        unit = self.cluster
        tables = self.places["active"] if snapshot is None else self.places["snapshots"][snapshot]
        found = bytearray(below[: self.size].ljust(self.size, b"\0"))
        with open(self._path, "rb") as file:
            self._descriptor = file.fileno()
            for number, (kind, *where) in tables["clusters"].items():
                room = min(unit, self.size - number * unit)
                if kind == "data":
                    data = self._at(where[0] * unit, unit)
                elif kind == "compressed":
                    packed = self._at(where[0], 512 - where[0] % 512 + where[1] * 512)
                    data = zlib.decompressobj(-15).decompress(packed, unit)
                else:
                    data = bytes(unit)
                found[number * unit : number * unit + room] = data[:room]
        return bytes(found)
