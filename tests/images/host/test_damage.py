"""Damaged files in the hands of programs and machines: an answer or a refusal, soon, and in little memory.

``python tests/images/host/damage.py FILES [FIRST]`` tries as many as one likes.
"""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

import pytest
from damage import all_trouble
from real_tools import RealTools

from qbitsim.images.host.store import HostImageStore
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.profiles import DEFAULT_PROFILE
from qbitsim.programs.shell import Shell

UNIT = 4096


def test_nobody_is_troubled_by_damaged_files() -> None:
    assert [trouble for found in all_trouble(range(250)) for trouble in found] == []


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """A shell in a folder with a qcow2 file ``d`` of which a little is written."""
    made = Shell(HostImageStore(str(tmp_path)), DEFAULT_PROFILE)
    for line in (
        f"qemu-img create -q -f qcow2 -o cluster_size={UNIT} d 16M",
        "qemu-img snapshot -c one d",
    ):
        status, text = made.run(line.split())
        assert status == 0, text
    assert made.run(["qemu-io", "-c", "write -q 0 64k", "d"]) == (0, "")
    made.images.save()
    return made


def overwrite(path: Path, offset: int, form: str, value: int) -> None:
    """Change a field of a file."""
    data = bytearray(path.read_bytes())
    struct.pack_into(form, data, offset, value)
    path.write_bytes(data)


def field(path: Path, offset: int, form: str = ">Q") -> int:
    """A field of a file."""
    found: int = struct.unpack_from(form, path.read_bytes(), offset)[0]
    return found


def test_tables_that_count_as_free_are_not_written_over(tmp_path: Path, shell: Shell) -> None:
    path = tmp_path / "d"
    block = field(path, field(path, 48))
    l1 = field(path, 40)
    overwrite(path, block + l1 // UNIT * 2, ">H", 0)
    before = path.read_bytes()
    image = HostImageStore(str(tmp_path)).lookup("d")
    assert image.content.read(0, 512) == b"\xcd" * 512
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        image.write(1 << 20, b"w" * UNIT)
    assert path.read_bytes() == before
    assert shell.run(["qemu-img", "check", "-q", "-r", "all", "d"])[0] == 0
    image = shell.images.lookup("d")
    image.write(1 << 20, b"w" * UNIT)
    assert image.content.read(1 << 20, UNIT) == b"w" * UNIT


def test_a_header_that_counts_as_free_is_not_written_over(tmp_path: Path, shell: Shell) -> None:
    path = tmp_path / "d"
    table = field(path, field(path, 40)) & ~(1 << 63)
    overwrite(path, table + 8 * 20, ">Q", 1 << 62)  # compressed, in the header's cluster
    image = HostImageStore(str(tmp_path)).lookup("d")
    image.discard(20 * UNIT, UNIT)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        image.write(1 << 20, b"w" * UNIT)
    assert path.read_bytes()[:4] == b"QFI\xfb"


def test_a_cluster_that_no_table_can_count_is_not_referred_to_once_more(tmp_path: Path, shell: Shell) -> None:
    table = field(tmp_path / "d", field(tmp_path / "d", 40)) & ~(1 << 63)
    overwrite(tmp_path / "d", table + 8 * 20, ">Q", 1 << 54)
    refusal = "qemu-img: Could not create snapshot 'two': File too large\n"
    assert shell.run(["qemu-img", "snapshot", "-c", "two", "d"]) == (1, refusal)


def test_the_tables_of_a_snapshot_that_no_file_can_hold_are_left_alone(tmp_path: Path, shell: Shell) -> None:
    overwrite(tmp_path / "d", field(tmp_path / "d", 64), ">Q", 0xB2D3 << 48)
    assert shell.run(["qemu-img", "resize", "-q", "d", "17M"]) == (0, "")


def test_a_file_in_which_nothing_is_counted_gets_no_other_refcounts(tmp_path: Path, shell: Shell) -> None:
    overwrite(tmp_path / "d", 48, ">Q", 1 << 40)
    assert shell.run(["qemu-img", "amend", "-o", "refcount_bits=64", "d"]) == (1, 2 * "qemu-img: Input/output error\n")


def test_a_refcount_block_where_no_file_can_be_is_reported(tmp_path: Path, shell: Shell, root: str | None) -> None:
    overwrite(tmp_path / "d", field(tmp_path / "d", 48), ">Q", 3 << 62)
    with RealTools(root) as real:
        real.write("d", (tmp_path / "d").read_bytes())
        for argv in (["qemu-img", "check", "d"], ["qemu-img", "check", "--output=json", "d"]):
            assert shell.run(argv) == real.run_together(*argv)


def test_a_snapshot_may_have_any_date(tmp_path: Path, shell: Shell) -> None:
    table = field(tmp_path / "d", 64)
    overwrite(tmp_path / "d", table + 16, ">Q", (1 << 64) - 1)
    assert shell.run(["qemu-img", "snapshot", "-c", "two", "d"]) == (0, "")
    shell.images.save()
    assert field(tmp_path / "d", field(tmp_path / "d", 64) + 16) == (1 << 64) - 1


def test_a_snapshot_of_a_disk_without_end_is_looked_through_at_once(tmp_path: Path, shell: Shell) -> None:
    overwrite(tmp_path / "d", field(tmp_path / "d", 64) + 48, ">Q", 1 << 50)
    image = HostImageStore(str(tmp_path)).lookup("d")
    assert isinstance(image, Qcow2Image)
    kind, length = image.snapshots[0].content.status(0, 1 << 50)
    assert (kind.value, length) == ("hole", 1 << 50)


def test_a_disk_grows_no_further_than_its_l1_table(tmp_path: Path, shell: Shell) -> None:
    refusal = "qemu-img: Failed to grow the L1 table: File too large\n"
    assert shell.run(["qemu-img", "resize", "d", "9T"]) == (1, refusal)
    overwrite(tmp_path / "d", field(tmp_path / "d", 64) + 48, ">Q", 1 << 50)
    refusal += "qemu-img: Could not apply snapshot 'one': Failed to load snapshot: File too large\n"
    assert shell.run(["qemu-img", "snapshot", "-a", "one", "d"]) == (1, refusal)


def test_a_snapshot_larger_than_its_disk_is_converted_as_far_as_the_disk_reaches(tmp_path: Path, shell: Shell) -> None:
    for line in ("snapshot -c two d", "resize -q --shrink d 32k", "convert -l two -O raw d r"):
        assert shell.run(["qemu-img", *line.split()]) == (0, "")
    shell.images.save()
    assert (tmp_path / "r").read_bytes() == b"\xcd" * (32 << 10)
