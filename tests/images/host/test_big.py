"""What is large costs little: opening reads tables, a backup takes no more memory than a small one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

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
    assert opened.content.allocated == 32 * MIB
    assert len(read) < 30
    assert sum(read) < MIB
    assert opened.content.read(700 * GIB, 4096) == b"\3" * 4096
