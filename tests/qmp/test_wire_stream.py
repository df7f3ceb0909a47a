from __future__ import annotations

import json
import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim.errors import QmpError
from qbitsim.qmp import assembler
from qbitsim.qmp.lexer import Kind, Lexer
from qbitsim.qmp.parser import JsonStream, _feed_fast


def plain(item):
    return ("error", item.desc) if isinstance(item, QmpError) else ("value", repr(item))


def parse(*pieces):
    stream = JsonStream()
    return [plain(item) for piece in pieces for item in stream.feed(piece)]


def parse_exactly(data):
    """Without the fast way: a space first, then byte by byte."""
    return parse(b" ", *(data[i : i + 1] for i in range(len(data))))


def errors(data):
    return [item.desc.removeprefix("JSON parse error, ") for item in JsonStream().feed(data)]


def value(data):
    (item,) = JsonStream().feed(data)
    return item


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"{]", ["expecting value"]),
        (b"}", ["expecting value"]),
        (b"[}", ["expecting value"]),
        (b",", ["expecting value"]),
        (b'{"a"}', ["missing : in object pair"]),
        (b'{"a":}', ["expecting value"]),
        (b'{"a":1,}', ["expecting value"]),
        (b'{"a":1 "b":2}', ["expected separator in dict"]),
        (b"[1 2]", ["expected separator in list"]),
        (b"{1:2}", ["key is not a string in object"]),
        (b"{[1 2]:3}", ["expected separator in list"]),
        (b'{"a":1,"a":2}', ["duplicate key"]),
        (b"hello\n", ["invalid keyword 'hello'"]),
        (b"True\n", ["stray 'T'"]),
        (b'{"a":NaN}', ["stray 'N'", "expecting value"]),
        (b'{"a":01}', ["stray '01'", "expecting value"]),
        (b'{"a":--1}', ["stray '--'", "expecting value"]),
        (b'{"a":5.}', ["stray '5.}'"]),
        (b'{"a":-}', ["stray '-}'"]),
        (b'{"id":0e0}', ["expected separator in dict"]),
        (b'"tab\t"', ["stray '\"tab\t'"]),
        (b'"\0', ["stray '\"'"]),
        (b"\xff", ["stray '\ufffd'"]),
        (rb'"\x"', ["invalid escape sequence in string"]),
        (rb'"\ud800"', [r"\ud800 is not a valid Unicode character"]),
        (rb'"\ud83d\u0041"', [r"\ud83d is not a valid Unicode character"]),
        (rb'"\uFFFF"', [r"\uFFFF is not a valid Unicode character"]),
        (rb'"\u12"', [r'\u12" is not a valid Unicode character']),
        (b'"\x80"', ["invalid UTF-8 sequence in string"]),
        (b'"\xed\xa0\x80"', ["invalid UTF-8 sequence in string"]),
        (b'"\xef\xbf\xbf"', ["invalid UTF-8 sequence in string"]),
    ],
)
def test_broken_text_is_reported_in_qemus_words(data, expected):
    assert errors(data) == expected


def test_the_parser_goes_on_after_an_error():
    assert parse(b'/* c */ {"a":1}') == [("error", "JSON parse error, stray '/'"), ("value", "{'a': 1}")]


def test_byte_ff_drops_an_unfinished_message():
    assert parse(b'{"a":[1,', b"\xff", b"[]") == [("error", "JSON parse error, stray '\ufffd'"), ("value", "[]")]


def test_a_value_is_known_as_soon_as_it_is_closed_and_a_number_with_the_next_byte():
    stream = JsonStream()
    assert [stream.feed(piece) for piece in (b"{}", b'"a"', b"12", b"3", b" ")] == [[{}], ["a"], [], [], [123]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"9223372036854775807", 2**63 - 1),
        (b"18446744073709551615", 2**64 - 1),
        (b"-9223372036854775808", -(2**63)),
        (b"-0", 0),
        (b"18446744073709551616", 2.0**64),
        (b"-9223372036854775809", -(2.0**63)),
        (b"1" * 5000, math.inf),
        (b"1.0", 1.0),
        (b"1e2", 100.0),
        (b"1e400", math.inf),
    ],
)
def test_a_number_is_an_integer_if_64_bits_hold_it_and_else_a_double(text, expected):
    got = value(b"[" + text + b"]")
    assert isinstance(got, list)
    assert (type(got[0]), got[0]) == (type(expected), expected)


def test_strings_may_have_single_quotes_escapes_and_modified_utf8():
    assert value(rb"""['it\'s "x"', "\b\f\n\r\t\/\\\"\'", "\ud83d\ude00", "%s"]""") == [
        'it\'s "x"',
        "\b\f\n\r\t/\\\"'",
        "\U0001f600",
        "%s",
    ]
    assert value(b'"\xc0\x80\\u0000"') == "\0\0"


def test_1024_levels_are_accepted_and_the_token_that_makes_1025_is_refused():
    (deep,) = JsonStream().feed(b"[" * 1024 + b"]" * 1024)
    assert isinstance(deep, list)
    assert errors(b'{"id":' + b"[" * 1024 + b"]") == ["JSON nesting depth limit exceeded", "expecting value"]


def test_too_many_tokens_are_refused(monkeypatch):
    monkeypatch.setattr(assembler, "MAX_TOKENS", 5)
    assert parse(b" [1,2]", b"[1,2,3]")[:2] == [("value", "[1, 2]"), ("error", "JSON token count limit exceeded")]


def test_too_many_bytes_in_a_message_are_refused(monkeypatch):
    monkeypatch.setattr(assembler, "MAX_TOKEN_BYTES", 10)
    assert errors(b' ["aaaaaaaaa"')[:1] == ["JSON token size limit exceeded"]
    assert parse(b' ["aaaaa"]') == [("value", "['aaaaa']")]


@given(st.lists(st.integers(0, 8), max_size=4))
def test_a_token_is_cut_when_it_grows_beyond_the_limit(cuts):
    data = b'"abcdefgh12'
    lexer = Lexer(limit=5)
    points = [0, *sorted(cuts), len(data)]
    tokens = [token for a, b in pairwise(points) for token in lexer.feed(data[a:b])]
    assert tokens == [(Kind.OVERSIZE, b'"abcde'), (Kind.KEYWORD, b"fgh")]


def test_a_long_string_in_pieces_is_read_once():
    stream = JsonStream()
    piece = b"x" * 65536
    assert stream.feed(b'["') == []
    for _ in range(300):
        assert stream.feed(piece) == []
    assert stream.feed(b'"]') == [["x" * 65536 * 300]]


TOKENS = rb"""
    { } [ ] , : " ' \ \u d83d de00 0 - 1 9223372036854775808 .5 e5 E+ true null abc 0.0e1 00
    NaN -Infinity -0 0e0 1e400 "a": "a" {"execute":"x","id": \" \\ \/ \b \n \' "\"\\\/\b\f\n\r\t"
"""
SPACES_AND_BYTES = [b" ", b"\t", b"\n", b"\0", b"\x7f", b"\x80", b"\xc3\xa9", b"\xfe", b"\xff"]
PIECES = st.sampled_from(TOKENS.split() + SPACES_AND_BYTES)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
TEXTS = (
    st.lists(PIECES, max_size=12).map(b"".join)
    | st.lists(JSON.map(lambda value: json.dumps(value).encode()), max_size=3).map(b"\n".join)
    | st.tuples(JSON, st.booleans()).map(
        lambda pair: (json.dumps({"execute": "x", "id": pair[0]}, ensure_ascii=pair[1]) + "\r\n").encode(
            "utf-8", "replace"
        )
    )
)


@given(st.lists(TEXTS, max_size=3).map(b"".join))
def test_the_fast_way_and_the_exact_way_agree(data):
    assert parse(data) == parse_exactly(data)


@given(TEXTS, st.lists(st.integers(0, 60), max_size=4))
def test_how_the_stream_is_cut_makes_no_difference(data, cuts):
    points = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    assert parse(*(data[a:b] for a, b in pairwise(points))) == parse(data)


def test_ordinary_commands_take_the_fast_way():
    data = b'{"execute":"block-dirty-bitmap-clear","arguments":{"node":"drive0","name":"bitmap0"},"id":7}\n'
    assert _feed_fast(data + data, []) == 2 * len(data)
    quoted = rb'{"execute":"human-monitor-command","arguments":{"command-line":"qemu-io d \"write 0 64k\""}}'
    assert _feed_fast(quoted, []) == len(quoted)
    escaped = rb'{"execute":"human-monitor-command","arguments":{"command-line":"qemu-io d \u0022"}}'
    assert _feed_fast(escaped, []) == 0
