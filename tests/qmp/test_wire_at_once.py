"""JSON errors that are told at once, with their places; as measured on QEMU 11.1.3."""

from __future__ import annotations

from itertools import pairwise, takewhile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from test_wire_stream import TEXTS, plain

from qbitsim.errors import QmpError
from qbitsim.machine.machine import Machine
from qbitsim.qmp import assembler
from qbitsim.qmp.parser import JsonStream
from qbitsim.qmp.session import Session


def parse(*pieces):
    stream = JsonStream(errors_at_once=True)
    return [plain(item) for piece in pieces for item in stream.feed(piece)]


def told(data):
    """Errors, and ``value`` for each value."""
    items = JsonStream(errors_at_once=True).feed(data)
    return [item.desc.replace("JSON parse error, ", "") if isinstance(item, QmpError) else "value" for item in items]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"{]", ["1:2: expecting key"]),
        (b"}", ["1:1: expecting value"]),
        (b"[}", ["1:2: expecting value"]),
        (b"{,}", ["1:2: expecting key"]),
        (b"{hello}", ["1:2: expecting key"]),
        (b"{1:2}", ["1:2: expecting key"]),
        (b"{[1 2]:3}", ["1:2: expecting key"]),
        (b'{"a"}', ["1:5: expecting ':'"]),
        (b'{"a" 1}', ["1:6: expecting ':'"]),
        (b'{"a":}', ["1:6: expecting value"]),
        (b'{"a":1,}', ["1:8: expecting key"]),
        (b'{"a":1 "b":2}', ["1:8: expected ',' or '}'"]),
        (b"[1 2]", ["1:4: expected ',' or ']'"]),
        (b"[1,]", ["1:4: expecting value"]),
        (b'{"a":1,"a":2}', ["1:12: duplicate key"]),
        (b'{"a":1,"a":[1,2]}', ["1:17: duplicate key"]),
        (b'{"a":1,"a":{}}', ["1:13: duplicate key"]),
        (b"hello\n", ["1:1: invalid keyword 'hello'"]),
        (rb'{"\x":1}', ["1:2: invalid escape sequence in string"]),
        (rb'{"a":{"\ud800":1}}', [r"1:7: \ud800 is not a valid Unicode character"]),
        (b'{"a":"\xc3"}', ["1:6: invalid UTF-8 sequence in string"]),
        (b"\xc3\xa9", ["1:1: stray '\ufffd'"]),
        (b'{"a":"b"\xff', ["1:9: stray '\ufffd'"]),
        (b'{"a":-}', ["1:6: stray '-}'"]),
    ],
)
def test_an_error_names_the_token_at_which_it_was_seen(data, expected):
    assert told(data) == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"\xe6\x97\xa5":hello}', ["1:8: invalid keyword 'hello'"]),
        (b'{"a":\thello}', ["1:7: invalid keyword 'hello'"]),
        (b'{"a":\r\nhello}', ["2:1: invalid keyword 'hello'"]),
        (b"\r\n\r\nhello ", ["3:1: invalid keyword 'hello'"]),
        (b'{}\n{"x":1}\n  }', ["value", "value", "3:3: expecting value"]),
        (b'"nl\n" }', ["1:1: stray '\"nl\n'", "2:4: expecting value"]),
    ],
)
def test_columns_are_counted_in_bytes_from_1(data, expected):
    assert told(data)[: len(expected)] == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"1}", ["value", "1:3: expecting value"]),
        (b"1 }", ["value", "1:3: expecting value"]),
        (b"true}", ["value", "1:6: expecting value"]),
        (b'{"a":0x10}', ["1:8: expected ',' or '}'"]),
        (b'{"a":true"b":1}', ["1:11: expected ',' or '}'"]),
        (b'{"a":"x""b":1}', ["1:9: expected ',' or '}'"]),
        (b'{"a":1.2.3}', ["1:10: stray '.'", "1:12: expecting value"]),
        (b'{"a":NaN}', ["1:6: stray 'N'", "1:10: expecting value"]),
        (b"T  ,  }", ["1:1: stray 'T'", "1:5: expecting value", "1:7: expecting value"]),
        (b"T\n}", ["1:1: stray 'T'", "2:1: expecting value"]),
        (b"[-\n-]", ["1:2: stray '-\n'", "2:3: expecting value"]),
    ],
)
def test_a_token_whose_first_byte_ended_another_is_said_to_begin_one_column_later(data, expected):
    assert told(data)[: len(expected)] == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"a":1 "b":[{}],3', ["1:8: expected ',' or '}'"]),
        (b'{"a":1 "b":[{}],3}{}', ["1:8: expected ',' or '}'", "value"]),
        (b'{"a":[1,2}{}', ["1:11: expected ',' or ']'"]),
        (b'{"a":[1,2}]{}', ["1:11: expected ',' or ']'", "value"]),
        (b'{"a":[1,2}}{}', ["1:11: expected ',' or ']'", "value"]),
        (b'{"a":[1,2}]}{}', ["1:11: expected ',' or ']'", "1:12: expecting value", "value"]),
        (b'{"a":1 "b" hello}{}', ["1:8: expected ',' or '}'", "value"]),
        (b'{"a":1 "b" T}{}', ["1:8: expected ',' or '}'", "1:14: expecting value", "value"]),
        (b'{"a":1 "b" \xff{}', ["1:8: expected ',' or '}'", "value"]),
    ],
)
def test_what_follows_an_error_is_skipped_up_to_the_end_of_the_message_or_to_a_stray_token(data, expected):
    assert told(data) == expected


@pytest.mark.parametrize(
    ("data", "after"),
    [
        (b"[" * 1025 + b"]" * 1025, ["value"]),
        (b"[" * 1030 + b"]" * 1030, ["value"]),
        (b"[" * 1025 + b"]" * 1024, []),
        (b"[" * 1025 + b"\xff", ["value"]),
        (b'{"a":' * 1025 + b"}", []),
        (b'{"a":' * 1025 + b"]", ["value"]),
    ],
)
def test_a_limit_is_told_without_a_place_and_followed_by_the_same_skipping(data, after):
    assert told(data + b"{}") == ["JSON nesting depth limit exceeded", *after]


def test_too_many_tokens_are_skipped_too(monkeypatch):
    monkeypatch.setattr(assembler, "MAX_TOKENS", 5)
    assert told(b" [1,2,3,4,5,6]{}") == ["JSON token count limit exceeded", "value"]


@given(st.lists(TEXTS, max_size=3).map(b"".join), st.lists(st.integers(0, 60), max_size=4))
def test_neither_the_fast_way_nor_how_the_stream_is_cut_makes_a_difference(data, cuts):
    whole = parse(b"\n" + data)
    points = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert parse(b"\n", *(data[a:b] for a, b in pairwise(points))) == whole
    assert parse(b"\n", *(data[at : at + 1] for at in range(len(data)))) == whole


@example(b"{{")
@given(TEXTS)
def test_every_value_that_is_read_otherwise_is_read_as_long_as_nothing_is_wrong(data):
    other = [plain(item) for item in JsonStream().feed(data)]
    if not any(kind == "error" for kind, _ in other):
        # What can no longer become a value is told at once here, and there when it ends.
        assert list(takewhile(lambda item: item[0] != "error", parse(data))) == other


def test_a_connection_counts_its_own_lines():
    machine = Machine("11.1")
    for _ in range(2):
        session = Session(machine)
        session.feed(b'{"execute": "qmp_capabilities"}\n')
        assert b'"desc": "2:1: JSON parse error, expecting value"' in session.feed(b"}\n")
    assert b'"desc": "JSON parse error, expecting value"' in Session(Machine("10.0")).feed(b"}\n")
