"""A sparse bit vector of fixed length, for dirty bitmaps: it costs what is set in it, not what could be.

:class:`Chunks` knows where the bits are and what they share with other vectors; :class:`Bits` says what can be
asked of them and done to them. Single bits and short ranges take the way that is quick in Python, one look into the
map and one operation of ``bitarray``. Everything else works on whole chunks with a few calls for each: for
example, the runs in a chunk lie between the places where it differs from itself moved by one bit.
"""

from __future__ import annotations

import sys
from array import array

from qbitsim.bits.chunks import CHUNK, MASK, ONES, SHIFT, ZEROS, Chunks, append_runs, fold, lengths, load, runs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Bits(Chunks):
    """A sparse vector of `length` bits, all clear at first.

    Positions are bit numbers, ranges are [start, stop) and must lie within the vector (asserted). A vector must not
    change while one of its iterators is in use: iterate over a ``copy()`` instead, which is cheap. Vectors are equal by
    content and therefore not hashable.

    :param length: number of bits, not negative; up to 2**41 is practical.
    """

    __slots__ = ()

    __hash__ = None  # type: ignore[assignment]  # as Python has it where == is defined, written for the reader

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
        if self._rest is other._rest and self._chunks == other._chunks:
            return True  # the quick way, for what is shared
        numbers = self._chunks.keys() | other._chunks.keys()
        if self._rest is not other._rest and len(numbers) < self._chunk_total():
            return False
        for number in numbers:
            mine, theirs, size = self._chunk(number), other._chunk(number), self._size(number)
            if mine is not theirs and mine[:size] != theirs[:size]:
                return False
        return True

    def __repr__(self) -> str:
        return f"Bits({self.length}, count={self.count})"

    def get(self, i: int) -> bool:
        """Whether bit `i` is set."""
        assert 0 <= i < self.length
        return bool(self._chunks.get(i >> SHIFT, self._rest)[i & MASK])

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
        base = start & ~MASK
        chunk = self._chunks.get(start >> SHIFT, self._rest)
        end = stop - base if stop - base < CHUNK else CHUNK
        first = chunk.find(1, start - base, end)
        if first >= 0:
            cut = first + max_length
            limit = cut if cut < end else end
            last = chunk.find(0, first, limit)
            if last < 0 and (limit == cut or base + limit == stop):
                last = limit
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
            if chunk is ONES:
                yield from range(first, end)
            elif chunk is not ZEROS:
                low = first & MASK
                yield from map(first.__add__, chunk[low : low + end - first].search(1))

    def ranges(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int]]:
        """The maximal runs [first, end) of set bits in [start, stop), ascending. `stop` defaults to the length."""
        run_start = run_stop = -1
        for first, end, chunk in self._pieces(start, self.length if stop is None else stop):
            if chunk is ZEROS:
                continue
            low = first & MASK
            found = ((first, end),) if chunk is ONES else runs(chunk[low : low + end - first], first)
            for run in found:
                if run[0] == run_stop:
                    run_stop = run[1]
                    continue
                if run_stop >= 0:
                    yield run_start, run_stop
                run_start, run_stop = run
        if run_stop >= 0:
            yield run_start, run_stop

    def run_lengths(self, start: int, stop: int, most: int, shift: int = 0) -> array[int]:
        """How long the runs in [start, stop) are, of clear bits and of set ones in turn; at least `most`, if there are.

        For those who want many runs at once: nothing is made for each run.

        :param shift: a bit counts as 2**shift.
        :return: the first one is of clear bits, and 0 if the first bit is set; numbers of 4 bytes if that is enough.
        """
        code = "Q" if stop - start << shift >> 32 else "I"
        found = array(code, [0])
        for first, end, chunk in self._pieces(start, stop):
            if chunk is ZEROS:
                new = array(code, [end - first << shift])
            elif chunk is ONES:
                new = array(code, [0, end - first << shift])
            else:
                low = first & MASK
                new = lengths(chunk[low : low + end - first], code, shift)
            append_runs(found, new)
            if len(found) > most:
                break
        return found

    def count_in(self, start: int, stop: int) -> int:
        """How many bits are set in [start, stop)."""
        return sum(
            end - first if chunk is ONES else chunk.count(1, first & MASK, (first & MASK) + end - first)
            for first, end, chunk in self._pieces(start, stop)
            if chunk is not ZEROS
        )

    def intersects(self, other: Bits) -> bool:
        """Whether some bit is set both here and in `other`, which has the same length."""
        assert self.length == other.length
        numbers = self._chunks.keys() | other._chunks.keys()
        if self._rest is other._rest is ONES and len(numbers) < self._chunk_total():
            return True
        for number in numbers:
            mine, theirs = self._chunk(number), other._chunk(number)
            if mine is ONES or theirs is ONES:
                if (theirs if mine is ONES else mine).any():
                    return True
            elif mine is not ZEROS and theirs is not ZEROS and (mine & theirs).any():
                return True
        return False

    def memory(self) -> int:
        """About how many bytes this vector takes; a chunk shared with a copy counts in both."""
        constants = (id(ZEROS), id(ONES))
        chunks = [chunk for chunk in self._chunks.values() if id(chunk) not in constants]
        parts = (self, self.length, self._chunks, self._owned, self._order or (), *chunks)
        return sum(map(sys.getsizeof, parts))

    # Changing

    def set(self, start: int, stop: int) -> None:
        """Set the bits in [start, stop)."""
        assert 0 <= start <= stop <= self.length
        chunk = self._owned.get(start >> SHIFT)
        if chunk is None or stop - start != 1:
            self._assign(start, stop, 1)
        elif not chunk[start & MASK]:
            chunk[start & MASK] = 1
            self._count += 1

    def clear(self, start: int, stop: int) -> None:
        """Clear the bits in [start, stop)."""
        assert 0 <= start <= stop <= self.length
        chunk = self._owned.get(start >> SHIFT)
        if chunk is None or stop - start != 1:
            self._assign(start, stop, 0)
        elif chunk[start & MASK]:
            chunk[start & MASK] = 0
            self._count -= 1

    def set_all(self) -> None:
        """Set every bit."""
        self._become({}, ONES, self.length)

    def clear_all(self) -> None:
        """Clear every bit."""
        self._become({}, ZEROS, 0)

    def copy(self) -> Bits:
        """An independent vector with the same content; both share their chunks until one of them changes."""
        twin = Bits(self.length)
        twin._share(self)
        return twin

    def __deepcopy__(self, memo: dict[int, object]) -> Bits:
        """A copy in which the constants are still themselves."""
        return self.copy()

    def merge(self, other: Bits) -> None:
        """Set the bits that are set in `other`, which has the same length."""
        assert self.length == other.length
        if not self._chunks and self._rest is ZEROS:
            self._share(other)
            return
        if other._rest is ONES:
            self._become({number: self._chunk(number) for number in other._chunks}, ONES, None)
        chunks, owned, rest = self._chunks, self._owned, self._rest
        for number, theirs in other._chunks.items():
            mine = chunks.get(number, rest)
            if mine is theirs or mine is ONES or theirs is ZEROS:
                continue
            if mine is ZEROS or theirs is ONES:
                other._owned.pop(number, None)
                self._put(number, theirs)
            elif number in owned:
                mine |= theirs
            else:
                chunks[number] = owned[number] = mine | theirs
            self._counted = False

    def subtract(self, other: Bits) -> None:
        """Clear the bits that are set in `other`, which has the same length."""
        assert self.length == other.length
        if self is other:
            self.clear_all()
            return
        if other._rest is ONES:
            self._become({number: self._chunk(number) for number in other._chunks}, ZEROS, None)
        chunks, owned, rest = self._chunks, self._owned, self._rest
        for number, theirs in other._chunks.items():
            mine = chunks.get(number, rest)
            if mine is ZEROS or theirs is ZEROS:
                continue
            if theirs is ONES or mine is theirs:
                self._put(number, ZEROS)
            elif number in owned:
                mine |= theirs
                mine ^= theirs
            else:
                self._put_own(number, ~theirs if mine is ONES else mine & ~theirs)
            self._counted = False

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
        whole, partial = divmod(kept, CHUNK)
        tail = self._chunk(whole)[:partial]
        numbers = range(whole) if self._rest is ONES else [number for number in self._chunks if number < whole]
        chunks = {number: self._chunk(number) for number in numbers}
        self._become(chunks, ZEROS, None)
        self.length = length
        if tail.any():
            self._own(whole)[:partial] = tail

    # As bytes

    def sha256(self) -> str:
        """The hexadecimal SHA-256 of ``to_bytes()``, which is not built as a whole.

        What x-debug-block-dirty-bitmap-sha256 shows (QEMU 10.0: util/hbitmap.c, hbitmap_sha256).
        """
        import hashlib  # noqa: PLC0415  (costly to import, and rarely asked for)

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
            first = number * CHUNK // 8
            chunk = load(data[first : first + CHUNK // 8])[: bits._size(number)]
            if chunk.any():
                bits._put_own(number, chunk)
        return bits

    def part_to_bytes(self, start: int, stop: int) -> bytes:
        """The bits of [start, stop) as bytes; bit `start` is the lowest of the first byte."""
        part = load(b"")
        for first, end, chunk in self._pieces(start, stop):
            if chunk is ZEROS or chunk is ONES:
                part.extend(chunk[:1] * (end - first))
            else:
                part.extend(chunk[first & MASK : (first & MASK) + end - first])
        return part.tobytes()

    def part_from_bytes(self, start: int, stop: int, data: bytes) -> None:
        """Make the bits of [start, stop) what ``part_to_bytes()`` gave; further bits of `data` are ignored."""
        assert 0 <= start <= stop <= self.length
        bits = load(data)
        for number in range(start >> SHIFT, -(-stop >> SHIFT)):
            base = number << SHIFT
            low, high = max(start, base), min(stop, base + CHUNK)
            self._own(number)[low - base : high - base] = bits[low - start : high - start]
        self._counted = False

    def _blocks(self) -> Iterator[bytes]:
        """``to_bytes()`` in pieces of at most a chunk."""
        for start, stop, chunk in self._pieces(0, self.length):
            whole, partial = divmod(stop - start, CHUNK)
            if whole:
                block = chunk.tobytes()
                for _ in range(whole):
                    yield block
            if partial:
                yield chunk[:partial].tobytes()
        yield bytes(8 * max(1, -(-self.length // 64)) - -(-self.length // 8))

    # Chunks

    def _find(self, bit: int, start: int, stop: int) -> int:
        """The first position in [start, stop) that holds `bit`, -1 if there is none."""
        assert 0 <= start <= stop <= self.length
        base = start & ~MASK
        chunk = self._chunks.get(start >> SHIFT, self._rest)
        if stop - base <= CHUNK:
            found = chunk.find(bit, start - base, stop - base)
            return found if found < 0 else base + found
        found = chunk.find(bit, start - base)
        if found >= 0:
            return base + found
        for first, end, piece in self._pieces(base + CHUNK, stop):
            found = piece.find(bit, 0, min(CHUNK, end - first))
            if found >= 0:
                return first + found
        return -1

    def _assign(self, start: int, stop: int, bit: int) -> None:
        """Make every bit in [start, stop) `bit`."""
        if start == 0 and stop == self.length:
            self._become({}, ONES if bit else ZEROS, self.length if bit else 0)
            return
        first, last = (start + MASK) >> SHIFT, stop >> SHIFT
        if first > last:
            self._assign_within(last, start & MASK, stop & MASK, bit)
            return
        if start & MASK:
            self._assign_within(first - 1, start & MASK, CHUNK, bit)
        if first < last:
            self._assign_chunks(first, last, bit)
        if stop & MASK:
            self._assign_within(last, 0, stop & MASK, bit)

    def _assign_within(self, number: int, low: int, high: int, bit: int) -> None:
        """Make the bits [low, high) of one chunk `bit`."""
        changed = high - low - self._chunk(number).count(bit, low, high)
        if changed:
            self._own(number)[low:high] = bit
            self._count += changed if bit else -changed

    def _assign_chunks(self, first: int, stop: int, bit: int) -> None:
        """Make all bits of the chunks [first, stop), which are not short, `bit`."""
        if self._counted:
            self._count += (stop - first << SHIFT if bit else 0) - self._ones_in(first, stop)
        chunk = ONES if bit else ZEROS
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
            if chunk is ONES:
                self.set(first, end)
            elif chunk is not ZEROS:
                low = first & MASK
                self._own(first >> SHIFT)[low : low + end - first] |= fold(chunk, shift)
                self._counted = False
