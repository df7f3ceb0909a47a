"""Images with lazy refcounts that nobody has closed, and corrupt ones: the real tools are compared with."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from memory_file import MemoryFile
from real_tools import RealTools

from qbitsim import Machine
from qbitsim.images.host.store import HostImageStore
from qbitsim.images.qcow2.metadata import read_metadata
from qbitsim.images.qcow2.structures import CORRUPT, DIRTY
from qbitsim.profiles import DEFAULT_PROFILE
from qbitsim.programs.shell import Shell

UNIT = 65536
COUNTS = 2 * UNIT
LAZY = [
    ["qemu-img", "create", "-q", "-f", "qcow2", "-o", "lazy_refcounts=on", "d", "1M"],
    ["qemu-io", "-f", "qcow2", "-c", "write -q 0 64k", "-c", "write -q 128k 64k", "d"],
]
LEAK, MISSING = (7, 1), (5, 0)
"""A cluster and the refcount that is wrong for it."""


def left_open(tmp_path: Path, features: int, *wrong: tuple[int, int]) -> bytes:
    """A file with two clusters of data."""
    shell = Shell(HostImageStore(str(tmp_path)), DEFAULT_PROFILE)
    for line in LAZY:
        assert shell.run(line)[0] == 0
    shell.images.save()
    data = bytearray((tmp_path / "d").read_bytes()).ljust(8 * UNIT, b"\0")
    struct.pack_into(">Q", data, 72, features)
    for cluster, count in wrong:
        struct.pack_into(">H", data, COUNTS + 2 * cluster, count)
    (tmp_path / "d").write_bytes(data)
    return bytes(data)


@pytest.mark.parametrize("features", [DIRTY, CORRUPT, DIRTY | CORRUPT])
@pytest.mark.parametrize("wrong", [(), (LEAK,), (MISSING,), (LEAK, MISSING)])
@pytest.mark.parametrize(
    "argv",
    [
        ["qemu-img", "info", "d"],
        ["qemu-img", "check", "d"],
        ["qemu-img", "check", "-r", "leaks", "d"],
        ["qemu-img", "check", "-r", "all", "d"],
        ["qemu-img", "resize", "-f", "qcow2", "d", "2M"],
        ["qemu-img", "amend", "-f", "qcow2", "-o", "lazy_refcounts=off", "d"],
    ],
    ids=" ".join,
)
def test_it_is_taken_as_by_the_real_tools(
    root: str | None, features: int, wrong: tuple[tuple[int, int], ...], argv: list[str], tmp_path: Path
) -> None:
    data = left_open(tmp_path, features, *wrong)
    with RealTools(root) as real:
        real.write("d", data)
        shell = Shell(HostImageStore(str(tmp_path)), real.profile)
        status, output, said = real.run(*argv)
        ours, text = shell.run(argv)
        shell.images.save()
        assert (ours, text) == (status, said + output)
        found, expected = (tmp_path / "d").read_bytes(), real.read("d")
        assert found[72:80] == expected[72:80]
        assert read_metadata(MemoryFile(found), checking=True).refcount_table == (
            read_metadata(MemoryFile(expected), checking=True).refcount_table
        )


def test_a_machine_repairs_what_it_opens_for_writing(tmp_path: Path) -> None:
    left_open(tmp_path, DIRTY, MISSING)
    machine = Machine(images=HostImageStore(str(tmp_path)))
    disk = machine.add_disk("t", file="d")
    disk.write(0, b"n" * UNIT)
    disk.write(5 * UNIT, b"m" * UNIT)
    machine.shut_down()
    data = (tmp_path / "d").read_bytes()
    assert read_metadata(MemoryFile(data)).header.incompatible == 0
    assert Shell(HostImageStore(str(tmp_path)), DEFAULT_PROFILE).run(["qemu-img", "check", "d"])[0] == 0


def test_who_only_reads_repairs_nothing(tmp_path: Path) -> None:
    data = left_open(tmp_path, DIRTY, MISSING)
    machine = Machine(images=HostImageStore(str(tmp_path)))
    assert machine.add_disk("t", file="d", read_only=True).read(UNIT, UNIT) == bytes(UNIT)
    machine.shut_down()
    assert (tmp_path / "d").read_bytes() == data
