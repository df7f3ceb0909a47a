"""Checkpoints and backups, push and pull, and what users report of them: each failure and what libvirt says of it."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from session_daemon import Daemon, Domain, RefusedError, Start, kind_of


@pytest.fixture
def domain(start: Start) -> Domain:
    return start()


@pytest.fixture
def nbd_socket(daemon: Daemon) -> Path:
    return daemon.folder / "run" / "nbd.sock"


def rebase(domain: Domain, name: str, base: Path) -> None:
    domain.daemon.qemu_img("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", str(base), name)


def target(domain: Domain, name: str, disk: str = "vda") -> Path:
    return domain.daemon.files / f"{domain.name}.{name}.{disk}.qcow2"


def push(domain: Domain, name: str, checkpoint: str | None = None, incremental: str | None = None) -> str:
    return kind_of(domain.push(f"{domain.name}.{name}", checkpoint, incremental))


def test_checkpoints_are_created_listed_measured_and_deleted(domain: Domain) -> None:
    for name in ("c0", "c1", "c2"):
        domain.virsh("checkpoint-create-as", name)
        domain.write("vda", 1024, 64, 1)
    assert domain.virsh("checkpoint-list", "--name").split() == ["c0", "c1", "c2"]
    assert "c1" in domain.virsh("checkpoint-info", "c1")
    assert "size='65536'" in domain.virsh("checkpoint-dumpxml", "c2", "--size", "--no-domain")
    domain.virsh("checkpoint-delete", "c1")
    assert domain.virsh("checkpoint-list", "--name").split() == ["c0", "c2"]


def test_a_chain_of_pushed_backups_holds_what_the_disks_held(domain: Domain) -> None:
    assert push(domain, "full", "c0") == "Completed"
    assert domain.raw(target(domain, "full")) == domain.content("vda")
    domain.write("vda", 100, 300, 5)
    domain.write("vdb", 9000, 64, 6)
    assert push(domain, "first", "c1", "c0") == "Completed"
    domain.write("vda", 2000, 1, 7)
    assert push(domain, "second", None, "c1") == "Completed"
    for disk in domain.disks:
        rebase(domain, str(target(domain, "first", disk)), target(domain, "full", disk))
        rebase(domain, str(target(domain, "second", disk)), target(domain, "first", disk))
        assert domain.raw(target(domain, "second", disk)) == domain.content(disk)


def test_a_backup_into_a_raw_target(domain: Domain) -> None:
    name = f"{domain.name}.raw"
    domain.begin(domain.push_xml(name, kind="raw"))
    assert kind_of(domain.end()) == "Completed"
    assert (domain.daemon.files / f"{name}.vda.raw").read_bytes() == domain.content("vda")


def test_a_target_that_exists_is_refused(domain: Domain) -> None:
    target(domain, "full").write_bytes(b"x")
    with pytest.raises(RefusedError, match="exists"):
        push(domain, "full")


def test_an_unknown_checkpoint_is_refused(domain: Domain) -> None:
    with pytest.raises(RefusedError, match="Checkpoint 'nope' for incremental backup of disk 'vda' not found"):
        push(domain, "full", None, "nope")


def test_a_checkpoint_whose_bitmap_is_gone_is_refused(domain: Domain) -> None:
    push(domain, "full", "c0")
    found = domain.qmp('{"execute":"query-named-block-nodes","arguments":{"flat":true}}')
    node = next(name for name in ("libvirt-2-format", "libvirt-1-format") if f'"node-name":"{name}"' in found)
    arguments = f'{{"node":"{node}","name":"c0"}}'
    domain.qmp(f'{{"execute":"block-dirty-bitmap-remove","arguments":{arguments}}}')
    with pytest.raises(RefusedError, match="missing or broken bitmap"):
        push(domain, "next", None, "c0")


def test_bitmaps_of_a_guest_that_was_killed_are_inconsistent(domain: Domain) -> None:
    push(domain, "full", "c0")
    pid = int((domain.daemon.folder / f"run/libvirt/qemu/run/{domain.name}.pid").read_text())
    os.kill(pid, 9)
    while domain.virsh("domstate").strip() != "shut off":
        pass
    domain.virsh("start", "--paused")
    with pytest.raises(RefusedError, match="missing or broken bitmap"):
        push(domain, "next", None, "c0")


def test_a_disk_that_was_resized_is_backed_up_from_a_checkpoint_before(domain: Domain) -> None:
    push(domain, "full", "c0")
    domain.virsh("blockresize", "vda", "32M")
    domain.write("vda", 20 << 10, 64, 3)
    assert push(domain, "next", "c1", "c0") == "Completed"
    assert '"virtual-size": 33554432' in domain.daemon.qemu_img("info", "--output=json", str(target(domain, "next")))


def test_a_snapshot_between_checkpoints(domain: Domain) -> None:
    push(domain, "full", "c0")
    domain.write("vda", 64, 64, 3)
    overlays = [f"--diskspec={disk},file={domain.daemon.files / domain.name}.{disk}.overlay" for disk in domain.disks]
    domain.virsh("snapshot-create-as", "s", "--disk-only", "--no-metadata", *overlays)
    domain.write("vda", 512, 64, 4)
    assert push(domain, "next", None, "c0") == "Completed"
    rebase(domain, str(target(domain, "next")), target(domain, "full"))
    assert domain.raw(target(domain, "next")) == domain.content("vda")


@pytest.fixture
def small(daemon: Daemon) -> Iterator[Path]:
    """A file system of one MiB."""
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small file system")
    folder = daemon.folder / "small"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1M,mode=1777", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if done.returncode != 0:
        folder.rmdir()
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
    folder.rmdir()


def test_a_full_target_fails_and_the_next_backup_does_not(domain: Domain, small: Path) -> None:
    domain.begin(domain.push_xml(str(small / "full")), "c0")
    job = domain.end()
    assert kind_of(job) == "Failed"
    assert "No space left on device" in job
    assert push(domain, "again", "c1") == "Completed"
    assert domain.raw(target(domain, "again")) == domain.content("vda")


def test_a_second_backup_while_one_runs_is_refused(domain: Domain, nbd_socket: Path) -> None:
    domain.begin(domain.pull_xml(nbd_socket))
    with pytest.raises(RefusedError, match="cannot acquire state change lock"):  # after 30 seconds
        push(domain, "other")
    domain.virsh("domjobabort")
    assert push(domain, "other") == "Completed"


def test_a_pulled_backup_survives_the_daemon_and_ends(domain: Domain, nbd_socket: Path) -> None:
    domain.begin(domain.pull_xml(nbd_socket), "c0")
    domain.daemon.stop()
    domain.daemon.start()
    assert "pull" in domain.virsh("backup-dumpxml")
    assert "Backup" in domain.virsh("domjobinfo")
    domain.virsh("domjobabort")
    assert kind_of(domain.end()) == "Completed"
    assert not nbd_socket.exists()


def test_a_client_that_is_there_at_the_end_is_cut_off(domain: Domain, nbd_socket: Path) -> None:
    domain.begin(domain.pull_xml(nbd_socket))
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(nbd_socket))
        assert client.recv(18).startswith(b"NBDMAGICIHAVEOPT")
        domain.virsh("domjobabort")
        assert client.recv(1) == b""
    domain.begin(domain.pull_xml(nbd_socket))
    domain.virsh("domjobabort")


def test_a_client_that_goes_in_the_middle_leaves_the_backup_to_others(domain: Domain, nbd_socket: Path) -> None:
    before = domain.content("vda")
    domain.begin(domain.pull_xml(nbd_socket))
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(nbd_socket))
        assert client.recv(18).startswith(b"NBDMAGICIHAVEOPT")
        client.sendall(struct.pack(">I8sII3s", 3, b"IHAVEOPT", 1, 3, b"vda"))  # no zeroes; the export of that name
        assert client.recv(10)[:8] == struct.pack(">Q", 16 << 20)
        client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 7, 0, 1 << 20))  # it does not wait for what it reads
    assert domain.raw(f"nbd+unix:///vda?socket={nbd_socket}", "raw") == before
    assert "Backup" in domain.virsh("domjobinfo")
    domain.virsh("domjobabort")
    assert kind_of(domain.end()) == "Completed"


def test_a_pushed_backup_whose_end_the_daemon_misses_can_be_given_up(domain: Domain) -> None:
    domain.begin(domain.push_xml(f"{domain.name}.away"), "c0")
    domain.daemon.stop()
    domain.daemon.start()
    try:
        domain.virsh("domjobabort")
    except RefusedError as error:
        assert "no job is active" in str(error)  # noqa: PT017 - it had ended, and the daemon knows
    domain.end()
    assert push(domain, "next", "c1") == "Completed"
    assert domain.raw(target(domain, "next")) == domain.content("vda")


def test_a_pulled_backup_holds_the_disk_of_its_begin(domain: Domain, nbd_socket: Path) -> None:
    before = domain.content("vda")
    domain.begin(domain.pull_xml(nbd_socket))
    domain.write("vda", 0, 2048, 9)
    assert domain.raw(f"nbd+unix:///vda?socket={nbd_socket}", "raw") == before
    domain.virsh("domjobabort")
    domain.virsh("destroy")
    assert domain.raw(domain.disks["vda"]) == domain.content("vda")


def test_a_cancelled_push_is_no_failure(domain: Domain) -> None:
    path = domain.daemon.written(f"{domain.name}-backup.xml", domain.push_xml(f"{domain.name}.cancelled"))
    try:
        domain.daemon.virsh(f"backup-begin {domain.name} {path}; domjobabort {domain.name}")
    except RefusedError as error:
        assert "no job is active" in str(error)  # noqa: PT017 - it was over before
    assert kind_of(domain.end()) in ("Cancelled", "Completed")
