"""Tables of a qcow2 file, as bytes and as numbers."""

from __future__ import annotations

from array import array

import pytest

from qbitsim.images.qcow2.structures import up_to_last


@pytest.mark.parametrize(
    ("table", "expected"),
    [([], []), ([0, 0], []), ([7], [7]), ([0, 1 << 16, 0, 0], [0, 1 << 16]), ([1 << 63, 0, 1, 0], [1 << 63, 0, 1])],
)
def test_a_table_is_looked_at_up_to_its_last_entry_that_is_not_0(table: list[int], expected: list[int]) -> None:
    assert up_to_last(array("Q", table)) == array("Q", expected)
