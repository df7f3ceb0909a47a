"""``blklogwrites``: the bytes of its log, and logs that it does not take; recorded scenarios have the rest."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from qbitsim import Machine, QmpError, UnsupportedError

MIB = 1 << 20
MAGIC = 0x6A736677736872


@pytest.fixture
def machine() -> Machine:
    """A disk ``f`` and an empty file ``l`` for a log."""
    made = Machine("10.0")
    for name, size in (("a.raw", MIB), ("log.raw", 0)):
        made.images.create(name, "raw", size)
        made.add_node({"driver": "file", "node-name": name[0], "filename": name, "discard": "unmap"})
    return made


def add(machine: Machine, log: Any = "l", **options: Any) -> None:
    machine.add_node(
        {"driver": "blklogwrites", "node-name": "w", "file": "a", "log": log, "discard": "unmap", **options}
    )


def qemu_io(machine: Machine, command: str) -> str:
    return machine.execute("human-monitor-command", {"command-line": f'qemu-io w "{command}"'}).strip()


def log_of(machine: Machine) -> bytes:
    image = machine.images.lookup("log.raw")
    return image.content.read(0, image.size)


def entries(log: bytes, sector: int = 512) -> list[tuple[int, int, int]]:
    """(sector, number of sectors, flags) of each entry."""
    magic, version, count, size = struct.unpack_from("<QQQI", log)
    assert (magic, version, size) == (MAGIC, 1, sector)
    found, place = [], sector
    for _ in range(count):
        at, number, flags, length = struct.unpack_from("<QQQQ", log, place)
        assert length == 0
        found.append((at, number, flags))
        place += sector * (1 + (0 if flags & 4 else number))
    assert place == len(log)
    return found


def test_every_request_is_in_the_log_when_it_is_closed(machine: Machine) -> None:
    add(machine)
    qemu_io(machine, "write -q -P 1 0 1k")
    qemu_io(machine, "write -q -z 4k 512")
    qemu_io(machine, "discard -q 8k 1k")
    machine.execute("blockdev-del", {"node-name": "w"})
    assert entries(log_of(machine)) == [(0, 2, 0), (8, 1, 0), (16, 2, 4), (0, 0, 1)]
    assert log_of(machine)[1024:2048] == b"\1" * 1024


def test_the_super_block_is_written_after_so_many_entries(machine: Machine) -> None:
    add(machine, **{"log-super-update-interval": 2})
    qemu_io(machine, "write -q 0 512")
    assert log_of(machine)[:512] == bytes(512)
    qemu_io(machine, "write -q 0 512")
    assert struct.unpack_from("<QQQI", log_of(machine)) == (MAGIC, 1, 2, 512)


def test_a_part_of_a_sector_is_logged_as_the_whole_sector(machine: Machine) -> None:
    machine.images.lookup("a.raw").write(0, b"\7" * 4096)
    add(machine, **{"log-sector-size": 4096})
    qemu_io(machine, "write -q -P 1 512 512")
    machine.execute("blockdev-del", {"node-name": "w"})
    log = log_of(machine)
    assert entries(log, 4096) == [(0, 1, 0), (0, 0, 1)]
    assert log[8192:12288] == b"\7" * 512 + b"\1" * 512 + b"\7" * 3072


def test_a_log_that_nothing_was_written_to_stays_empty(machine: Machine) -> None:
    add(machine)
    qemu_io(machine, "flush")
    machine.execute("blockdev-del", {"node-name": "w"})
    assert log_of(machine) == b""


def test_a_log_goes_on(machine: Machine) -> None:
    for _ in range(2):
        add(machine, **{"log-append": True})
        qemu_io(machine, "write -q 0 512")
        machine.execute("blockdev-del", {"node-name": "w"})
    assert entries(log_of(machine)) == [(0, 1, 0), (0, 0, 1)] * 2


@pytest.mark.parametrize(
    ("log", "text"),
    [
        (bytes(512), "Invalid log superblock magic"),
        (struct.pack("<QQQI", MAGIC, 2, 0, 512), "Unsupported log version 2"),
        (struct.pack("<QQQI", MAGIC, 1, 0, 100), "Invalid log sector size 100"),
        (
            struct.pack("<QQQI", MAGIC, 1, 1, 512).ljust(512, b"\0") + struct.pack("<QQQQ", 0, 0, 0x10, 0),
            "Invalid flags 0x10 in log entry 0",
        ),
    ],
)
def test_what_is_no_log_cannot_go_on(machine: Machine, log: bytes, text: str) -> None:
    machine.graph.nodes["l"].truncate(2048)
    machine.graph.nodes["l"].write(0, log)
    with pytest.raises(QmpError) as caught:
        add(machine, **{"log-append": True})
    assert caught.value.desc == text
    assert "w" not in machine.graph.nodes


@pytest.mark.parametrize(("place", "text"), [(0, "Could not read log superblock"), (512, "Failed to read log entry 0")])
def test_a_log_that_cannot_be_read_cannot_go_on(machine: Machine, place: int, text: str) -> None:
    machine.graph.nodes["l"].truncate(2048)
    machine.graph.nodes["l"].write(0, struct.pack("<QQQI", MAGIC, 1, 1, 512))
    machine.faults.inject_error("l", "read", "EIO", offset=place, length=32)
    with pytest.raises(QmpError, match=f"^{text}: Input/output error$"):
        add(machine, **{"log-append": True})


def test_only_a_file_grows(machine: Machine) -> None:
    add(machine, log={"driver": "null-co", "size": 1024})
    with pytest.raises(UnsupportedError, match="a log that grows in a node of driver 'null-co'"):
        qemu_io(machine, "write 0 1k")
