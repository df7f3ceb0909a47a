"""What qemu-img frees and discards in a file goes back to the host; measured with QEMU 7.2, 10.0 and 11.1 on ext4.

So do the clusters of an image that is emptied, of deleted snapshots, of the bits of a bitmap and of leaks; tables do
not, nor what only gets another place.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from qbitsim.images.host.store import HostImageStore
from qbitsim.profiles import PROFILES
from qbitsim.programs.shell import Shell

PAGE = 4096
MADE = (
    "qemu-img create -q -f qcow2 b 1M",
    "qemu-io -f qcow2 -c 'write -q -P 7 0 192k' b",
    "qemu-img create -q -f qcow2 -b b -F qcow2 a",
    "qemu-img bitmap --add a b0",
    "qemu-img bitmap --add -g 512 a b1",
    "qemu-io -f qcow2 -c 'write -q -P 9 64k 300k' a",
    "qemu-img snapshot -c s1 b",
)
COMMITTED = "0-30 40-60 70-80 90 f0 110 120"


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    shell = Shell(HostImageStore(str(tmp_path)), PROFILES["10.0"])
    play(shell, *MADE)
    return shell


def play(shell: Shell, *lines: str) -> None:
    for line in lines:
        status, text = shell.run(shlex.split(line))
        assert status == 0, (line, text)


def taken(path: Path) -> str:
    """The runs of pages that the file takes on the host, each from its first page to its last one, in hexadecimal."""
    found, end = [], 0
    with path.open("rb") as file:
        length = path.stat().st_size
        while end < length:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            first, last = start // PAGE, (end - 1) // PAGE
            found.append(f"{first:x}" if first == last else f"{first:x}-{last:x}")
    return " ".join(found)


def test_what_a_commit_empties_is_given_back_with_the_old_bits_of_bitmaps(shell: Shell, tmp_path: Path) -> None:
    play(shell, "qemu-img commit a")
    assert taken(tmp_path / "a") == COMMITTED
    play(shell, "qemu-img bitmap --remove a b0")
    assert taken(tmp_path / "a") == "0-30 40-60 80 90 a0 f0 110 120"


def test_a_file_that_is_longer_than_needed_is_not_preallocated(shell: Shell) -> None:
    play(shell, "qemu-img commit a")
    text = "qemu-img: Failed to resize underlying file: Cannot use preallocation for shrinking files\n"
    assert shell.run(["qemu-img", "resize", "--preallocation=full", "a", "+64k"]) == (1, text)
    play(shell, "qemu-img check -q a")


def test_a_deleted_snapshot_gives_its_tables_and_clusters_back(shell: Shell, tmp_path: Path) -> None:
    play(shell, "qemu-img commit a", "qemu-img snapshot -d s1 b")
    assert taken(tmp_path / "b") == "0-30 50-5f a0-ff"
    play(shell, "qemu-img bitmap --add b b7", "qemu-img bitmap --enable b b7", "qemu-img resize --shrink b 128k")
    assert taken(tmp_path / "b") == "0-30 40 50-60 70 80 a0-bf"
    play(shell, "qemu-img check -q b")


def test_leaks_that_are_repaired_are_given_back(shell: Shell, tmp_path: Path) -> None:
    play(shell, "qemu-img create -q -f qcow2 c 1M", "qemu-io -f qcow2 -c 'write -q -P 7 0 128k' c")
    with (tmp_path / "c").open("r+b") as file:
        file.seek(4 * 65536 + 8)
        file.write(bytes(8))  # the second cluster is forgotten
    assert taken(tmp_path / "c") == "0-30 40-6f"
    play(shell, "qemu-img check -q -r leaks c")
    assert taken(tmp_path / "c") == "0-30 40-5f"


def test_a_file_of_bytes_ends_inside_its_last_sector(shell: Shell, tmp_path: Path) -> None:
    play(shell, "qemu-img create -q r 1M", "qemu-img resize -q --shrink -f raw r 1000")
    assert (tmp_path / "r").stat().st_size == 1000
    play(shell, "qemu-img resize -q -f raw r +1000")
    assert (tmp_path / "r").stat().st_size == 2024
