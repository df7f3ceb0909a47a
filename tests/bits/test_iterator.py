"""Going over bits that change meanwhile."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim.bits.bits import Bits
from qbitsim.bits.iterator import BitIterator

LENGTH = 64 * 64 + 300
runs = st.tuples(st.integers(0, LENGTH - 1), st.integers(1, 200)).map(lambda run: (run[0], min(LENGTH, sum(run))))


def filled(*parts: tuple[int, int]) -> Bits:
    bits = Bits(LENGTH)
    for part in parts:
        bits.set(*part)
    return bits


@given(st.lists(runs, max_size=6), st.integers(0, LENGTH - 1))
def test_bits_that_stay_are_visited_in_order(parts: list[tuple[int, int]], first: int) -> None:
    bits = filled(*parts)
    iterator, found = BitIterator(bits), []
    iterator.restart(first)
    while (bit := iterator.next()) >= 0:
        found.append(bit)
    assert found == list(bits.indices(first))
    assert iterator.next() == -1


def test_a_bit_set_in_front_is_visited_in_a_word_to_come_and_overlooked_in_a_remembered_one() -> None:
    bits = filled((0, 2), (65, 66), (4300, 4301))
    iterator = BitIterator(bits)
    assert iterator.next() == 0
    bits.set(10, 11)  # in the word of 64 where it is
    bits.set(70, 71)  # in the next one, of which it knows that it has bits
    bits.set(130, 131)  # in one of which it knows that it has none
    bits.clear(1, 2)
    assert [iterator.next() for _ in range(4)] == [65, 70, 4300, -1]
    iterator.restart(0)
    assert [iterator.next() for _ in range(6)] == [0, 10, 65, 70, 130, 4300]


def run_bit_by_bit(iterator: BitIterator, bits: Bits, stop: int, longest: int) -> tuple[int, int]:
    """As mirror_iteration finds a run, block/mirror.c, QEMU 10.0."""
    first = iterator.next()
    if first < 0:
        iterator.restart(0)
        first = iterator.next()
    end = first + 1
    while end < min(stop, first + longest) and bits.get(end):
        found = iterator.next()
        if found > end or found < 0:
            iterator.restart(end)
            found = iterator.next()
        assert found == end
        end += 1
    return first, end


@given(st.lists(st.tuples(runs, st.booleans(), st.integers(1, 150)), min_size=1, max_size=12))
def test_a_run_is_what_one_finds_bit_by_bit(changes: list[tuple[tuple[int, int], bool, int]]) -> None:
    bits = filled((0, 3), (60, 70), (128, 400))
    quick, slow = BitIterator(bits), BitIterator(bits)
    for part, is_set, longest in changes:
        (bits.set if is_set else bits.clear)(*part)
        if not bits:
            return
        found = quick.next_run(LENGTH, longest)
        assert found == run_bit_by_bit(slow, bits, LENGTH, longest)
        bits.clear(*found)


@pytest.mark.parametrize("seed", range(20))
def test_a_run_is_what_one_finds_bit_by_bit_whatever_changes_close_to_it(seed: int) -> None:
    drawn, length, end = random.Random(seed), 64 * 3 + 20, 0
    bits = Bits(length)
    bits.set_all()
    quick, slow = BitIterator(bits), BitIterator(bits)
    for _ in range(100):
        for _ in range(drawn.randrange(8)):
            place = (end + drawn.randrange(-6, 14)) % length
            drawn.choice([bits.set, bits.clear])(place, min(place + drawn.randrange(1, 4), length))
        if not bits:
            bits.set_all()
        longest = drawn.randrange(1, 100)
        first, end = quick.next_run(length, longest)
        assert (first, end) == run_bit_by_bit(slow, bits, length, longest)
        if drawn.randrange(4):
            bits.clear(first, end)
