"""Where the bits of a vector are: chunks that are absent, constant, shared or owned.

A dirty bitmap of a 1 PiB disk has up to 2**41 bits, and a test suite may hold ten thousand empty ones, so a vector
is cut into chunks of 2**16 bits (8 KiB). ``_chunks`` maps a chunk number to a ``bitarray``; ``_rest`` is the chunk
that stands for every number which is not in the map. It is one of two constants, ``ZEROS`` or ``ONES``, which are
recognised by identity; they also stand for single chunks that were cleared or set as a whole. Setting or clearing
everything is therefore an empty map with another rest, whatever the length.

The last chunk ends where the vector ends, so no operation sees bits beyond the length. Only the constants are
longer than the piece they stand for; whoever combines chunks treats them before looking at the content.

Chunks are shared by copying and merging. ``_owned`` is the part of ``_chunks`` that belongs to this vector alone
and may be changed in place; everything else is copied before its first change.

``_count`` follows single changes. Operations that combine chunks only note that it is out of date (``_counted``),
since counting costs more than merging; it is then taken anew when somebody asks.

The size of a chunk was measured: smaller ones make merging slower, larger ones waste memory on scattered bits.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left, insort

from bitarray import bitarray

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SHIFT = 16
CHUNK = 1 << SHIFT
MASK = CHUNK - 1


def load(data: bytes) -> bitarray:
    """The 8 * len(data) bits of `data`, least significant bit of each byte first."""
    bits = bitarray(endian="little")
    bits.frombytes(data)
    return bits


ZEROS = load(bytes(CHUNK // 8))
ONES = ~ZEROS
_ONE_ZERO = ZEROS[:1]

# Half a byte of a fold by two: bit i tells whether bit 2i or 2i+1 of the byte is set.
_LOW_HALVES = bytes(sum(1 << i for i in range(4) if byte >> 2 * i & 3) for byte in range(256))
_HIGH_HALVES = bytes(half << 4 for half in _LOW_HALVES)


def fold(bits: bitarray, shift: int) -> bitarray:
    """One bit for every 2**shift bits of `bits` (rounded up), set if any of them is set."""
    length = -(-len(bits) >> shift)
    data = bits.tobytes()
    for _ in range(shift // 3):
        packed = bitarray(endian="little")
        packed.pack(data)  # a byte that is not zero becomes a one: eight bits folded at once
        data = packed.tobytes()
    for _ in range(shift % 3):
        data += bytes(len(data) % 2)
        halves = load(data[0::2].translate(_LOW_HALVES))
        data = (halves | load(data[1::2].translate(_HIGH_HALVES))).tobytes()
    return load(data)[:length]


def edges(bits: bitarray) -> Iterator[int]:
    """Where runs of ones in `bits` begin and end, in turn."""
    return iter(((bits + _ONE_ZERO) ^ (_ONE_ZERO + bits)).search(1))


def runs(bits: bitarray, offset: int) -> Iterator[tuple[int, int]]:
    """The maximal runs [start, stop) of ones in `bits`, moved by `offset`."""
    found = edges(bits)
    for start, stop in zip(found, found, strict=True):
        yield offset + start, offset + stop


def lengths(bits: bitarray, code: str, shift: int) -> array[int]:
    """How long the runs in `bits` are, clear and set in turn, times 2**shift; the first is 0 if the first bit is set.

    All differences are taken at once, as one of two long numbers in which the first place stands highest: none of them
    is negative, so nothing is carried from one to the next.

    :param code: of the array that is returned, ``I`` or ``Q``.
    """
    places = array(code, list(edges(bits)))  # by way of a list is quickest
    if not places or places[-1] != len(bits):
        places.append(len(bits))
    _highest_byte_first(places)
    number, width = int.from_bytes(places, "big"), 8 * places.itemsize
    found = array(code, (number - (number >> width) << shift).to_bytes(places.itemsize * len(places), "big"))
    _highest_byte_first(found)
    return found


def _highest_byte_first(numbers: array[int]) -> None:
    """Turn the bytes of each number round, if this machine has the lowest one first; and back."""
    if sys.byteorder == "little":
        numbers.byteswap()


def append_runs(found: array[int], new: array[int]) -> None:
    """Put lengths of runs behind others; the last one may go on."""
    if len(found) % 2:  # it is of clear bits, as the first of the new ones
        found[-1] += new[0]
        found += new[1:]
    elif new[0]:
        found += new
    else:
        found[-1] += new[1]
        found += new[2:]


class Chunks:
    """The chunks of `length` bits, all clear at first.

    :param length: number of bits, not negative.
    """

    __slots__ = ("_chunks", "_count", "_counted", "_order", "_owned", "_rest", "length")

    def __init__(self, length: int) -> None:
        assert length >= 0
        self.length = length
        self._chunks: dict[int, bitarray] = {}
        self._owned: dict[int, bitarray] = {}
        self._rest = ZEROS
        self._count = 0
        self._counted = True
        self._order: list[int] | None = None  # the numbers in _chunks, ascending; None if that is to be sorted out

    def _chunk_total(self) -> int:
        """How many chunks the vector has, with the partial one at its end."""
        return -(-self.length >> SHIFT)

    def _size(self, number: int) -> int:
        """How many bits chunk `number` has."""
        return min(CHUNK, self.length - (number << SHIFT))

    def _chunk(self, number: int) -> bitarray:
        """What stands for chunk `number`: to read only, and perhaps longer than the chunk."""
        return self._chunks.get(number, self._rest)

    def _ones_in(self, first: int, stop: int) -> int:
        """How many bits are set in the chunks [first, stop)."""
        if stop - first > len(self._chunks):
            chunks = [chunk for number, chunk in self._chunks.items() if first <= number < stop]
        else:
            chunks = [self._chunks[number] for number in range(first, stop) if number in self._chunks]
        found = sum(CHUNK if chunk is ONES else chunk.count() for chunk in chunks if chunk is not ZEROS)
        if self._rest is ONES:
            found += stop - first - len(chunks) << SHIFT
        last = self._chunk_total() - 1
        if stop > last >= first and self._chunk(last) is ONES:
            found -= CHUNK - self._size(last)
        return found

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, int, bitarray]]:
        """[start, stop) cut into (first, end, chunk): one piece for each chunk, but only one where the rest repeats."""
        assert 0 <= start <= stop <= self.length
        if start == stop:
            return
        if self._order is None:
            self._order = sorted(self._chunks)
        order = self._order
        for i in range(bisect_left(order, start >> SHIFT), len(order)):
            base = order[i] << SHIFT
            if base >= stop:
                break
            if start < base:
                yield start, base, self._rest
                start = base
            end = min(stop, base + CHUNK)
            yield start, end, self._chunks[order[i]]
            start = end
        if start < stop:
            yield start, stop, self._rest

    def _own(self, number: int) -> bitarray:
        """Chunk `number`, made this vector's own so that it may be changed in place."""
        chunk = self._owned.get(number)
        if chunk is None:
            if self._order is not None and number not in self._chunks:
                insort(self._order, number)
            chunk = self._chunk(number)[: self._size(number)]
            self._chunks[number] = self._owned[number] = chunk
        return chunk

    def _put(self, number: int, chunk: bitarray) -> None:
        """Replace chunk `number` by one that must not be changed in place."""
        self._owned.pop(number, None)
        if chunk is self._rest:
            self._chunks.pop(number, None)
        else:
            self._chunks[number] = chunk
        self._order = None
        self._counted = False

    def _put_own(self, number: int, chunk: bitarray) -> None:
        """Replace chunk `number` by a fresh one that nobody else has."""
        self._put(number, chunk)
        self._owned[number] = chunk

    def _become(self, chunks: dict[int, bitarray], rest: bitarray, count: int | None) -> None:
        """Replace the whole content; `count` is None if it is not known. None of the chunks is owned."""
        self._chunks = chunks
        self._owned = {}
        self._rest = rest
        self._order = None
        self._count = count or 0
        self._counted = count is not None

    def _share(self, other: Chunks) -> None:
        """Take over the content of `other`, which keeps it but owns none of its chunks any more."""
        other._owned = {}
        self._become(other._chunks.copy(), other._rest, other._count if other._counted else None)
