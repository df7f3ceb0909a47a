"""Limits and faults that a Python caller gives a machine."""

from __future__ import annotations

import errno

import pytest

from qbitsim import Machine, QmpError
from qbitsim.drivers.opener import Options

K = 1024


def number_of(call, *arguments) -> int | None:
    with pytest.raises(OSError, match=r".") as caught:
        call(*arguments)
    return caught.value.errno


def test_a_limit_stays_with_the_name_until_it_is_lifted():
    machine = Machine()
    machine.limit_capacity("./d.img", 64 * K)
    disk = machine.add_disk("d", "1M", file="d.img")
    disk.write(0, b"A" * 64 * K)
    assert number_of(disk.write, 64 * K, b"B") == errno.ENOSPC
    assert disk.read(64 * K, 1) == b"\0"
    machine.images.create("d.img.2", "qcow2", K)
    machine.images.remove("d.img.2")
    machine.limit_capacity("d.img", None)
    disk.write(64 * K, b"B")
    assert disk.read(64 * K, 1) == b"B"


def test_a_new_file_of_the_same_name_has_the_same_limit():
    machine = Machine()
    for _ in range(2):
        machine.limit_capacity("t", 0)
        assert machine.images.create("t", "qcow2", K).file.capacity == 0
        machine.images.remove("t")
    assert machine.images.clone().create("t", "qcow2", K).file.capacity == 0
    assert machine.images.create("u", "qcow2", K).file.capacity is None


def test_a_limit_is_not_negative():
    with pytest.raises(ValueError, match=r"^invalid capacity -1: it must not be negative$"):
        Machine().limit_capacity("t", -1)


@pytest.mark.parametrize("where", ["d", "n", "d.qcow2"])
def test_a_fault_is_found_by_drive_node_or_file(where):
    machine = Machine()
    disk = machine.add_disk("d", "1M", node_name="n")
    machine.inject_error(where, "write", errno.ENOSPC, 64 * K, 64 * K, once=True)
    disk.write(0, b"A" * 64 * K)
    assert number_of(disk.write, 128 * K - 1, b"AA") == errno.ENOSPC
    disk.write(128 * K - 1, b"AA")
    assert disk.read(128 * K - 1, 2) == b"AA"


@pytest.mark.parametrize(
    "options",
    [
        {"driver": "null-co", "node-name": "n", "size": K},
        {"driver": "raw", "node-name": "n", "file": {"driver": "null-co", "size": K}},
        {"driver": "raw", "node-name": "n", "file": {"driver": "file", "filename": "f"}},
        {"driver": "copy-on-read", "node-name": "n", "file": {"driver": "file", "filename": "f"}},
    ],
)
def test_a_fault_strikes_below_filters_and_raw(options: Options):
    machine = Machine()
    machine.images.create("f", "raw", K)
    disk = machine.add_drive("d", machine.add_node(options))
    machine.inject_error("n", "read", offset=512)
    assert disk.read(0, 512) == bytes(512)
    assert number_of(disk.read, 0, 513) == errno.EIO
    assert number_of(disk.read, 0, 513) == errno.EIO


def test_what_is_not_there_cannot_fail():
    machine = Machine()
    machine.add_drive("empty", None)
    for where in ("x", "empty"):
        text = f"^no drive with a medium, no node and no image file is called '{where}'$"
        with pytest.raises(ValueError, match=text):
            machine.inject_error(where, "read")
    with pytest.raises(ValueError, match=r"^unknown operation 'frob': choose one of read, write, "):
        machine.inject_error("x", "frob")


def test_a_read_error_fails_the_backup_and_keeps_the_bitmap():
    machine = Machine()
    disk = machine.add_disk("d", "1M")
    machine.qmp("block-dirty-bitmap-add", node="d", name="b")
    disk.write(0, b"A" * 64 * K)
    machine.images.create("t", "qcow2", 1024 * K)
    machine.inject_error("d", "read", once=True)
    for error in ("Input/output error", None):
        cursor = machine.events.end
        machine.qmp(
            "drive-backup", device="d", bitmap="b", target="t", sync="incremental", mode="existing", format="qcow2"
        )
        machine.run_until_idle()
        [end] = [event["data"] for event in machine.events.read(cursor) if event["event"] == "BLOCK_JOB_COMPLETED"]
        assert end.get("error") == error
        assert machine.drive("d").node.bitmaps[0].count == (64 * K if error else 0)


def test_a_disk_over_a_raw_file_knows_its_format():
    machine = Machine()
    machine.images.create("base", "raw", 1024 * K)
    machine.add_disk("d", backing="base")
    assert machine.images.lookup("d.qcow2").backing_format == "raw"
    assert machine.drive("d").size == 1024 * K
    with pytest.raises(FileNotFoundError):
        machine.add_disk("e", "1M", backing="nope")
    with pytest.raises(QmpError):
        machine.add_disk("d", "1M", file="other")
