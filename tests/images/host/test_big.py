"""What is large costs little: opening reads tables, a backup takes no more memory than a small one."""

from __future__ import annotations

import struct
import subprocess
import sys
from array import array
from pathlib import Path
from typing import BinaryIO

import pytest
from trees import complaints_in

from qbitsim.files.host import HostFile
from qbitsim.images.host.store import HostImageStore

MIB = 1 << 20
GIB = 1 << 30

BACKUP = """
import sys
from qbitsim import HostImageStore, Machine

def kib(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))

images = HostImageStore(sys.argv[1])
machine = Machine(images=images)
for name in ("source", "target"):
    images.create(name, "qcow2", 256 << 20)
    file = {"driver": "file", "filename": name}
    machine.execute("blockdev-add", {"driver": "qcow2", "node-name": name, "file": file})
for start in range(0, 256, 4):
    line = f'qemu-io source "write -q -P {start % 250 + 1} {start}M 4M"'
    machine.execute("human-monitor-command", {"command-line": line})
before = kib("VmRSS")
machine.execute("blockdev-backup", {"device": "source", "target": "target", "sync": "full", "job-id": "j"})
machine.run_until_idle()
machine.execute("quit", {})
assert images.compare("source", "target") is None
assert images.lookup("target").content.allocated == 256 << 20
print(kib("VmHWM") - before)
"""


def test_a_backup_from_file_to_file_takes_little_memory(tmp_path: Path) -> None:
    program = f"import sys; sys.path[:0] = {sys.path!r}\n{BACKUP}"
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 64 * 1024


def test_opening_a_large_disk_reads_no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = HostImageStore(str(tmp_path)).create("disk", "qcow2", 1024 * GIB)
    for number in range(8):
        made.write(number * 100 * GIB, b"\3" * 4 * MIB)
    made.save()
    read: list[int] = []
    read_at = HostFile.read_at

    def counted(file: HostFile, offset: int, length: int) -> bytes:
        found = read_at(file, offset, length)
        read.append(len(found))
        return found

    monkeypatch.setattr(HostFile, "read_at", counted)
    opened = HostImageStore(str(tmp_path)).lookup("disk")
    assert len(read) < 10
    assert sum(read) < MIB / 4
    assert opened.content.read(700 * GIB, 4096) == b"\3" * 4096
    assert len(read) < 12
    assert opened.content.allocated == 32 * MIB
    assert sum(read) < MIB


FULL = """
import random, sys
from qbitsim import HostImageStore

def kib(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))

images, unit = HostImageStore(sys.argv[1]), 65536
before = kib("VmRSS")
image = images.lookup("full")
random.seed(1)
for number in random.sample(range(image.size // unit), 500):
    assert image.content.read(number * unit, 512) == bytes(512)
    image.write(number * unit + 512, b"w" * 512)
image.write_zeroes(0, image.size // 4)
image.save()
position = found = 0
while position < image.size:
    kind, length = image.status(position, image.size - position)
    found += length * (kind.value == "data")
    position += length
assert found == image.size // 4 * 3
image.create_snapshot("s", 0, 0)
image.write(image.size - unit, b"x" * unit)
image.delete_snapshot(image.snapshots[0])
print(kib("VmHWM") - before)
"""


def test_a_full_disk_takes_little_memory_whatever_is_done_with_it(tmp_path: Path) -> None:
    make_full(tmp_path / "full", clusters=1 << 20)
    program = f"import sys; sys.path[:0] = {sys.path!r}\n{FULL}"
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 32 * 1024


RESIZED = """
import sys
from qbitsim import HostImageStore
from qbitsim.images.host import clusters, qcow2, table_cache
from qbitsim.profiles import DEFAULT_PROFILE
from qbitsim.programs.shell import Shell

table_cache.ROOM, qcow2._CLUSTERS_AT_ONCE, clusters._NEWEST = 1 << 20, 1 << 12, 1 << 12

def kib(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))

shell = Shell(HostImageStore(sys.argv[1]), DEFAULT_PROFILE)
assert shell.run("qemu-img amend -q -o refcount_bits=16 full".split())[0] == 0
before = kib("VmRSS")
for line in sys.argv[2:]:
    assert shell.run(line.split()) == (0, "")
shell.images.save()
print(kib("VmHWM") - before)
"""


@pytest.mark.parametrize(
    ("line", "most"),
    [
        ("qemu-img resize -q --shrink full 64k", 5000),
        ("qemu-img resize -q --preallocation=metadata full +4G", 5000),
        ("qemu-img amend -q -o refcount_bits=64 full", 900),
        ("qemu-img amend -q -o compat=0.10 full", 1500),
    ],
)
def test_tables_that_change_take_little_memory(line: str, most: int, tmp_path: Path) -> None:
    """A full disk of 4 GiB, with room for some of its tables.

    :param most: KiB.
    """
    make_full(tmp_path / "full", clusters=1 << 16)
    program = f"import sys; sys.path[:0] = {sys.path!r}\n{RESIZED}"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path), line], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < most
    assert complaints_in(tmp_path) == {}


def make_full(path: Path, clusters: int) -> None:
    """Make an image of so many clusters of 64 KiB, each with a place in a file that holds no data."""
    unit, per_table, per_block = 65536, 8192, 32768
    tables = clusters // per_table
    blocks = -(-(3 + tables + clusters) * 1001 // 1000 // per_block)
    first_table = 3 + blocks
    first = first_table + tables
    header = struct.pack(
        ">IIQIIQIIQQIIQQQQII",
        *(0x514649FB, 3, 0, 0, 16, clusters * unit, 0, tables, 2 * unit, unit, 1, 0, 0, 0, 0, 0, 4, 104),
    )
    with open(path, "wb") as file:
        file.write(header)
        write_words(file, unit, range(3 * unit, first_table * unit, unit))
        write_words(file, 2 * unit, range(first_table * unit | 1 << 63, first * unit | 1 << 63, unit))
        for number in range(blocks):
            used = min(max(first + clusters - number * per_block, 0), per_block)
            file.seek((3 + number) * unit)
            file.write(b"\0\1" * used)
        for number in range(tables):
            start = (first + number * per_table) * unit | 1 << 63
            write_words(file, (first_table + number) * unit, range(start, start + per_table * unit, unit))
        file.truncate((first + clusters) * unit)


def write_words(file: BinaryIO, offset: int, words: range) -> None:
    """Write a table."""
    table = array("Q", words)
    if sys.byteorder == "little":
        table.byteswap()
    file.seek(offset)
    file.write(table.tobytes())
