"""Lines that people type, as messages; and back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qbitsim import Machine
from qbitsim.profiles import PROFILES
from qbitsim.shell.line import parse, write
from qbitsim.shell.schema import Schema
from qbitsim.shell.words import IncompleteError, LineError
from qbitsim.testing.command_strategies import commands

SCHEMAS = {name: Schema(Machine(name, control=True).qmp("query-qmp-schema")) for name in PROFILES}
SCHEMA = SCHEMAS["10.0"]


@pytest.mark.parametrize(
    ("line", "arguments"),
    [
        ("block-dirty-bitmap-add node=d name=b", {"node": "d", "name": "b"}),
        ("block-dirty-bitmap-add node=d name=7", {"node": "d", "name": "7"}),
        ("block-dirty-bitmap-add granularity=65536", {"granularity": 65536}),
        ("block-dirty-bitmap-add granularity=64k", {"granularity": 65536}),
        ("block-dirty-bitmap-add granularity=0x10000", {"granularity": 65536}),
        ("block-dirty-bitmap-add persistent=on disabled=false", {"persistent": True, "disabled": False}),
        ('block-dirty-bitmap-add name="a b\\n"', {"name": "a b\n"}),
        ("block-dirty-bitmap-add name='a \\n'", {"name": "a \\n"}),
        ("block-dirty-bitmap-merge bitmaps=a,b", {"bitmaps": ["a", "b"]}),
        ('block-dirty-bitmap-merge bitmaps=["a", "b"]', {"bitmaps": ["a", "b"]}),
        ("block-dirty-bitmap-merge bitmaps.1=b bitmaps.0=a", {"bitmaps": ["a", "b"]}),
        (
            'block-dirty-bitmap-merge bitmaps=["a", {"node": "n", "name": "b"}]',
            {"bitmaps": ["a", {"node": "n", "name": "b"}]},
        ),
        (
            "block-dirty-bitmap-merge bitmaps.0.node=n bitmaps.0.name=b",
            {"bitmaps": [{"node": "n", "name": "b"}]},
        ),
        (
            "blockdev-add driver=qcow2 file.driver=file file.filename=x cache.direct=on",
            {"driver": "qcow2", "file": {"driver": "file", "filename": "x"}, "cache": {"direct": True}},
        ),
        ("blockdev-add file.filename=x file.driver=file", {"file": {"filename": "x", "driver": "file"}}),
        ("blockdev-add driver=qcow2 file=node0", {"driver": "qcow2", "file": "node0"}),
        ("blockdev-add driver=qcow2 backing=null", {"driver": "qcow2", "backing": None}),
        ('blockdev-add driver=qcow2 backing="null"', {"driver": "qcow2", "backing": "null"}),
        ("x-qbitsim-advance seconds=1.5", {"seconds": 1.5}),
        ("x-qbitsim-until data=3", {"data": 3}),
        ("x-qbitsim-until data=three", {"data": "three"}),
        ('x-qbitsim-until data={"a": [1, null]}', {"data": {"a": [1, None]}}),
        ("unheard-of a=1 b=x c.d=true", {"a": 1, "b": "x", "c": {"d": True}}),
    ],
)
def test_the_schema_says_what_a_value_is(line, arguments):
    if line.startswith("blockdev-add file."):
        line = f"blockdev-add driver=qcow2 {line.removeprefix('blockdev-add ')}"
        arguments = {"driver": "qcow2", **arguments}
    assert parse(line, SCHEMA) == {"execute": line.split()[0], "arguments": arguments}


def test_a_command_without_arguments_has_none():
    assert parse("  query-block ", SCHEMA) == {"execute": "query-block"}


def test_a_json_object_is_sent_as_it_is():
    assert parse(' {"execute": "stop",\n "id": 7} ', SCHEMA) == {"execute": "stop", "id": 7}


TWO_ACTIONS = {
    "execute": "transaction",
    "arguments": {
        "actions": [
            {"type": "block-dirty-bitmap-clear", "data": {"node": "d", "name": "b"}},
            {"type": "abort", "data": {}},
        ]
    },
}


@pytest.mark.parametrize(
    "line",
    [
        "transaction(\nblock-dirty-bitmap-clear node=d name=b\nabort\n)",
        "transaction( block-dirty-bitmap-clear node=d name=b; abort )",
        "transaction (block-dirty-bitmap-clear node=d name=b ; abort)",
        (
            'transaction [{"type": "block-dirty-bitmap-clear", "data": {"node": "d", "name": "b"}},\n'
            '{"type": "abort", "data": {}}]'
        ),
        (
            "transaction actions.0.type=block-dirty-bitmap-clear actions.0.data.node=d actions.0.data.name=b "
            "actions.1.type=abort actions.1.data={}"
        ),
    ],
)
def test_a_transaction_is_written_as_it_is_convenient(line):
    assert parse(line, SCHEMA) == TWO_ACTIONS


def test_a_transaction_takes_its_properties_behind_the_bracket():
    message = parse("transaction( abort ) properties.completion-mode=grouped", SCHEMA)
    assert message["arguments"]["properties"] == {"completion-mode": "grouped"}


@pytest.mark.parametrize(
    "line",
    [
        '{"execute": "stop"',
        "transaction(",
        "transaction( abort\n",
        "transaction( block-dirty-bitmap-add name='a",
        'block-dirty-bitmap-merge bitmaps=["a",',
        "block-dirty-bitmap-add name='a",
    ],
)
def test_what_is_not_closed_may_go_on(line):
    with pytest.raises(IncompleteError):
        parse(line, SCHEMA)


@pytest.mark.parametrize(
    ("line", "place", "text"),
    [
        (
            "block-dirty-bitmap-add nod=d",
            23,
            "block-dirty-bitmap-add has no 'nod'; did you mean 'node'?",
        ),
        ("block-dirty-bitmap-add node", 23, "'node' is no argument: write key=value"),
        ("block-dirty-bitmap-add node=a node=b", 30, "'node' is given twice"),
        ("block-dirty-bitmap-add granularity=big", 23, "'granularity' is int, not 'big'"),
        ("block-dirty-bitmap-add persistent=maybe", 23, "'persistent' is on|off, not 'maybe'"),
        (
            "drive-backup device=d sync=incrementl",
            22,
            "'incrementl' is no value of 'sync'; did you mean 'incremental'?",
        ),
        ("block-dirty-bitmap-add node.x=1", 23, "'node' is text and has no members"),
        ("blockdev-add cache=1", 13, "'cache' is an object: write cache={...} or cache.KEY=..."),
        ("transaction actions=1", 12, "'actions' is a list: write actions=[...] or actions.0=..."),
        ("blockdev-add file=a", 13, "blockdev-add has no 'file' as long as 'driver' is not given"),
        ("blockdev-add driver=qcow2 file=a file.driver=file", 33, "'file' and 'file.driver' exclude each other"),
        ("blockdev-add driver=qcow2 file..x=1", 26, "'file..x' has an empty part"),
        (
            "blockdev-add driver=qcow2 file.driver=file file.filenam=x",
            43,
            "'file' has no 'filenam'; did you mean 'filename'?",
        ),
        ("block-dirty-bitmap-merge bitmaps.1=b", 25, "'bitmaps' is a list: write '.0', '.1' and so on, not '.1'"),
        ("transaction( abor )", 13, "a transaction has no action 'abor'; did you mean 'abort'?"),
        ("transaction( abort ) actions=[]", 20, "the actions of the transaction are given twice"),
        ('{"execute": "st', 12, "Unterminated string starting at (JSON)"),
        ('block-dirty-bitmap-add name="a', 28, '" is not closed'),
        ('{"execute": stop}', 12, "Expecting value (JSON)"),
        ('{"execute": "stop"} x', 20, "Extra data (JSON)"),
        ("x-qbitsim-until data=[NaN]", 16, "NaN is no JSON"),
        ("x-qbitsim-until data=[1e999]", 16, "1e999 is too large"),
        ('{"a": ' + "[" * 100_000, 0, "the JSON is nested too deep"),
    ],
)
def test_a_mistake_is_named_with_its_place(line, place, text):
    with pytest.raises(LineError) as refusal:
        parse(line, SCHEMA)
    assert (refusal.value.place, refusal.value.text) == (place, text)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ({"execute": "stop"}, "stop"),
        (
            {"execute": "block-dirty-bitmap-add", "arguments": {"node": "d", "name": "a b", "persistent": True}},
            'block-dirty-bitmap-add node=d name="a b" persistent=on',
        ),
        ({"execute": "block-dirty-bitmap-add", "arguments": {"node": "5"}}, "block-dirty-bitmap-add node=5"),
        ({"execute": "stop", "id": 1}, '{"execute": "stop", "id": 1}'),
        ({"execute": "stop", "arguments": {"a=b": 1}}, '{"execute": "stop", "arguments": {"a=b": 1}}'),
    ],
)
def test_a_message_is_written_as_people_would_type_it(message, line):
    assert write(message, SCHEMA) == line


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.sampled_from([*PROFILES]), st.data())
def test_arguments_survive_being_written_and_read(profile, data):
    command = data.draw(commands(profile))
    message = {"execute": command.name, **({"arguments": command.arguments} if command.arguments else {})}
    line = write(message, SCHEMAS[profile])
    assert line.startswith(command.name)
    assert parse(line, SCHEMAS[profile]) == message


@settings(max_examples=50)
@given(st.sampled_from(["block-dirty-bitmap-add", "blockdev-add", "unheard-of"]), st.data())
def test_whatever_the_arguments_are_they_survive(name, data):
    keys = st.sampled_from(["node", "name", "granularity", "persistent", "driver", "file"]) | st.text()
    arguments = data.draw(st.dictionaries(keys, JSON, min_size=1, max_size=3))
    message = {"execute": name, "arguments": arguments}
    assert parse(write(message, SCHEMA), SCHEMA) == message
