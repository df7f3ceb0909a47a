"""A real QEMU to measure beside qbitsim: a process without a guest, driven over its QMP socket.

Its disks are ``null-co`` nodes, so that no file system is measured. Scattered dirty bits come out of a qcow2 file with
a stored bitmap, whose data is written here: 167,772 guest writes would take longer than everything else.
"""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.harness import GRANULE
from benchmarks.qmp_client import Client

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BITMAPS_EXTENSION = 0x23852875
_CLUSTER = 65536


class Qemu:
    """A running process.

    :ivar pid: of the process.
    :ivar path: of the socket of its monitor.
    :ivar client: of that monitor.
    """

    def __init__(self, program: str, directory: str, nodes: Iterable[str]) -> None:
        self.path = os.path.join(directory, "qmp.sock")
        command = [program, "-M", "none", "-nodefaults", "-display", "none", "-S"]
        command += ["-qmp", f"unix:{self.path},server=on,wait=off"]
        for node in nodes:
            command += ["-blockdev", node]
        complaints = Path(directory, "stderr")
        with complaints.open("wb") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors
            )
        self.pid = self._process.pid
        try:
            self.client = Client(self.path)
        except OSError as error:
            self._process.kill()
            self._process.wait()
            raise RuntimeError(f"QEMU does not answer: {complaints.read_text()}") from error

    def call(self, name: str, /, **arguments: Any) -> Any:
        """Run a command; see :meth:`.Client.call`."""
        return self.client.call(name, **arguments)

    def end(self) -> None:
        """End the process."""
        self.client.close()
        self._process.kill()
        self._process.wait()


@contextmanager
def running(program: str, *nodes: str) -> Iterator[Qemu]:
    """A QEMU with these nodes, each as ``-blockdev`` takes it; it is killed at the end."""
    with tempfile.TemporaryDirectory() as directory:
        qemu = Qemu(program, directory, nodes)
        try:
            yield qemu
        finally:
            qemu.end()


def null_node(name: str, size: int) -> str:
    """A disk of ``size`` bytes without content."""
    return f"null-co,node-name={name},size={size}"


def stored_node(name: str, path: str) -> str:
    """A qcow2 file that is only read."""
    return f"qcow2,node-name={name},read-only=on,file.driver=file,file.filename={path}"


def store_bitmap(path: str, size: int, bits: Iterable[int]) -> None:
    """Make a qcow2 file of ``size`` bytes with a stored bitmap ``b`` of GRANULE in which ``bits`` are set."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", path, str(size)], check=True)
    subprocess.run(["qemu-img", "bitmap", "--add", "-g", str(GRANULE), path, "b"], check=True)
    data = bytearray(-(-size // GRANULE // 8 // _CLUSTER) * _CLUSTER or _CLUSTER)
    for bit in bits:
        data[bit >> 3] |= 1 << (bit & 7)
    table_offset, entries = _bitmap_table(Path(path))
    with open(path, "r+b") as file:
        end = -(-file.seek(0, os.SEEK_END) // _CLUSTER) * _CLUSTER
        file.seek(end)
        file.write(data)
        file.seek(table_offset)
        file.write(struct.pack(f">{entries}Q", *(end + i * _CLUSTER for i in range(entries))))


def _bitmap_table(path: Path) -> tuple[int, int]:
    """Where the table of the only bitmap is and how many entries it has (docs/interop/qcow2.txt)."""
    with path.open("rb") as file:
        header = file.read(_CLUSTER)
        position = struct.unpack_from(">I", header, 100)[0]
        while True:
            kind, length = struct.unpack_from(">II", header, position)
            if kind == _BITMAPS_EXTENSION:
                break
            assert kind, f"{path} stores no bitmap"
            position += 8 + -(-length // 8) * 8
        directory = struct.unpack_from(">Q", header, position + 8 + 16)[0]
        file.seek(directory)
        offset, entries = struct.unpack(">QI", file.read(12))
    return offset, entries
