"""What follows from the declarations of the drivers, and the opening of nodes by them."""

from __future__ import annotations

import pytest

from qbitsim import Machine, QmpError
from qbitsim.drivers.drive_options import parse_drive
from qbitsim.drivers.driver import DRIVERS, is_image_format
from qbitsim.drivers.not_emulated import NOT_EMULATED
from qbitsim.profiles import PROFILES
from qbitsim.qapi.blockdev import BLOCKDEV_DRIVER, BlockdevOptions
from qbitsim.qapi.schema import struct_info
from qbitsim.qapi.structs import struct_fields


def test_a_driver_is_emulated_or_refused() -> None:
    assert not set(DRIVERS) & set(NOT_EMULATED)
    assert set(BLOCKDEV_DRIVER.values) == set(DRIVERS) == set(struct_info(BlockdevOptions).branches)
    assert set(BLOCKDEV_DRIVER.not_declared) == set(NOT_EMULATED)


@pytest.mark.parametrize("name", DRIVERS)
def test_what_is_said_of_options_is_said_of_options_that_there_are(name: str) -> None:
    driver = DRIVERS[name]
    own = {info.name or member.replace("_", "-") for member, (_, info) in struct_fields(driver.options).items()}
    assert own >= {*driver.accepts, *driver.sizes, *(driver.reopens or ()), *driver.node.strong_options}
    assert driver.node.driver == name


def test_the_formats_of_image_files_are_those_that_are_declared_as_formats() -> None:
    assert [name for name in DRIVERS if is_image_format(name)] == ["qcow2", "raw", "vmdk"]


def test_no_protocol_stands_for_two_drivers() -> None:
    protocols = [each for driver in (*DRIVERS.values(), *NOT_EMULATED.values()) for each in driver.protocols]
    assert len(protocols) == len(set(protocols))


def test_texts_of_drive_options_have_the_types_of_the_schema() -> None:
    given = {"format": "qcow2", "file": "f", "l2-cache-size": "1M", "lazy-refcounts": "off", "cache.direct": "on"}
    found = parse_drive({**given, "cache-clean-interval": "0x10", "overlap-check": "all", "node-name": "7"})
    assert found[:2] == ("", "f")
    assert found[2] == {
        "driver": "qcow2",
        "l2-cache-size": 1 << 20,
        "lazy-refcounts": False,
        "cache": {"direct": True},
        "cache-clean-interval": 16,
        "overlap-check": "all",
        "node-name": "7",
    }


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("cache-clean-interval", "Parameter 'cache-clean-interval' expects a number"),
        ("l2-cache-size", "Parameter 'l2-cache-size' expects a non-negative number below 2^64"),
        ("lazy-refcounts", "Parameter 'lazy-refcounts' expects 'on' or 'off'"),
    ],
)
def test_a_text_that_is_no_such_value_is_refused(name: str, text: str) -> None:
    with pytest.raises(QmpError) as caught:
        parse_drive({"format": "qcow2", "file": "f", name: "some"})
    assert caught.value.desc == text


@pytest.mark.parametrize("release", [name for name in PROFILES if PROFILES[name].offers("4.0")])
def test_a_child_that_was_opened_in_vain_stores_its_bitmaps(release: str) -> None:
    """Closing it is closing any node: what it loaded goes back into its file."""
    machine = Machine(release)
    machine.images.create("a.qcow2", "qcow2", 1 << 20)
    first = {"driver": "qcow2", "node-name": "q", "file": {"driver": "file", "filename": "a.qcow2"}}
    machine.execute("blockdev-add", first)
    machine.execute("block-dirty-bitmap-add", {"node": "q", "name": "b", "persistent": True})
    machine.execute("blockdev-del", {"node-name": "q"})
    second = {"driver": "null-co", "size": 512}
    with pytest.raises(QmpError, match=r"^Could not refresh total sector count: Input/output error$"):
        machine.execute(
            "blockdev-add", {"driver": "quorum", "node-name": "v", "children": [first, second], "vote-threshold": 1}
        )
    assert [stored.in_use for stored in machine.images.lookup("a.qcow2").bitmaps] == [False]
