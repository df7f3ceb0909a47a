"""Where the runs of set bits begin and end, many at once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qbitsim.bits.bits import Bits
from qbitsim.bits.chunks import CHUNK

LENGTH = 3 * CHUNK
places = st.integers(0, LENGTH - 1).map(lambda place: min(place, LENGTH - 1))
near = st.sampled_from([0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK, LENGTH - 1])
runs = st.tuples(st.one_of(places, near), st.one_of(st.integers(1, 5), st.just(CHUNK), st.just(2 * CHUNK)))


@given(chosen=st.lists(runs, max_size=6), start=st.one_of(places, near), most=st.integers(0, 6))
def test_borders_are_those_of_the_runs_or_at_least_so_many_of_them(chosen, start, most):
    bits = Bits(LENGTH)
    for first, length in chosen:
        bits.set(first, min(first + length, LENGTH))
    expected = [border for run in bits.ranges(start, LENGTH) for border in run]
    assert bits.borders(start, LENGTH, LENGTH) == expected
    some = bits.borders(start, LENGTH, most)
    assert some[:most] == expected[:most]
    assert len(some) >= min(most, len(expected))
