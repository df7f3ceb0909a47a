"""Jobs of a machine whose targets and sources are on real NBD servers: qemu-nbd, and the server in QEMU itself."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from qbitsim import Machine
from qbitsim.serving.socket_network import SocketNetwork

MB = 1 << 20
KB64 = 1 << 16

needs_qemu = pytest.mark.skipif(
    shutil.which("qemu-nbd") is None or shutil.which("qemu-storage-daemon") is None,
    reason="no qemu-nbd and qemu-storage-daemon on the path (Debian: qemu-utils, qemu-system-common)",
)


def answers(path: Path) -> bool:
    """Whether somebody listens there; the file of a socket is there before."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


@contextmanager
def running(place: Path, *argv: str) -> Iterator[str]:
    """A server; the name of its export as a client has it."""
    with subprocess.Popen(argv) as server:
        try:
            deadline = time.monotonic() + 30
            while not answers(place) and time.monotonic() < deadline:
                time.sleep(0.01)
            yield f"nbd+unix:///target?socket={place}"
        finally:
            server.terminate()
            try:
                server.wait(10)
            except subprocess.TimeoutExpired:  # QEMU loses a signal that comes while it begins
                server.kill()


def qemu_nbd(folder: Path, disk: Path):
    place = folder / "nbd.sock"
    return running(place, "qemu-nbd", "-t", "-f", "raw", "-e", "2", "-x", "target", "-k", str(place), str(disk))


def qemu(folder: Path, disk: Path):
    place = folder / "daemon.sock"
    return running(
        place,
        *("qemu-storage-daemon", "--blockdev", f"file,node-name=f,filename={disk}"),
        *("--nbd-server", f"addr.type=unix,addr.path={place}"),
        *("--export", "nbd,id=e,node-name=f,name=target,writable=on"),
    )


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    made.images.network = SocketNetwork(made.images.network)
    made.add_disk("disk", MB).write(0, b"a" * KB64)
    yield made
    made.close()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    found = tmp_path / "target.raw"
    found.write_bytes(b"x" * MB)
    return found


@needs_qemu
@pytest.mark.parametrize("serve", [qemu_nbd, qemu])
def test_a_mirror_goes_to_a_real_server(machine: Machine, image: Path, tmp_path: Path, serve) -> None:
    disk = machine.drive("disk")
    with serve(tmp_path, image) as name:
        target = {"target": name, "mode": "existing", "format": "raw"}
        machine.execute("drive-mirror", {"device": "disk", "job-id": "job", "sync": "full", **target})
        machine.run_until_idle()
        disk.write(MB - KB64, b"b" * KB64)
        machine.run_until_idle()
        machine.execute("block-job-complete", {"device": "job"})
        machine.run_until_idle()
        disk.write(KB64, b"c" * KB64)  # the server's now
        assert disk.read(KB64, 1) == b"c"
    assert image.read_bytes() == b"a" * KB64 + b"c" * KB64 + bytes(MB - 3 * KB64) + b"b" * KB64


@needs_qemu
@pytest.mark.parametrize("serve", [qemu_nbd, qemu])
def test_a_backup_goes_to_a_real_server(machine: Machine, image: Path, tmp_path: Path, serve) -> None:
    machine.execute("block-dirty-bitmap-add", {"node": "disk", "name": "b"})
    machine.drive("disk").write(3 * KB64, b"d" * KB64)
    with serve(tmp_path, image) as name:
        how = {"sync": "incremental", "bitmap": "b", "target": name, "mode": "existing", "format": "raw"}
        machine.execute("drive-backup", {"device": "disk", "job-id": "job", **how})
        machine.run_until_idle()
    assert [event["data"].get("error") for event in machine.events.read(0) if "COMPLETED" in event["event"]] == [None]
    assert image.read_bytes() == b"x" * 3 * KB64 + b"d" * KB64 + b"x" * (MB - 4 * KB64)


@needs_qemu
@pytest.mark.parametrize("serve", [qemu_nbd, qemu])
def test_a_disk_is_fetched_from_a_real_server(machine: Machine, image: Path, tmp_path: Path, serve) -> None:
    with serve(tmp_path, image) as name:
        server = {"type": "unix", "path": name.partition("=")[2]}
        node = {"driver": "nbd", "node-name": "remote", "server": server, "export": "target", "read-only": True}
        machine.execute("blockdev-add", node)
        machine.execute("blockdev-backup", {"device": "remote", "target": "disk", "job-id": "job", "sync": "full"})
        machine.run_until_idle()
    assert machine.drive("disk").read(0, MB) == b"x" * MB
