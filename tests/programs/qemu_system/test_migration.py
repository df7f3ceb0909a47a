"""A guest migrates between two programs, over sockets."""

from __future__ import annotations

import socket
from pathlib import Path

import forked
from qemu_process import BASE, NAMES, SYSTEM, Qmp, connected

from qbitsim.migration.stream import QEMU_MAGIC


def start(folder: Path, name: str, *argv: str) -> tuple[forked.Process, Qmp]:
    """A program with the disk ``n0``, and a client of its monitor."""
    disk = f"driver=qcow2,node-name=n0,file.driver=file,file.filename={folder}/{name}.qcow2"
    monitor = folder / f"{name}.sock"
    line = [*BASE, "-blockdev", disk, "-qmp", f"unix:{monitor},server=on,wait=off", *argv]
    process = forked.Process(forked.program, NAMES[SYSTEM], "10.0", *line)
    client = Qmp(connected(monitor))
    enabled = [{"capability": each, "state": True} for each in ("events", "dirty-bitmaps")]
    assert client("migrate-set-capabilities", capabilities=enabled) == {"return": {}}
    return process, client


def make_disk(folder: Path, name: str) -> None:
    from qbitsim.images.host.store import HostImageStore  # noqa: PLC0415

    store = HostImageStore(str(folder))
    store.create(f"{name}.qcow2", "qcow2", 1 << 20)
    store.save()


def wait_for(client: Qmp, status: str) -> None:
    while (found := client("query-migrate")["return"].get("status")) != status:
        assert found not in {"completed", "failed"}, found


def test_bitmaps_go_over_a_socket(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_disk(tmp_path, name)
    one, source = start(tmp_path, "a")
    two, destination = start(tmp_path, "b", "-incoming", f"unix:{tmp_path}/m")
    source("block-dirty-bitmap-add", node="n0", name="b0", persistent=True)
    assert source("migrate", uri=f"unix:{tmp_path}/m") == {"return": {}}
    wait_for(source, "completed")
    assert source("query-status")["return"]["status"] == "postmigrate"
    assert destination("query-status")["return"]["status"] == "running"
    shown = [each for each in destination("query-named-block-nodes")["return"] if each["node-name"] == "n0"]
    assert [(each["name"], each["persistent"]) for each in shown[0]["dirty-bitmaps"]] == [("b0", True)]
    for process, client in ((one, source), (two, destination)):
        client("quit")
        client.close()
        assert process.communicate() == (b"", b"")
        assert process.returncode == 0


def test_a_program_keeps_the_stream_and_gives_it_back(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_disk(tmp_path, name)
    one, source = start(tmp_path, "a")
    source("block-dirty-bitmap-add", node="n0", name="b0")
    assert source("migrate", uri=f"exec:cat > {tmp_path}/stream") == {"return": {}}
    wait_for(source, "completed")
    two, destination = start(tmp_path, "b", "-incoming", "defer")
    channel = {"channel-type": "main", "addr": {"transport": "exec", "args": ["cat", f"{tmp_path}/stream"]}}
    assert destination("migrate-incoming", channels=[channel]) == {"return": {}}
    wait_for(destination, "completed")
    shown = [each for each in destination("query-named-block-nodes")["return"] if each["node-name"] == "n0"]
    assert [each["name"] for each in shown[0]["dirty-bitmaps"]] == ["b0"]
    for process, client in ((one, source), (two, destination)):
        client("quit")
        client.close()
        assert process.communicate() == (b"", b"")
        assert process.returncode == 0


def test_an_abstract_name_is_no_file(tmp_path: Path) -> None:
    make_disk(tmp_path, "b")
    process, destination = start(tmp_path, "b", "-incoming", "defer")
    name = f"{tmp_path}/m"
    address = {"transport": "socket", "type": "unix", "path": name, "abstract": True}
    assert destination("migrate-incoming", channels=[{"channel-type": "main", "addr": address}]) == {"return": {}}
    assert not (tmp_path / "m").exists()
    with socket.socket(socket.AF_UNIX) as source:
        source.connect(f"\0{name}")
    _, errors = process.communicate()
    destination.close()
    assert process.returncode == 1
    assert b"Not a migration stream" in errors


def test_a_program_that_does_not_take_the_stream_leaves_the_guest_here(tmp_path: Path) -> None:
    make_disk(tmp_path, "a")
    process, source = start(tmp_path, "a")
    address = {"transport": "exec", "args": ["no-such-program"]}
    assert source("migrate", channels=[{"channel-type": "main", "addr": address}]) == {"return": {}}
    wait_for(source, "failed")
    assert source("query-status")["return"]["status"] == "running"
    source("quit")
    source.close()
    process.communicate()


def test_real_qemu_as_the_source_ends_the_destination_with_a_reason(tmp_path: Path) -> None:
    make_disk(tmp_path, "b")
    process, destination = start(tmp_path, "b", "-incoming", f"unix:{tmp_path}/m")
    with socket.socket(socket.AF_UNIX) as real:
        real.connect(str(tmp_path / "m"))
        real.sendall(QEMU_MAGIC + bytes(8))
        _, errors = process.communicate()
    destination.close()
    assert process.returncode == 1
    assert b"qbitsim does not emulate QEMU's own migration stream" in errors
