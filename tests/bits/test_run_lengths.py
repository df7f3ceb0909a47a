"""How long the runs of clear and set bits are, many at once."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim.bits.bits import Bits
from qbitsim.bits.chunks import CHUNK

LENGTH = 3 * CHUNK
places = st.integers(0, LENGTH - 1).map(lambda place: min(place, LENGTH - 1))
near = st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, LENGTH - 1])
runs = st.tuples(st.one_of(places, near), st.one_of(st.integers(1, 5), st.just(CHUNK), st.just(2 * CHUNK)))


def expected_lengths(bits, start, shift):
    """The same, run by run."""
    found, place = [], start
    for first, stop in bits.ranges(start, LENGTH):
        found += [first - place << shift, stop - first << shift]
        place = stop
    return found + [LENGTH - place << shift] * (place < LENGTH)


@given(
    chosen=st.lists(runs, max_size=6),
    start=st.one_of(places, near),
    most=st.integers(0, 6),
    shift=st.sampled_from([0, 9, 16, 31]),
)
def test_lengths_are_those_of_the_runs_or_at_least_so_many_of_them(chosen, start, most, shift):
    bits = Bits(LENGTH)
    for first, length in chosen:
        bits.set(first, min(first + length, LENGTH))
    expected = expected_lengths(bits, start, shift)
    assert bits.run_lengths(start, LENGTH, LENGTH, shift).tolist() == expected
    some = bits.run_lengths(start, LENGTH, most, shift).tolist()
    assert some[:most] == expected[:most]
    assert len(some) >= min(most, len(expected))


def test_a_vector_that_is_set_as_a_whole_is_one_run():
    bits = Bits(LENGTH)
    assert bits.run_lengths(5, LENGTH, 2).tolist() == [LENGTH - 5]
    bits.set(0, LENGTH)
    assert bits.run_lengths(5, LENGTH, 2).tolist() == [0, LENGTH - 5]


@pytest.mark.parametrize(("length", "code"), [(3, "I"), (4, "Q")])
def test_numbers_of_four_bytes_are_used_as_long_as_they_are_enough(length, code):
    assert Bits(length).run_lengths(0, length, 1, shift=30) == array(code, [length << 30])
    assert Bits(length).run_lengths(0, length, 1, shift=30).typecode == code
