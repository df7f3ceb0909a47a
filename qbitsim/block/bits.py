"""A bit vector of fixed length that costs what is set in it, not what could be.

A dirty bitmap of a 1 PiB disk has up to 2**41 bits, and a test suite may hold ten thousand empty ones, so the
vector is cut into chunks of 2**16 bits (8 KiB). ``_chunks`` maps a chunk number to a ``bitarray``; ``_rest`` is the
chunk that stands for every number which is not in the map. It is one of two constants, ``_ZEROS`` or ``_ONES``,
which are recognised by identity; they also stand for single chunks that were cleared or set as a whole. Setting
or clearing everything is therefore an empty map with another rest, whatever the length.

The last chunk ends where the vector ends, so no operation sees bits beyond the length. Only the constants are
longer than the piece they stand for; whoever combines chunks treats them before looking at the content.

Chunks are shared by ``copy`` and ``merge``. ``_owned`` is the part of ``_chunks`` that belongs to this vector alone
and may be changed in place; everything else is copied before its first change.

``_count`` follows single changes. Operations on whole chunks only note that it is out of date (``_counted``), since
counting costs more than merging; it is then taken anew when somebody asks.

The size of a chunk was measured: smaller ones make merging slower, larger ones waste memory on scattered bits.
"""

from __future__ import annotations

import hashlib
import sys
from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from bitarray import bitarray

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHIFT = 16
_CHUNK = 1 << _SHIFT
_MASK = _CHUNK - 1


def _from_bytes(data: bytes) -> bitarray:
    """The 8 * len(data) bits of `data`, least significant bit of each byte first."""
    bits = bitarray(endian="little")
    bits.frombytes(data)
    return bits


_ZEROS = _from_bytes(bytes(_CHUNK // 8))
_ONES = ~_ZEROS
_ONE_ZERO = _ZEROS[:1]

# Half a byte of a fold by two: bit i tells whether bit 2i or 2i+1 of the byte is set.
_LOW_HALVES = bytes(sum(1 << i for i in range(4) if byte >> 2 * i & 3) for byte in range(256))
_HIGH_HALVES = bytes(half << 4 for half in _LOW_HALVES)


def _fold(bits: bitarray, shift: int) -> bitarray:
    """One bit for every 2**shift bits of `bits` (rounded up), set if any of them is set."""
    length = -(-len(bits) >> shift)
    data = bits.tobytes()
    for _ in range(shift // 3):
        packed = bitarray(endian="little")
        packed.pack(data)  # a byte that is not zero becomes a one: eight bits folded at once
        data = packed.tobytes()
    for _ in range(shift % 3):
        data += bytes(len(data) % 2)
        halves = _from_bytes(data[0::2].translate(_LOW_HALVES))
        data = (halves | _from_bytes(data[1::2].translate(_HIGH_HALVES))).tobytes()
    return _from_bytes(data)[:length]


def _runs(bits: bitarray, offset: int) -> Iterator[tuple[int, int]]:
    """The maximal runs [start, stop) of ones in `bits`, moved by `offset`."""
    edges = iter(((bits + _ONE_ZERO) ^ (_ONE_ZERO + bits)).search(1))
    for start, stop in zip(edges, edges, strict=True):
        yield offset + start, offset + stop


class Bits:
    """A sparse vector of `length` bits, all clear at first.

    Positions are bit numbers, ranges are [start, stop) and must lie within the vector (asserted). A vector must not
    change while one of its iterators is in use: iterate over a ``copy()`` instead, which is cheap.

    :param length: number of bits, not negative; up to 2**41 is practical.
    """

    __slots__ = ("_chunks", "_count", "_counted", "_order", "_owned", "_rest", "length")

    __hash__ = None  # type: ignore[assignment]  # equal by content, and the content changes

    def __init__(self, length: int) -> None:
        assert length >= 0
        self.length = length
        self._chunks: dict[int, bitarray] = {}
        self._owned: dict[int, bitarray] = {}
        self._rest = _ZEROS
        self._count = 0
        self._counted = True
        self._order: list[int] | None = None

    # Looking

    @property
    def count(self) -> int:
        """How many bits are set."""
        if not self._counted:
            self._count = self._ones_in(0, self._chunk_total())
            self._counted = True
        return self._count

    def __bool__(self) -> bool:
        """Whether any bit is set."""
        return self._count > 0 if self._counted else self._find(1, 0, self.length) >= 0

    def __eq__(self, other: object) -> bool:
        """Whether `other` is a vector of the same length with the same bits set."""
        if not isinstance(other, Bits):
            return NotImplemented
        if self.length != other.length or (self._counted and other._counted and self._count != other._count):
            return False
        numbers = self._chunks.keys() | other._chunks.keys()
        if self._rest is not other._rest and len(numbers) < self._chunk_total():
            return False
        return all(self._same_chunk(other, number) for number in numbers)

    def __repr__(self) -> str:
        return f"Bits({self.length}, count={self.count})"

    def get(self, i: int) -> bool:
        """Whether bit `i` is set."""
        assert 0 <= i < self.length
        return bool(self._chunks.get(i >> _SHIFT, self._rest)[i & _MASK])

    def next_set(self, start: int, stop: int | None = None) -> int:
        """The first set bit in [start, stop), -1 if there is none. `stop` defaults to the length."""
        return self._find(1, start, self.length if stop is None else stop)

    def next_clear(self, start: int, stop: int | None = None) -> int:
        """The first clear bit in [start, stop), -1 if there is none. `stop` defaults to the length."""
        return self._find(0, start, self.length if stop is None else stop)

    def next_area(self, start: int, stop: int, max_length: int) -> tuple[int, int] | None:
        """The first run [first, end) of set bits in [start, stop), cut after `max_length` bits, or None."""
        assert 0 <= start <= stop <= self.length
        assert max_length > 0
        base = start & ~_MASK
        chunk = self._chunks.get(start >> _SHIFT, self._rest)
        end = stop - base if stop - base < _CHUNK else _CHUNK
        first = chunk.find(1, start - base, end)
        if first >= 0:
            last = chunk.find(0, first, end if end - first < max_length else first + max_length)
            if last >= 0:
                return base + first, base + last
        first = self._find(1, start, stop) if first < 0 else base + first
        if first < 0:
            return None
        end = min(stop, first + max_length)
        last = self._find(0, first, end)
        return first, end if last < 0 else last

    def indices(self, start: int = 0, stop: int | None = None) -> Iterator[int]:
        """The set bits in [start, stop), ascending. `stop` defaults to the length."""
        for first, end, chunk in self._pieces(start, self.length if stop is None else stop):
            if chunk is _ONES:
                yield from range(first, end)
            elif chunk is not _ZEROS:
                low = first & _MASK
                yield from map(first.__add__, chunk[low : low + end - first].search(1))

    def ranges(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int]]:
        """The maximal runs [first, end) of set bits in [start, stop), ascending. `stop` defaults to the length."""
        run_start = run_stop = -1
        for first, end, chunk in self._pieces(start, self.length if stop is None else stop):
            if chunk is _ZEROS:
                continue
            low = first & _MASK
            runs = ((first, end),) if chunk is _ONES else _runs(chunk[low : low + end - first], first)
            for run in runs:
                if run[0] == run_stop:
                    run_stop = run[1]
                    continue
                if run_stop >= 0:
                    yield run_start, run_stop
                run_start, run_stop = run
        if run_stop >= 0:
            yield run_start, run_stop

    def intersects(self, other: Bits) -> bool:
        """Whether some bit is set both here and in `other`, which has the same length."""
        assert self.length == other.length
        numbers = self._chunks.keys() | other._chunks.keys()
        if self._rest is other._rest is _ONES and len(numbers) < self._chunk_total():
            return True
        for number in numbers:
            mine, theirs = self._chunk(number), other._chunk(number)
            if mine is _ONES or theirs is _ONES:
                if (theirs if mine is _ONES else mine).any():
                    return True
            elif mine is not _ZEROS and theirs is not _ZEROS and (mine & theirs).any():
                return True
        return False

    def memory(self) -> int:
        """About how many bytes this vector takes; a chunk shared with a copy counts in both."""
        constants = (id(_ZEROS), id(_ONES))
        chunks = [chunk for chunk in self._chunks.values() if id(chunk) not in constants]
        parts = (self, self.length, self._chunks, self._owned, self._order or (), *chunks)
        return sum(map(sys.getsizeof, parts))

    # Changing

    def set(self, start: int, stop: int) -> None:
        """Set the bits in [start, stop)."""
        assert 0 <= start <= stop <= self.length
        chunk = self._owned.get(start >> _SHIFT)
        if chunk is None or stop - start != 1:
            self._assign(start, stop, 1)
        elif not chunk[start & _MASK]:
            chunk[start & _MASK] = 1
            self._count += 1

    def clear(self, start: int, stop: int) -> None:
        """Clear the bits in [start, stop)."""
        assert 0 <= start <= stop <= self.length
        chunk = self._owned.get(start >> _SHIFT)
        if chunk is None or stop - start != 1:
            self._assign(start, stop, 0)
        elif chunk[start & _MASK]:
            chunk[start & _MASK] = 0
            self._count -= 1

    def set_all(self) -> None:
        """Set every bit."""
        self._become({}, _ONES, self.length)

    def clear_all(self) -> None:
        """Clear every bit."""
        self._become({}, _ZEROS, 0)

    def copy(self) -> Bits:
        """An independent vector with the same content; both share their chunks until one of them changes."""
        twin = Bits(self.length)
        twin._share(self)
        return twin

    def merge(self, other: Bits) -> None:
        """Set the bits that are set in `other`, which has the same length."""
        assert self.length == other.length
        if not self._chunks and self._rest is _ZEROS:
            self._share(other)
            return
        if other._rest is _ONES:
            self._become({number: self._chunk(number) for number in other._chunks}, _ONES, None)
        for number, theirs in other._chunks.items():
            mine = self._chunk(number)
            if mine is theirs or mine is _ONES or theirs is _ZEROS:
                continue
            if mine is _ZEROS or theirs is _ONES:
                other._owned.pop(number, None)
                self._put(number, theirs)
            elif number in self._owned:
                mine |= theirs
                self._counted = False
            else:
                self._put_own(number, mine | theirs)

    def subtract(self, other: Bits) -> None:
        """Clear the bits that are set in `other`, which has the same length."""
        assert self.length == other.length
        if self is other:
            self.clear_all()
            return
        if other._rest is _ONES:
            self._become({number: self._chunk(number) for number in other._chunks}, _ZEROS, None)
        for number, theirs in other._chunks.items():
            mine = self._chunk(number)
            if mine is _ZEROS or theirs is _ZEROS:
                continue
            if theirs is _ONES:
                self._put(number, _ZEROS)
            else:
                kept = ~theirs
                self._put_own(number, kept if mine is _ONES else kept & mine)

    def merge_scaled(self, other: Bits, granularity_self: int, granularity_other: int, size: int) -> None:
        """Set every bit whose granule overlaps that of a set bit in `other`; both vectors describe one disk.

        :param granularity_self: bytes that a bit of this vector stands for, a power of two.
        :param granularity_other: the same for `other`.
        :param size: bytes of the disk; each vector has as many bits as there are granules, the last one may be partial.
        """
        assert self.length == -(-size // granularity_self)
        assert other.length == -(-size // granularity_other)
        if granularity_self < granularity_other:
            ratio = granularity_other // granularity_self
            for start, stop in other.ranges():
                self.set(start * ratio, min(stop * ratio, self.length))
        elif granularity_self > granularity_other:
            self._merge_folded(other, (granularity_self // granularity_other).bit_length() - 1)
        else:
            self.merge(other)

    def resize(self, length: int) -> None:
        """Change the length; new bits are clear, and those beyond the new end are dropped."""
        assert length >= 0
        kept = min(length, self.length)
        whole, partial = divmod(kept, _CHUNK)
        tail = self._chunk(whole)[:partial]
        numbers = range(whole) if self._rest is _ONES else [number for number in self._chunks if number < whole]
        chunks = {number: self._chunk(number) for number in numbers}
        owned = {number: chunk for number, chunk in self._owned.items() if number < whole}
        self._become(chunks, _ZEROS, self._count if self._counted and length >= self.length else None)
        self._owned = owned
        self.length = length
        if tail.any():
            self._own(whole)[:partial] = tail

    # As bytes

    def sha256(self) -> str:
        """The hexadecimal SHA-256 of ``to_bytes()``, which is not built as a whole.

        What x-debug-block-dirty-bitmap-sha256 shows (QEMU 10.0: util/hbitmap.c, hbitmap_sha256).
        """
        digest = hashlib.sha256()
        for block in self._blocks():
            digest.update(block)
        return digest.hexdigest()

    def to_bytes(self) -> bytes:
        """The bits as little-endian 64-bit words, at least one; bit i is bit i % 64 of word i // 64."""
        return b"".join(self._blocks())

    @classmethod
    def from_bytes(cls, length: int, data: bytes) -> Bits:
        """The vector of `length` bits with ``to_bytes()`` equal to `data`; excess bits of its last word are dropped."""
        assert len(data) == 8 * max(1, -(-length // 64))
        bits = cls(length)
        for number in range(bits._chunk_total()):
            first = number * _CHUNK // 8
            chunk = _from_bytes(data[first : first + _CHUNK // 8])[: bits._size(number)]
            if chunk.any():
                bits._put_own(number, chunk)
        return bits

    def _blocks(self) -> Iterator[bytes]:
        """``to_bytes()`` in pieces of at most a chunk."""
        for start, stop, chunk in self._pieces(0, self.length):
            whole, partial = divmod(stop - start, _CHUNK)
            if whole:
                block = chunk.tobytes()
                for _ in range(whole):
                    yield block
            if partial:
                yield chunk[:partial].tobytes()
        yield bytes(8 * max(1, -(-self.length // 64)) - -(-self.length // 8))

    # Chunks

    def _chunk_total(self) -> int:
        """How many chunks the vector has, with the partial one at its end."""
        return -(-self.length >> _SHIFT)

    def _size(self, number: int) -> int:
        """How many bits chunk `number` has."""
        return min(_CHUNK, self.length - (number << _SHIFT))

    def _chunk(self, number: int) -> bitarray:
        """What stands for chunk `number`: to read only, and perhaps longer than the chunk."""
        return self._chunks.get(number, self._rest)

    def _same_chunk(self, other: Bits, number: int) -> bool:
        """Whether chunk `number` has the same bits in both vectors."""
        mine, theirs, size = self._chunk(number), other._chunk(number), self._size(number)
        return mine is theirs or mine[:size] == theirs[:size]

    def _ones_in(self, first: int, stop: int) -> int:
        """How many bits are set in the chunks [first, stop)."""
        if stop - first > len(self._chunks):
            chunks = [chunk for number, chunk in self._chunks.items() if first <= number < stop]
        else:
            chunks = [self._chunks[number] for number in range(first, stop) if number in self._chunks]
        found = sum(_CHUNK if chunk is _ONES else chunk.count() for chunk in chunks if chunk is not _ZEROS)
        if self._rest is _ONES:
            found += stop - first - len(chunks) << _SHIFT
        last = self._chunk_total() - 1
        if stop > last >= first and self._chunk(last) is _ONES:
            found -= _CHUNK - self._size(last)
        return found

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[int, int, bitarray]]:
        """[start, stop) cut into (first, end, chunk): one piece for each chunk, but only one where the rest repeats."""
        assert 0 <= start <= stop <= self.length
        if self._order is None:
            self._order = sorted(self._chunks)
        order = self._order
        for i in range(bisect_left(order, start >> _SHIFT), len(order)):
            base = order[i] << _SHIFT
            if base >= stop:
                break
            if start < base:
                yield start, base, self._rest
                start = base
            end = min(stop, base + _CHUNK)
            yield start, end, self._chunks[order[i]]
            start = end
        if start < stop:
            yield start, stop, self._rest

    def _find(self, bit: int, start: int, stop: int) -> int:
        """The first position in [start, stop) that holds `bit`, -1 if there is none."""
        assert 0 <= start <= stop <= self.length
        base = start & ~_MASK
        chunk = self._chunks.get(start >> _SHIFT, self._rest)
        if stop - base <= _CHUNK:
            found = chunk.find(bit, start - base, stop - base)
            return found if found < 0 else base + found
        found = chunk.find(bit, start - base)
        if found >= 0:
            return base + found
        for first, end, piece in self._pieces(base + _CHUNK, stop):
            found = piece.find(bit, 0, min(_CHUNK, end - first))
            if found >= 0:
                return first + found
        return -1

    def _assign(self, start: int, stop: int, bit: int) -> None:
        """Make every bit in [start, stop) `bit`."""
        if start == 0 and stop == self.length:
            self._become({}, _ONES if bit else _ZEROS, self.length if bit else 0)
            return
        first, last = (start + _MASK) >> _SHIFT, stop >> _SHIFT
        if first > last:
            self._assign_within(last, start & _MASK, stop & _MASK, bit)
            return
        if start & _MASK:
            self._assign_within(first - 1, start & _MASK, _CHUNK, bit)
        if first < last:
            self._assign_chunks(first, last, bit)
        if stop & _MASK:
            self._assign_within(last, 0, stop & _MASK, bit)

    def _assign_within(self, number: int, low: int, high: int, bit: int) -> None:
        """Make the bits [low, high) of one chunk `bit`."""
        changed = high - low - self._chunk(number).count(bit, low, high)
        if changed:
            self._own(number)[low:high] = bit
            self._count += changed if bit else -changed

    def _assign_chunks(self, first: int, stop: int, bit: int) -> None:
        """Make all bits of the chunks [first, stop), which are not short, `bit`."""
        if self._counted:
            self._count += (stop - first << _SHIFT if bit else 0) - self._ones_in(first, stop)
        chunk = _ONES if bit else _ZEROS
        numbers = range(first, stop)
        if stop - first > len(self._chunks):
            touched = [number for number in self._chunks if number in numbers]
        else:
            touched = [number for number in numbers if number in self._chunks]
        for number in touched:
            del self._chunks[number]
            self._owned.pop(number, None)
        if chunk is not self._rest:
            self._chunks.update(dict.fromkeys(numbers, chunk))
        self._order = None

    def _merge_folded(self, other: Bits, shift: int) -> None:
        """Set the bits i of which some bit in [i << shift, (i + 1) << shift) is set in `other`."""
        for start, stop, chunk in other._pieces(0, other.length):
            first, end = start >> shift, (stop - 1 >> shift) + 1
            if chunk is _ONES:
                self.set(first, end)
            elif chunk is not _ZEROS and chunk.any():
                if end - first == 1:
                    self.set(first, end)
                    continue
                low = first & _MASK
                self._own(first >> _SHIFT)[low : low + end - first] |= _fold(chunk, shift)
                self._counted = False

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

    def _share(self, other: Bits) -> None:
        """Take over the content of `other`, which keeps it but owns none of its chunks any more."""
        other._owned = {}
        self._become(other._chunks.copy(), other._rest, other._count if other._counted else None)
