"""Tables of a file, in memory as far as they were wanted lately or have changed.

The model is QEMU's cache of L2 tables and refcount blocks (block/qcow2-cache.c, 10.0): a table is read when it is
wanted, and those that were not wanted for longest give way when there is no more room. Here one that has changed stays
until it was written, which is up to its user: :attr:`TableCache.is_crowded` says when it is time.
"""

from __future__ import annotations

from qbitsim.light_library import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

ROOM = 12 << 20
"""So many bytes of tables a cache keeps."""
_FEWEST = 4


class TableCache:
    """The tables of one kind of a file, each an array known by a number.

    :param read: makes the table of a number from what the file has.
    :param table_length: bytes of a table.
    :ivar changed: the numbers of the tables that are not in the file as they are.
    """

    __slots__ = ("_latest", "_most", "_read", "_tables", "_typecode", "_undo", "changed")

    def __init__(self, read: Callable[[int], array[int]], table_length: int) -> None:
        self._read = read
        self._most = max(_FEWEST, ROOM // table_length)
        self._tables: dict[int, array[int]] = {}  # in the order in which they were wanted last
        self._latest = -1
        self._undo: dict[int, bytes | None] | None = None  # packed: all of a large disk may change
        self._typecode = ""
        self.changed: set[int] = set()

    def get(self, number: int) -> array[int]:
        """A table, not to be changed; OSError as the file has it."""
        found = self._tables.get(number)
        if number == self._latest and found is not None:
            return found
        if found is None:
            found = self._read(number)
            self._make_room()
        else:
            del self._tables[number]
        self._tables[number] = found
        self._latest = number
        return found

    def change(self, number: int) -> array[int]:
        """A table that is about to be changed."""
        found = self.get(number)
        if self._undo is not None and number not in self._undo:
            self._undo[number] = self._packed(found)
        self.changed.add(number)
        return found

    def put(self, number: int, table: array[int]) -> None:
        """A table that is new, in place of one of that number."""
        if self._undo is not None:
            self._undo.setdefault(number, None)
        self._make_room()
        self._tables[number] = table
        self.changed.add(number)

    def drop(self, number: int) -> None:
        """A table is no more."""
        if self._undo is not None and number not in self._undo:
            self._undo[number] = self._packed(self.get(number))
        self._tables.pop(number, None)
        self.changed.discard(number)

    def written(self, number: int) -> None:
        """A table is in the file as it is."""
        self.changed.discard(number)

    @property
    def is_crowded(self) -> bool:
        """Whether so many tables have changed that they should be written."""
        return len(self.changed) > self._most // 2

    def _make_room(self) -> None:
        while len(self._tables) >= self._most:
            oldest = next((number for number in self._tables if number not in self.changed), None)
            if oldest is None:
                return
            del self._tables[oldest]

    # -- all or nothing

    def begin(self) -> None:
        """From now on :meth:`undo` can take all changes back."""
        self._undo = {}

    def end(self) -> None:
        """The changes since :meth:`begin` stay."""
        self._undo = None

    def undo(self) -> None:
        """Take the changes since :meth:`begin` back; the file may have them by now."""
        assert self._undo is not None
        for number, packed in self._undo.items():
            if packed is None:
                self._tables.pop(number, None)
                self.changed.discard(number)
            else:
                from zlib import decompress  # noqa: PLC0415 - see _packed

                self._tables[number] = array(self._typecode, decompress(packed))
                self.changed.add(number)
        self._undo = None

    def _packed(self, table: array[int]) -> bytes:
        self._typecode = table.typecode
        from zlib import compress  # noqa: PLC0415 - few programs take something back

        return compress(table.tobytes(), 1)

    def copy(self, read: Callable[[int], array[int]] | None = None) -> TableCache:
        """An independent one of the same value."""
        twin = TableCache(read or self._read, 1)
        twin._most, twin.changed = self._most, self.changed.copy()
        twin._tables = {number: table[:] for number, table in self._tables.items()}
        return twin
