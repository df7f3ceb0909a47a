from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from qbitsim.bits.bits import Bits

CHUNK = 1 << 16
BORDERS = [0, 1, 2, 63, 64, 65, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, 2 * CHUNK + 7, 3 * CHUNK]
KIB, MIB, GIB, TIB, PIB = (1 << shift for shift in (10, 20, 30, 40, 50))


def bits_of(length: int, *ranges: tuple[int, int]) -> Bits:
    bits = Bits(length)
    for start, stop in ranges:
        bits.set(start, stop)
    return bits


def runs(value: int) -> list[tuple[int, int]]:
    """The maximal runs of ones in an integer."""
    found, start = [], 0
    while value >> start:
        start += ((value >> start) & -(value >> start)).bit_length() - 1
        inverted = ~(value >> start)
        stop = start + (inverted & -inverted).bit_length() - 1
        found.append((start, stop))
        start = stop
    return found


def mask(start: int, stop: int) -> int:
    return (1 << stop) - (1 << start)


def words(value: int, length: int) -> bytes:
    return value.to_bytes(8 * max(1, -(-length // 64)), "little")


def assert_equals_model(bits: Bits, value: int, length: int) -> None:
    """The whole of `bits` is the integer `value`, seen through every way of looking at it."""
    expected = runs(value)
    assert list(bits.ranges()) == expected
    assert bool(bits) == bool(value)
    assert bits.count == value.bit_count()
    assert bits.to_bytes() == words(value, length)
    assert bits == Bits.from_bytes(length, words(value, length))


LENGTH = 2 * CHUNK + 10


def cleared_again(bits: Bits) -> Bits:
    """Chunks that are clear, but not by being absent."""
    whole = Bits(bits.length)
    whole.set_all()
    bits.subtract(whole)
    return bits


def made_full(bits: Bits) -> Bits:
    whole = Bits(bits.length)
    whole.set_all()
    bits.merge(whole)
    return bits


def filled_but(*ranges: tuple[int, int]) -> Bits:
    bits = Bits(LENGTH)
    bits.set_all()
    for start, stop in ranges:
        bits.clear(start, stop)
    return bits


VECTORS: dict[str, Callable[[], Bits]] = {
    "empty": lambda: Bits(LENGTH),
    "full": filled_but,
    "full, not counted": lambda: made_full(bits_of(LENGTH, (3, 4))),
    "clear, not counted": lambda: cleared_again(bits_of(LENGTH, (3, 4), (CHUNK, 2 * CHUNK))),
    "some bits": lambda: bits_of(LENGTH, (0, 1), (5, 9), (CHUNK - 1, CHUNK + 1), (LENGTH - 2, LENGTH)),
    "other bits": lambda: bits_of(LENGTH, (1, 5), (CHUNK + 1, CHUNK + 2), (2 * CHUNK, 2 * CHUNK + 1)),
    "a chunk": lambda: bits_of(LENGTH, (CHUNK, 2 * CHUNK)),
    "a chunk bit by bit": lambda: bits_of(LENGTH, (CHUNK, CHUNK + 1), (CHUNK + 1, 2 * CHUNK)),
    "all but a chunk": lambda: filled_but((0, CHUNK)),
    "all but some bits": lambda: filled_but((5, 6), (CHUNK + 7, CHUNK + 9), (LENGTH - 1, LENGTH)),
    "the short chunk": lambda: bits_of(LENGTH, (2 * CHUNK, LENGTH)),
}
"""One vector for each way of keeping bits."""

PLACES = (0, 7, 8, 9, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, LENGTH)
RANGES = [(start, stop) for start in PLACES for stop in PLACES if start <= stop]


def value_of(bits: Bits) -> int:
    return sum(mask(*run) for run in bits.ranges())


@pytest.mark.parametrize("other", VECTORS)
@pytest.mark.parametrize("name", VECTORS)
def test_two_vectors_are_combined_and_compared_however_they_keep_their_bits(name: str, other: str) -> None:
    for shared in (False, True):
        ours, theirs = VECTORS[name](), VECTORS[other]()
        kept = theirs.copy() if shared else None
        left, right = value_of(ours), value_of(theirs)
        assert (ours == theirs, theirs.intersects(ours)) == (left == right, bool(left & right))
        for operation, result in ((Bits.merge, left | right), (Bits.subtract, left & ~right)):
            for changed in (ours.copy(), VECTORS[name]()):
                operation(changed, theirs)
                assert_equals_model(changed, result, LENGTH)
                for place in (11, CHUNK + 11):  # which concerns nobody else
                    changed.set(place, place + 1)
                assert value_of(changed) == result | 1 << 11 | 1 << CHUNK + 11
                assert (value_of(ours), value_of(theirs), value_of(kept or theirs)) == (left, right, right)


@pytest.mark.parametrize("name", VECTORS)
def test_a_range_is_changed_however_the_bits_are_kept(name: str) -> None:
    for start, stop in RANGES:
        for bits in (VECTORS[name](), VECTORS[name]().copy()):
            value = value_of(bits)
            bits.set(start, stop)
            assert_equals_model(bits, value | mask(start, stop), LENGTH)
            bits.clear(start, stop)
            assert_equals_model(bits, value & ~mask(start, stop), LENGTH)


@pytest.mark.parametrize("name", VECTORS)
def test_a_range_is_looked_at_however_the_bits_are_kept(name: str) -> None:
    bits = VECTORS[name]()
    value = value_of(bits)
    for start, stop in RANGES:
        found, gaps = (runs(each & mask(start, stop)) for each in (value, ~value))
        assert list(bits.ranges(start, stop)) == found
        assert bits.count_in(start, stop) == sum(end - first for first, end in found)
        assert bits.next_set(start, stop) == (found[0][0] if found else -1)
        assert bits.next_clear(start, stop) == (gaps[0][0] if gaps else -1)
        for most in (1, 2, CHUNK):
            first = (found[0][0], min(found[0][1], found[0][0] + most)) if found else None
            assert bits.next_area(start, stop, most) == first


@pytest.mark.parametrize("name", VECTORS)
def test_a_part_goes_out_as_bytes_and_comes_in_again_and_the_rest_stays(name: str) -> None:
    for start, stop in ((0, LENGTH), (5, 5), (8, 24), (CHUNK - 8, CHUNK + 8), (CHUNK, LENGTH), (CHUNK + 3, 2 * CHUNK)):
        bits = VECTORS[name]()
        value = value_of(bits)
        part = (value >> start & mask(0, stop - start)).to_bytes(-(-(stop - start) // 8), "little")
        assert bits.part_to_bytes(start, stop) == part
        for other in ("some bits", "all but some bits"):
            into = VECTORS[other]()
            expected = value_of(into) & ~mask(start, stop) | value & mask(start, stop)
            into.part_from_bytes(start, stop, part + b"\xff")
            assert_equals_model(into, expected, LENGTH)


# Positions crowd round the borders of chunks, where the mistakes are.
positions = st.one_of(
    st.integers(0, 3 * CHUNK),
    st.builds(lambda border, delta: max(0, border + delta), st.sampled_from(BORDERS), st.integers(-3, 3)),
)


class BitsMachine(RuleBasedStateMachine):
    """Two vectors of one length, each beside an integer that holds the same bits."""

    @initialize(length=positions)
    def start(self, length: int) -> None:
        self.length = length
        self.bits = [Bits(length), Bits(length)]
        self.model = [0, 0]

    def _range(self, start: int, stop: int) -> tuple[int, int]:
        low, high = sorted((min(start, self.length), min(stop, self.length)))
        return low, high

    @rule(which=st.integers(0, 1), start=positions, stop=positions)
    def set_a_range(self, which: int, start: int, stop: int) -> None:
        low, high = self._range(start, stop)
        self.bits[which].set(low, high)
        self.model[which] |= mask(low, high)

    @rule(which=st.integers(0, 1), start=positions, stop=positions)
    def clear_a_range(self, which: int, start: int, stop: int) -> None:
        low, high = self._range(start, stop)
        self.bits[which].clear(low, high)
        self.model[which] &= ~mask(low, high)

    @precondition(lambda self: self.length)
    @rule(which=st.integers(0, 1), places=st.lists(positions, max_size=8), value=st.booleans())
    def change_single_bits(self, which: int, places: list[int], value: bool) -> None:
        for i in [place % self.length for place in places]:
            if value:
                self.bits[which].set(i, i + 1)
                self.model[which] |= 1 << i
            else:
                self.bits[which].clear(i, i + 1)
                self.model[which] &= ~(1 << i)
            assert self.bits[which].get(i) is value

    @rule(which=st.integers(0, 1))
    def set_everything(self, which: int) -> None:
        self.bits[which].set_all()
        self.model[which] = mask(0, self.length)

    @rule(which=st.integers(0, 1))
    def clear_everything(self, which: int) -> None:
        self.bits[which].clear_all()
        self.model[which] = 0

    @rule(which=st.integers(0, 1))
    def copy_over_the_other(self, which: int) -> None:
        self.bits[1 - which] = self.bits[which].copy()
        self.model[1 - which] = self.model[which]

    @rule(which=st.integers(0, 1))
    def merge_the_other(self, which: int) -> None:
        self.bits[which].merge(self.bits[1 - which])
        self.model[which] |= self.model[1 - which]

    @rule(which=st.integers(0, 1))
    def subtract_the_other(self, which: int) -> None:
        self.bits[which].subtract(self.bits[1 - which])
        self.model[which] &= ~self.model[1 - which]

    @rule(which=st.integers(0, 1), same=st.sampled_from(["merge", "subtract"]))
    def combine_with_itself(self, which: int, same: str) -> None:
        getattr(self.bits[which], same)(self.bits[which])
        if same == "subtract":
            self.model[which] = 0

    @rule(length=positions)
    def resize(self, length: int) -> None:
        self.length = length
        for which in (0, 1):
            self.bits[which].resize(length)
            self.model[which] &= mask(0, length)

    @rule(which=st.integers(0, 1), start=positions, stop=positions, most=st.integers(1, 2 * CHUNK))
    def look_at_a_range(self, which: int, start: int, stop: int, most: int) -> None:
        low, high = self._range(start, stop)
        bits = self.bits[which]
        expected = runs(self.model[which] & mask(low, high))
        assert list(bits.ranges(low, high)) == expected
        assert list(bits.indices(low, high)) == [i for run in expected for i in range(*run)]
        assert bits.next_set(low, high) == (expected[0][0] if expected else -1)
        gaps = runs(~self.model[which] & mask(low, high))
        assert bits.next_clear(low, high) == (gaps[0][0] if gaps else -1)
        first = (expected[0][0], min(expected[0][1], expected[0][0] + most)) if expected else None
        assert bits.next_area(low, high, most) == first

    @rule()
    def compare(self) -> None:
        assert (self.bits[0] == self.bits[1]) == (self.model[0] == self.model[1])
        assert self.bits[0].intersects(self.bits[1]) == bool(self.model[0] & self.model[1])

    @rule(which=st.integers(0, 1))
    def ask_for_the_count(self, which: int) -> None:
        assert self.bits[which].count == self.model[which].bit_count()

    @invariant()
    def content_is_the_model(self) -> None:
        for bits, value in zip(getattr(self, "bits", []), getattr(self, "model", []), strict=True):
            # A copy, so that the count of the vector itself stays out of date where it is.
            assert_equals_model(bits.copy() if value & 1 else bits, value, self.length)


BitsMachine.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestBitsBehaveLikeAnInteger = BitsMachine.TestCase


@given(
    shifts=st.tuples(st.integers(0, 20), st.integers(0, 20)),
    size=st.integers(0, 3 * CHUNK),
    before=st.lists(st.tuples(positions, positions), max_size=3),
    merged=st.lists(st.tuples(positions, positions), max_size=6),
    everything=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_scaled_merge_sets_every_granule_that_overlaps_a_set_one(
    shifts: tuple[int, int],
    size: int,
    before: list[tuple[int, int]],
    merged: list[tuple[int, int]],
    everything: bool,
) -> None:
    own_shift, other_shift = shifts
    size <<= min(own_shift, other_shift)
    length, other_length = -(-size >> own_shift), -(-size >> other_shift)
    bits, other = Bits(length), Bits(other_length)
    if everything:
        other.set_all()
    for start, stop in before:
        bits.set(*sorted((min(start, length), min(stop, length))))
    for start, stop in merged:
        low, high = sorted((min(start, other_length), min(stop, other_length)))
        (other.clear if everything else other.set)(low, high)
    expected = sum(mask(*run) for run in bits.ranges())
    for start, stop in other.ranges():
        expected |= mask(start << other_shift >> own_shift, min(length, -(-stop << other_shift >> own_shift)))
    source = other.to_bytes()

    bits.merge_scaled(other, 1 << own_shift, 1 << other_shift, size)

    assert_equals_model(bits, expected, length)
    assert other.to_bytes() == source


@given(shift=st.integers(1, 18), places=st.sets(st.integers(0, 2 * CHUNK + 99), max_size=200))
@settings(max_examples=100, deadline=None)
def test_scaled_merge_folds_scattered_bits(shift: int, places: set[int]) -> None:
    size = 2 * CHUNK + 100
    fine, coarse = Bits(size), Bits(-(-size >> shift))
    for i in places:
        fine.set(i, i + 1)
    coarse.merge_scaled(fine, 1 << shift, 1, size)
    assert list(coarse.indices()) == sorted({i >> shift for i in places})


def test_a_new_vector_is_empty() -> None:
    bits = Bits(100)
    assert (bits.length, bits.count, bool(bits), list(bits.ranges())) == (100, 0, False, [])
    assert repr(bits) == "Bits(100, count=0)"


def test_a_vector_without_bits_works() -> None:
    bits = Bits(0)
    bits.set_all()
    bits.set(0, 0)
    assert (bits.count, bool(bits), bits.next_set(0), bits.next_clear(0)) == (0, False, -1, -1)
    assert bits.next_area(0, 0, 1) is None
    assert bits == Bits(0)
    assert bits.to_bytes() == bytes(8)


@pytest.mark.parametrize("at", [border for border in BORDERS if border < 2 * CHUNK + 8])
def test_a_single_bit_is_found_at_every_border(at: int) -> None:
    bits = bits_of(2 * CHUNK + 8, (at, at + 1))
    assert bits.next_set(0) == bits.next_set(at) == at
    assert bits.next_set(at + 1) == -1
    assert bits.next_set(0, at) == -1
    assert bits.next_clear(at) == (at + 1 if at + 1 < bits.length else -1)
    assert bits.next_area(0, bits.length, 5) == (at, at + 1)
    assert list(bits.indices()) == [at]
    assert bits.count == 1


def test_a_run_over_many_chunks_is_one_run() -> None:
    bits = bits_of(5 * CHUNK, (CHUNK - 1, 4 * CHUNK + 1))
    assert list(bits.ranges()) == [(CHUNK - 1, 4 * CHUNK + 1)]
    assert list(bits.ranges(CHUNK + 5, 3 * CHUNK)) == [(CHUNK + 5, 3 * CHUNK)]
    assert bits.next_area(0, 5 * CHUNK, 5 * CHUNK) == (CHUNK - 1, 4 * CHUNK + 1)
    assert bits.next_area(0, 5 * CHUNK, 7) == (CHUNK - 1, CHUNK + 6)
    assert bits.next_area(2 * CHUNK, 3 * CHUNK, 5 * CHUNK) == (2 * CHUNK, 3 * CHUNK)
    assert bits.count == 3 * CHUNK + 2


def test_an_empty_range_holds_nothing_even_in_a_full_chunk() -> None:
    bits = bits_of(3 * CHUNK, (CHUNK, 2 * CHUNK))
    middle = CHUNK + 5
    assert (list(bits.ranges(middle, middle)), list(bits.indices(middle, middle))) == ([], [])
    assert (bits.next_set(middle, middle), bits.next_area(middle, middle, 1)) == (-1, None)


def test_an_area_is_cut_at_the_length_asked_for() -> None:
    bits = bits_of(100, (10, 20))
    assert [bits.next_area(0, 100, most) for most in (1, 9, 10, 11)] == [(10, 11), (10, 19), (10, 20), (10, 20)]
    assert bits.next_area(0, 15, 50) == (10, 15)
    assert bits.next_area(15, 100, 50) == (15, 20)
    assert bits.next_area(20, 100, 50) is None


def test_a_copy_and_its_origin_do_not_see_each_others_changes() -> None:
    bits = bits_of(3 * CHUNK, (5, 6), (CHUNK, 2 * CHUNK + 1))
    twin = bits.copy()
    grandchild = twin.copy()
    bits.set(6, 7)
    twin.clear(5, 6)
    grandchild.clear(CHUNK + 1, 2 * CHUNK)
    assert list(bits.ranges()) == [(5, 7), (CHUNK, 2 * CHUNK + 1)]
    assert list(twin.ranges()) == [(CHUNK, 2 * CHUNK + 1)]
    assert list(grandchild.ranges()) == [(5, 6), (CHUNK, CHUNK + 1), (2 * CHUNK, 2 * CHUNK + 1)]
    assert (bits.count, twin.count, grandchild.count) == (CHUNK + 3, CHUNK + 1, 3)


@pytest.mark.parametrize("before", [[], [(3 * CHUNK - 1, 3 * CHUNK)], [(0, 3 * CHUNK - 1)]])
def test_chunks_shared_by_a_merge_stay_independent(before: list[tuple[int, int]]) -> None:
    source, target = bits_of(3 * CHUNK, (7, 8)), bits_of(3 * CHUNK, *before)
    target.merge(source)
    merged = target.to_bytes()
    source.set(9, 12)
    assert target.to_bytes() == merged
    target.clear(7, 8)
    assert list(source.ranges()) == [(7, 8), (9, 12)]


def test_merging_full_vectors_of_an_odd_length_counts_the_short_chunk_rightly() -> None:
    length = CHUNK + 10
    full, target = Bits(length), bits_of(length, (0, 1))
    full.set_all()
    full.clear(length - 1, length)
    target.set(CHUNK, CHUNK + 1)
    target.merge(full)
    assert (target.count, target == full) == (length - 1, True)
    full.set_all()
    target.merge(full)
    assert (target.count, target.next_clear(0), list(target.ranges())) == (length, -1, [(0, length)])
    target.subtract(bits_of(length, (CHUNK, length)))
    assert (target.count, list(target.ranges())) == (CHUNK, [(0, CHUNK)])


def test_a_deep_copy_is_a_copy_whose_constants_are_still_themselves() -> None:
    bits = Bits(2048)
    bits.set_all()
    twin = copy.deepcopy(bits)
    assert twin == bits
    other = Bits(2048)
    other.set(0, 5)
    other.subtract(twin)
    twin.subtract(other)
    assert (other.count, twin.count, bits.count) == (0, 2048, 2048)


def test_subtracting_a_copy_of_itself_leaves_nothing() -> None:
    bits = bits_of(2 * CHUNK + 3, (1, 5), (CHUNK, 2 * CHUNK))
    bits.subtract(bits.copy())
    assert (bits.count, bool(bits), bits == Bits(2 * CHUNK + 3)) == (0, False, True)


def test_equality_looks_at_content_and_length_only() -> None:
    bits = bits_of(2 * CHUNK, (3, 4))
    cleared = bits_of(2 * CHUNK, (3, 4), (CHUNK, CHUNK + 1))
    assert bits != cleared
    cleared.clear(CHUNK, CHUNK + 1)
    assert bits == cleared
    assert bits != bits_of(2 * CHUNK + 1, (3, 4))
    assert bits != bits_of(2 * CHUNK, (4, 5))
    assert bits != "bits"
    every, one_by_one = Bits(CHUNK + 1), bits_of(CHUNK + 1, (0, CHUNK - 1), (CHUNK - 1, CHUNK + 1))
    every.set_all()
    assert every == one_by_one


def test_a_vector_is_not_hashable() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Bits(1))


def test_vectors_intersect_where_both_are_set() -> None:
    length = 3 * CHUNK
    assert bits_of(length, (5, 9)).intersects(bits_of(length, (8, 10)))
    assert not bits_of(length, (5, 9)).intersects(bits_of(length, (9, 10)))
    assert bits_of(length, (CHUNK, 2 * CHUNK)).intersects(bits_of(length, (0, length)))
    assert not bits_of(length, (CHUNK, 2 * CHUNK)).intersects(Bits(length))


def test_resizing_drops_what_is_cut_and_adds_clear_bits() -> None:
    bits = Bits(CHUNK + 100)
    bits.set_all()
    bits.resize(CHUNK + 50)
    bits.resize(3 * CHUNK)
    assert (list(bits.ranges()), bits.count) == ([(0, CHUNK + 50)], CHUNK + 50)
    bits.resize(CHUNK)
    bits.resize(CHUNK + 100)
    assert (list(bits.ranges()), bits.count) == ([(0, CHUNK)], CHUNK)


def test_resizing_leaves_a_copy_alone() -> None:
    bits = bits_of(CHUNK + 100, (CHUNK, CHUNK + 100))
    twin = bits.copy()
    bits.resize(CHUNK + 10)
    bits.clear(CHUNK, CHUNK + 10)
    assert list(twin.ranges()) == [(CHUNK, CHUNK + 100)]


def test_combining_vectors_of_different_lengths_is_a_mistake() -> None:
    for combine in (Bits.merge, Bits.subtract, Bits.intersects):
        with pytest.raises(AssertionError):
            combine(Bits(1), Bits(2))


@pytest.mark.parametrize(("start", "stop"), [(-1, 1), (0, 11), (6, 5), (11, 11)])
def test_a_range_outside_the_vector_is_a_mistake(start: int, stop: int) -> None:
    bits = bits_of(10, (5, 6))
    for change in (bits.set, bits.clear):
        with pytest.raises(AssertionError):
            change(start, stop)
    assert list(bits.ranges()) == [(5, 6)]


@pytest.mark.parametrize("length", [0, 1, 16, 64])
def test_sha256_of_an_empty_bitmap_is_that_of_one_zero_word_as_in_qemu(length: int) -> None:
    assert Bits(length).sha256() == "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc"


@pytest.mark.parametrize("length", [65, CHUNK, CHUNK + 1, 3 * CHUNK + 130])
def test_sha256_is_that_of_the_words(length: int) -> None:
    bits = bits_of(length, (0, 1), (length - 2, length))
    assert bits.sha256() == hashlib.sha256(words(mask(0, 1) | mask(length - 2, length), length)).hexdigest()
    bits.set_all()
    assert bits.sha256() == hashlib.sha256(words(mask(0, length), length)).hexdigest()


def test_bytes_beyond_the_end_are_dropped_on_loading() -> None:
    bits = Bits.from_bytes(10, b"\xff" * 8)
    assert (list(bits.ranges()), bits.count) == ([(0, 10)], 10)


def test_a_pebibyte_at_64_kib_takes_what_is_set() -> None:
    bits = Bits(PIB // (64 * KIB))
    places = [i * 171_798_691 + i for i in range(100)]
    for i in places:
        bits.set(i, i + 1)
    assert list(bits.indices()) == places
    assert bits.next_clear(places[-1]) == places[-1] + 1
    assert bits.count == 100
    assert bits.memory() < MIB


def test_a_pebibyte_at_512_bytes_works_sparsely() -> None:
    length = PIB // 512
    bits = bits_of(length, (0, 1), (length - 1, length), (length // 2 - CHUNK, length // 2 + CHUNK))
    assert list(bits.ranges()) == [(0, 1), (length // 2 - CHUNK, length // 2 + CHUNK), (length - 1, length)]
    whole = bits.copy()
    whole.set_all()
    assert whole.count == length
    whole.clear(5, 6)
    assert (whole.count, list(whole.ranges())) == (length - 1, [(0, 5), (6, length)])
    whole.subtract(bits)
    assert whole.count == length - 1 - bits.count
    assert not whole.intersects(bits)
    coarse = Bits(PIB // (64 * KIB))
    coarse.merge_scaled(bits, 64 * KIB, 512, PIB)
    assert coarse.count == 2 + 2 * CHUNK // 128
    assert bits.memory() + whole.memory() < MIB


def test_an_empty_vector_is_small() -> None:
    assert Bits(TIB // (64 * KIB)).memory() < 512


def test_a_small_vector_does_not_take_a_whole_chunk() -> None:
    assert bits_of(GIB // MIB, (3, 4)).memory() < 1500


def test_a_copy_takes_no_memory_for_what_it_shares_until_it_changes() -> None:
    bits = bits_of(4 * CHUNK, *((i, i + 1) for i in range(0, 4 * CHUNK, CHUNK)))
    twin = bits.copy()
    assert all(bits._chunks[number] is twin._chunks[number] for number in range(4))
    twin.set(5, 6)
    assert [bits._chunks[number] is twin._chunks[number] for number in range(4)] == [False, True, True, True]
    bits.set(0, 1)
    assert not bits._owned
