"""Going over the set bits of a vector that changes meanwhile (HBitmapIter, util/hbitmap.c, QEMU 10.0).

Theory of operation: QEMU keeps the bits in words of 64, above them words that say which of 64 words have a bit, and so
on. An iterator remembers what is still to be visited of one word at each level, as it was when it came there. A bit in
front of it that is set later is therefore visited if it is in a word to come, and overlooked if in a remembered one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qbitsim.bits.bits import Bits

_SHIFT = 6
_MASK = 63


class BitIterator:
    """Finds one set bit after the other.

    :param bits: what it goes over; its length must not change.
    """

    __slots__ = ("_bits", "_left", "_place")

    def __init__(self, bits: Bits) -> None:
        levels = 1
        while bits.length >> _SHIFT * levels:
            levels += 1
        self._bits = bits
        self._left = [0] * levels  # what is still to be visited of a word at each level, the lowest first
        self.restart(0)

    def restart(self, first: int) -> None:
        """Go on with the bit ``first``, and remember the words as they are now."""
        self._place, position = first >> _SHIFT, first  # the number of the word at the lowest level
        for level in range(len(self._left)):
            bit, position = position & _MASK, position >> _SHIFT
            self._left[level] = self._word(level, position) >> bit << bit
            if level:
                self._left[level] &= ~(1 << bit)

    def next(self) -> int:
        """The next set bit, -1 at the end."""
        word = self._left[0] & self._word(0, self._place) or self._next_word()
        if not word:
            return -1
        lowest = word & -word
        self._left[0] = word ^ lowest
        return (self._place << _SHIFT) + lowest.bit_length() - 1

    def next_run(self, stop: int, longest: int) -> tuple[int, int]:
        """The next run of set bits, of which there must be one: the first and the one behind the last.

        It begins anew at the end. The run is at most ``longest`` bits, all before ``stop``.
        """
        first = self.next()
        if first < 0:
            self.restart(0)
            first = self.next()
            assert first >= 0
        limit = min(stop, first + longest)
        clear = self._bits.next_clear(first, limit)
        end = limit if clear < 0 else clear
        if not self._passes(first + 1, end):
            self.restart(end - 1)
            self.next()
        return first, end

    def _passes(self, first: int, end: int) -> bool:
        """Go over all bits of a run; return False at one that was set behind the iterator's back."""
        while first < end:
            if not first & _MASK:
                if self.next() != first:
                    return False
                first += 1
            word_end = min(end, (first | _MASK) + 1)
            count = word_end - (self._place << _SHIFT)
            wanted = (1 << count) - (1 << (first & _MASK))
            if self._left[0] & wanted != wanted:
                return False
            self._left[0] = self._left[0] >> count << count
            first = word_end
        return True

    def _next_word(self) -> int:
        """Go to the next word at the lowest level that has bits; return them, or 0 at the end."""
        level, place, word = 0, self._place, 0
        while not word:
            level += 1
            if level == len(self._left):
                return 0
            place >>= _SHIFT
            word = self._left[level] & self._word(level, place)
        while level:
            lowest = word & -word
            place = (place << _SHIFT) + lowest.bit_length() - 1
            self._left[level] = word ^ lowest
            level -= 1
            word = self._word(level, place)
        self._place = place
        return word

    def _word(self, level: int, number: int) -> int:
        """A word as it is now; at higher levels a bit stands for a word of the level below."""
        bits, word, shift = self._bits, 0, _SHIFT * level
        first = number << shift + _SHIFT
        stop = min(first + (1 << shift + _SHIFT), bits.length)
        if not level:
            for start, end in bits.ranges(first, stop):
                word |= (1 << end - first) - (1 << start - first)
            return word
        while first < stop and (found := bits.next_set(first, stop)) >= 0:
            block = found >> shift
            word |= 1 << (block & _MASK)
            first = block + 1 << shift
        return word
