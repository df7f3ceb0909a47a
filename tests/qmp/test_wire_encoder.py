from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim.qapi.hashorder import qdict_bucket
from qbitsim.qmp.encoder import encode, member_order


def test_members_come_in_the_order_of_qemus_hash_table():
    assert encode({"id": {"z": 1, "y": 2, "x": 3, "a": 4}, "return": []}) == (
        b'{"return": [], "id": {"x": 3, "a": 4, "y": 2, "z": 1}}'
    )
    assert encode({"error": {"desc": "d", "class": "c"}, "id": 3}) == b'{"id": 3, "error": {"class": "c", "desc": "d"}}'


def test_of_two_members_in_one_bucket_the_later_comes_first():
    by_bucket: dict[int, str] = {}
    for number in range(1000):
        key = f"k{number}"
        other = by_bucket.setdefault(qdict_bucket(key), key)
        if other != key:
            break
    assert member_order({other: 1, key: 2}) == (key, other)
    assert member_order({key: 2, other: 1}) == (other, key)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, b"null"),
        (True, b"true"),
        (False, b"false"),
        (2**64 - 1, b"18446744073709551615"),
        (1.0, b"1"),
        (-0.0, b"-0"),
        (0.1, b"0.10000000000000001"),
        (2.0**64, b"1.8446744073709552e+19"),
        (math.inf, b"inf"),
        ([], b"[]"),
        ({}, b"{}"),
        ([1, [2, {}], "x"], b'[1, [2, {}], "x"]'),
        ("\0\x1f\b\f\n\r\t\x7f\"\\/'", rb'"' + rb"\u0000\u001F\b\f\n\r\t\u007F\"\\/'" + b'"'),
        ("\u00e9\U0001f600", rb'"\u00E9\uD83D\uDE00"'),
        ("\ud800\uffff\ufdd0", rb'"\uFFFD\uFFFD\uFFFD"'),
    ],
)
def test_values_are_written_as_qemu_writes_them(value, expected):
    assert encode(value) == expected


def test_a_value_deeper_than_pythons_stack_is_written():
    value: list[object] = []
    for _ in range(5000):
        value = [value]
    assert encode(value) == b"[" * 5001 + b"]" * 5001


def test_what_is_not_json_is_our_bug():
    with pytest.raises(TypeError):
        encode({"a": object()})  # type: ignore[dict-item]


TEXT = st.text(st.characters(blacklist_categories=["Cs"], max_codepoint=0xFDCF), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner, max_size=40),
    max_leaves=60,
)


@given(VALUES)
def test_what_is_written_reads_back_as_the_same(value):
    assert json.loads(encode(value)) == value
