"""Arguments against QAPI's error texts; every text here was given by QEMU 10.0 or 7.2."""

from __future__ import annotations

from functools import cache
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim.drivers.blkdebug import BlkdebugInjectErrorOptions, BlockdevOptionsBlkdebug
from qbitsim.drivers.file import BlockdevOptionsFile
from qbitsim.drivers.qcow2_options import BlockdevOptionsQcow2
from qbitsim.enums import StrEnum
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.profiles import QEMU_2_5, QEMU_7_2, QEMU_10_0
from qbitsim.qapi.block import BlockDirtyBitmap, BlockDirtyBitmapOrStr
from qbitsim.qapi.blockdev import BlockdevOptions
from qbitsim.qapi.decoders import Decoders
from qbitsim.qapi.hashorder import first_unvisited, qdict_order
from qbitsim.qapi.schema import (
    REQUIRED,
    Alternate,
    Int32,
    QNull,
    UInt16,
    UInt32,
    UInt64,
    arg,
    branch,
    enum_values,
    moved_last,
    union,
)
from qbitsim.qapi.structs import struct

decoders = cache(Decoders)


def decode(cls, obj, profile):
    return decoders(profile).of_class(cls)(obj, "")


@struct
class Add:
    node: str
    name: str
    granularity: UInt32 | None = None
    persistent: bool | None = None
    disabled: bool | None = arg(since="4.0")


@struct
class Merge:
    node: str
    target: str
    bitmaps: list[BlockDirtyBitmapOrStr]


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"
    GREEN = "green"


enum_values(since={"blue": "8.0"}, until={"green": "8.0"}, refused={"pink": (None, "8.0")}, noun="the colour")(Colour)


@struct
class Everything:
    number: int | None = None
    small: Int32 | None = None
    port: UInt16 | None = None
    big: UInt64 | None = None
    colour: Colour | None = None
    colours: list[Colour] | None = None
    ratio: float | None = None
    other: Annotated[str | QNull, Alternate("StrOrNull")] | None = None
    class_: str | None = arg(name="class")


class Kind(StrEnum):
    FULL = "full"
    EMPTY = "empty"


@union("kind")
@struct
class Base:
    kind: Kind


@branch(Base, Kind.FULL)
@struct
class Full(Base):
    what: str = arg(REQUIRED)


def refusal(cls, obj, profile=QEMU_10_0):
    with pytest.raises(QmpError) as caught:
        decode(cls, obj, profile)
    assert caught.value.error_class == "GenericError"
    return caught.value.desc


def test_omitted_members_are_none():
    assert decode(Add, {"name": "b0", "node": "n0"}, QEMU_10_0) == Add(node="n0", name="b0")


def test_given_members_are_decoded():
    obj = {"node": "n0", "name": "b0", "granularity": 512, "persistent": True, "disabled": False}
    expected = Add(node="n0", name="b0", granularity=512, persistent=True, disabled=False)
    assert decode(Add, obj, QEMU_10_0) == expected


def test_the_name_on_the_wire_can_be_given():
    assert decode(Everything, {"class": "a"}, QEMU_10_0) == Everything(class_="a")


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        ({}, "Parameter 'node' is missing"),
        ({"granularity": "x"}, "Parameter 'node' is missing"),
        ({"node": "n", "granularity": "x"}, "Parameter 'name' is missing"),
        ({"node": 1, "x": 1}, "Invalid parameter type for 'node', expected: string"),
        ({"node": None, "name": "b"}, "Invalid parameter type for 'node', expected: string"),
        ({"node": "n", "name": "b", "persistent": None}, "Invalid parameter type for 'persistent', expected: boolean"),
        ({"node": "n", "name": "b", "persistent": 1}, "Invalid parameter type for 'persistent', expected: boolean"),
        ({"node": "n", "name": "b", "foo": 1}, "Parameter 'foo' is unexpected"),
        ({"node": "n", "name": "b", "": 1}, "Parameter '' is unexpected"),
    ],
)
def test_members_are_checked_in_declared_order(obj, text):
    assert refusal(Add, obj) == text


@pytest.mark.parametrize("value", [1.0, 65536.0, 2**64, -(2**63) - 1, "1", True, None, {}, []])
def test_what_is_no_integer_is_no_unsigned_integer(value):
    assert refusal(Add, {"node": "n", "name": "b", "granularity": value}) == "Parameter 'granularity' expects uint64"


@pytest.mark.parametrize("value", [-1, -(2**63), 2**32, 2**63, 2**64 - 1])
def test_negative_numbers_wrap_and_are_out_of_range_then(value):
    assert refusal(Add, {"node": "n", "name": "b", "granularity": value}) == "Parameter 'granularity' expects uint32_t"


def test_a_negative_number_is_a_large_unsigned_one():
    assert decode(Everything, {"big": -1}, QEMU_10_0) == Everything(big=2**64 - 1)


@pytest.mark.parametrize("value", [1.0, 100.0, 2**63, 2**64, -(2**63) - 1, "1", True, None])
def test_what_is_no_signed_integer_is_refused(value):
    assert refusal(Everything, {"number": value}) == "Invalid parameter type for 'number', expected: integer"


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1, 2**63 - 1])
def test_a_small_integer_has_limits(value):
    assert refusal(Everything, {"small": value}) == "Parameter 'small' expects int32_t"


def test_a_16_bit_integer_has_limits():
    assert refusal(Everything, {"port": 65536}) == "Parameter 'port' expects uint16_t"


def test_numbers_may_be_whole():
    assert decode(Everything, {"ratio": 2}, QEMU_10_0) == Everything(ratio=2.0)
    assert refusal(Everything, {"ratio": "2"}) == "Invalid parameter type for 'ratio', expected: number"


def test_null_can_be_a_value_of_its_own():
    assert decode(Everything, {"other": None}, QEMU_10_0) == Everything(other=QNull())
    assert refusal(Everything, {"other": 1}) == "Invalid parameter type for 'other', expected: StrOrNull"


def test_an_enumeration_knows_the_last_name_only():
    assert refusal(Everything, {"colour": "Red"}) == "Parameter 'colour' does not accept value 'Red'"
    assert refusal(Everything, {"colours": ["red", ""]}) == "Parameter 'null' does not accept value ''"
    assert refusal(Everything, {"colours": [1]}) == "Invalid parameter type for 'colours[0]', expected: string"


def test_values_of_an_enumeration_belong_to_releases():
    assert decode(Everything, {"colour": "blue"}, QEMU_10_0) == Everything(colour=Colour.BLUE)
    assert decode(Everything, {"colour": "green"}, QEMU_7_2) == Everything(colour=Colour.GREEN)
    assert refusal(Everything, {"colour": "green"}) == "Parameter 'colour' does not accept value 'green'"
    assert refusal(Everything, {"colour": "blue"}, QEMU_7_2) == "Parameter 'colour' does not accept value 'blue'"


def test_a_value_that_only_qemu_has_is_refused_loudly():
    with pytest.raises(UnsupportedError, match=r"^qbitsim does not emulate the colour 'pink'$"):
        decode(Everything, {"colour": "pink"}, QEMU_7_2)
    assert refusal(Everything, {"colour": "pink"}) == "Parameter 'colour' does not accept value 'pink'"


def test_members_belong_to_releases():
    obj = {"node": "n", "name": "b", "disabled": True}
    assert decode(Add, obj, QEMU_7_2) == Add(node="n", name="b", disabled=True)
    assert refusal(Add, obj, QEMU_2_5) == "Parameter 'disabled' is unexpected"


def test_the_type_of_an_alternate_chooses():
    obj = {"node": "n", "target": "t", "bitmaps": ["a", {"node": "m", "name": "b"}]}
    assert decode(Merge, obj, QEMU_10_0).bitmaps == ["a", BlockDirtyBitmap(node="m", name="b")]


@pytest.mark.parametrize(
    ("bitmaps", "text"),
    [
        ({"a": 1}, "Invalid parameter type for 'bitmaps', expected: array"),
        ([[1]], "Invalid parameter type for 'null', expected: BlockDirtyBitmapOrStr"),
        ([None], "Invalid parameter type for 'null', expected: BlockDirtyBitmapOrStr"),
        ([{}], "Parameter 'bitmaps[0].node' is missing"),
        (["a", {"node": "x"}], "Parameter 'bitmaps[1].name' is missing"),
        ([{"node": "x", "name": 1}], "Invalid parameter type for 'bitmaps[0].name', expected: string"),
        ([{"node": "x", "name": "y", "z": 1}], "Parameter 'bitmaps[0].z' is unexpected"),
    ],
)
def test_inner_members_have_paths(bitmaps, text):
    assert refusal(Merge, {"node": "n", "target": "t", "bitmaps": bitmaps}) == text


def test_a_union_decodes_to_the_class_of_its_branch():
    obj = {
        "driver": "qcow2",
        "node-name": "n0",
        "backing": None,
        "file": {"driver": "blkdebug", "image": "f0", "inject-error": [{"event": "read_aio", "errno": 28}]},
    }
    inject = BlkdebugInjectErrorOptions(event="read_aio", errno=28)
    file = BlockdevOptionsBlkdebug(driver="blkdebug", image="f0", inject_error=[inject])
    expected = BlockdevOptionsQcow2(driver="qcow2", node_name="n0", backing=QNull(), file=file)
    assert decode(BlockdevOptions, obj, QEMU_10_0) == expected


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "Parameter 'driver' is missing"),
        ({"driver": "nosuch"}, "Parameter 'driver' does not accept value 'nosuch'"),
        ({"driver": "qcow2", "backing": True}, "Parameter 'file' is missing"),
        ({"driver": "qcow2", "file": 1}, "Invalid parameter type for 'file', expected: BlockdevRef"),
        ({"driver": "qcow2", "file": {}}, "Parameter 'file.driver' is missing"),
        ({"driver": "qcow2", "file": {"driver": "file"}}, "Parameter 'file.filename' is missing"),
        ({"driver": "qcow2", "file": {"driver": "foo"}}, "Parameter 'driver' does not accept value 'foo'"),
        (
            {"driver": "qcow2", "file": {"driver": "file", "filename": "x", "foo": 1, "bar": 2}},
            "Parameter 'file.bar' is unexpected",
        ),
        (
            {"driver": "qcow2", "file": "x", "overlap-check": 3},
            "Invalid parameter type for 'overlap-check', expected: Qcow2OverlapChecks",
        ),
        (
            {"driver": "qcow2", "file": "x", "overlap-check": "foo"},
            "Parameter 'overlap-check' does not accept value 'foo'",
        ),
        ({"driver": "qcow2", "file": "x", "encrypt": {}}, "Parameter 'encrypt.format' is missing"),
        (
            {"driver": "blkdebug", "image": "x", "take-child-perms": ["x"]},
            "Parameter 'null' does not accept value 'x'",
        ),
        ({"driver": "copy-before-write", "file": "x"}, "Parameter 'target' is missing"),
        ({"driver": "null-co", "size": 2**63}, "Invalid parameter type for 'size', expected: integer"),
    ],
)
def test_block_devices_are_checked_like_everything(options, text):
    assert refusal(BlockdevOptions, options) == text


def test_a_driver_that_only_qemu_has_is_refused_loudly():
    with pytest.raises(UnsupportedError, match=r"^qbitsim does not emulate the block driver 'ssh'$"):
        decode(BlockdevOptions, {"driver": "ssh"}, QEMU_10_0)
    assert refusal(BlockdevOptions, {"driver": "io_uring"}, QEMU_7_2).startswith("Parameter 'driver' does not accept")


def test_a_member_can_move_to_the_end():
    @moved_last("a", since="8.0")
    @struct
    class Moved:
        a: str
        b: str

    assert refusal(Moved, {}, QEMU_7_2) == "Parameter 'a' is missing"
    assert refusal(Moved, {}, QEMU_10_0) == "Parameter 'b' is missing"


def test_a_union_value_without_members_of_its_own_decodes_to_the_base():
    assert decode(Base, {"kind": "empty"}, QEMU_10_0) == Base(kind=Kind.EMPTY)
    assert decode(Base, {"kind": "full", "what": "x"}, QEMU_10_0) == Full(kind=Kind.FULL, what="x")
    assert refusal(Base, {"kind": "empty", "what": "x"}) == "Parameter 'what' is unexpected"


def test_structs_are_frozen_values():
    file = BlockdevOptionsFile(driver="file", filename="f")
    assert file == BlockdevOptionsFile(driver="file", filename="f", aio=None)
    assert hash(file) == hash(BlockdevOptionsFile(driver="file", filename="f", aio=None))
    assert repr(file) == "BlockdevOptionsFile(driver='file', filename='f')"
    with pytest.raises(AttributeError):
        file.filename = "g"
    with pytest.raises(AttributeError):
        del file.filename
    assert file.filename == "f"


def test_structs_refuse_names_they_do_not_have():
    with pytest.raises(TypeError, match=r"^BlockDirtyBitmap has no nam$"):
        BlockDirtyBitmap(node="n", nam="b")
    with pytest.raises(TypeError, match=r"^BlockDirtyBitmap needs name$"):
        BlockDirtyBitmap(node="n")


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        (["foo", "bar"], "bar"),
        (["bar", "foo"], "bar"),
        (["a", "b", "c"], "b"),
        (["x", "y"], "y"),
        (["é", "z"], "z"),
        (["device", "target", "mode", "sync", "job-id", "speed", "aaa", "bbb", "ccc"], "sync"),
        ([f"k{index}" for index in range(40)], "k4"),
    ],
)
def test_of_several_unexpected_members_the_first_of_the_hash_table_is_named(keys, named):
    obj = {"node": "n", "name": "b"} | dict.fromkeys(keys, 1)
    assert refusal(Add, obj) == f"Parameter '{named}' is unexpected"


@given(st.lists(st.text(max_size=6), unique=True, min_size=1, max_size=80), st.data())
def test_the_named_member_is_one_of_the_unexpected_and_does_not_depend_on_what_is_not_there(keys, data):
    visited = data.draw(st.lists(st.sampled_from(keys), unique=True, max_size=len(keys) - 1))
    named = first_unvisited(keys, visited)
    assert named in keys
    assert named not in visited
    assert first_unvisited(keys, ["not there" * 9, *visited]) == named


@given(st.lists(st.text(max_size=6), unique=True, max_size=60))
def test_the_order_of_members_hardly_depends_on_how_they_were_sent(keys):
    assert sorted(qdict_order(keys)) == sorted(keys)
    assert qdict_order(qdict_order(keys)[::-1]) == qdict_order(keys)
