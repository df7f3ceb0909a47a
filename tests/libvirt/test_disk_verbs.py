"""What virsh does with disks while the guest is there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from session_daemon import Domain, Start


@pytest.fixture
def domain(start: Start) -> Domain:
    return start("vda:virtio:qcow2 sda:scsi:qcow2 sdb:sata:cdrom", more="<memballoon model='none'/>")


def snapshot(domain: Domain, name: str) -> Path:
    path = domain.daemon.files / f"{domain.name}.{name}"
    words = ["--disk-only", "--no-metadata", "--diskspec", f"vda,file={path}", "--diskspec", "sda,snapshot=no"]
    domain.virsh("snapshot-create-as", name, *words)
    return path


def source(domain: Domain, target: str) -> str:
    (line,) = [each for each in domain.virsh("domblklist").splitlines() if each.split()[0] == target]
    return line.split()[1]


def new_image(domain: Domain, name: str, kind: str = "qcow2") -> str:
    path = str(domain.daemon.files / f"{domain.name}.{name}")
    domain.daemon.qemu_img("create", "-f", kind, path, "8M")
    return path


def test_facts_and_figures(domain: Domain) -> None:
    assert "vda wr_bytes 0" in domain.virsh("domblkstat", "vda")
    stats = domain.daemon.virsh("domstats", "--block", domain.name)
    assert "block.0.wr.bytes=0" in stats
    assert "block.0.capacity=16777216" in stats
    assert domain.virsh("domblkerror").strip() == "No errors found"


def test_blockresize(domain: Domain) -> None:
    domain.virsh("blockresize", "vda", "32M")
    assert "33554432" in domain.virsh("domblkinfo", "vda")


def test_snapshot_and_blockcommit(domain: Domain) -> None:
    domain.virsh("checkpoint-create-as", "c", "--diskspec=vda,checkpoint=bitmap", "--diskspec=sda,checkpoint=no")
    overlay = snapshot(domain, "s")
    domain.write("vda", 2048, 64, 9)
    assert source(domain, "vda") == str(overlay)
    domain.virsh("blockcommit", "vda", "--active", "--pivot", "--wait")
    assert source(domain, "vda") == str(domain.disks["vda"])
    size = domain.virsh("checkpoint-dumpxml", "c", "--size", "--no-domain")
    assert "size='65536'" in size
    domain.virsh("destroy")
    assert domain.raw(domain.disks["vda"]) == domain.content("vda")


def test_blockcommit_in_the_middle_and_blockpull(domain: Domain) -> None:
    middle, top = snapshot(domain, "s1"), snapshot(domain, "s2")
    domain.virsh("blockcommit", "vda", "--top", str(middle), "--wait")
    domain.write("vda", 0, 64, 7)
    domain.virsh("blockpull", "vda", "--wait")
    assert "backing-filename" not in domain.daemon.qemu_img("info", "-U", "--output=json", str(top))
    domain.virsh("destroy")
    assert domain.raw(top) == domain.content("vda")


@pytest.mark.parametrize("end", ["--pivot", "--finish"])
def test_blockcopy(domain: Domain, end: str) -> None:
    copy = domain.daemon.files / f"{domain.name}.copy"
    domain.virsh("blockcopy", "vda", str(copy), "--wait", end, "--transient-job")
    assert source(domain, "vda") == str(copy if end == "--pivot" else domain.disks["vda"])
    domain.virsh("destroy")
    assert domain.raw(copy) == domain.content("vda")


def test_disks_come_and_go(domain: Domain) -> None:
    image = new_image(domain, "new")
    domain.virsh("attach-disk", image, "sdc", "--driver", "qemu", "--subdriver", "qcow2", "--targetbus", "scsi")
    assert source(domain, "sdc") == image
    domain.virsh("detach-disk", "sdc")
    assert "sdc" not in domain.virsh("domblklist")
    domain.virsh("attach-disk", image, "vdb", "--driver", "qemu", "--subdriver", "qcow2", "--targetbus", "virtio")
    assert source(domain, "vdb") == image


def test_media_come_and_go(domain: Domain) -> None:
    first, second = new_image(domain, "cd1", "raw"), new_image(domain, "cd2", "raw")
    domain.virsh("change-media", "sdb", first, "--insert")
    domain.virsh("change-media", "sdb", second, "--update", "--force")
    assert source(domain, "sdb") == second
    domain.virsh("change-media", "sdb", "--eject", "--force")
    assert source(domain, "sdb") == "-"


def test_rates_and_thresholds(domain: Domain) -> None:
    domain.virsh("blkdeviotune", "vda", "--total-iops-sec", "1000", "--live")
    assert "total_iops_sec : 1000" in domain.virsh("blkdeviotune", "vda").replace(": ", " : ").replace("  ", " ")
    domain.virsh("domblkthreshold", "vda", "1M")


def test_the_monitor_of_the_emulator(domain: Domain) -> None:
    assert json.loads(domain.qmp('{"execute":"query-status"}'))["return"]["status"] == "prelaunch"
    assert str(domain.disks["vda"]) in domain.virsh("qemu-monitor-command", "--hmp", "info block")


def test_devices_are_attached_and_listed(domain: Domain) -> None:
    text = "<interface type='user'><model type='virtio'/></interface>"
    domain.virsh("attach-device", domain.daemon.written("interface.xml", text))
    assert "virtio" in domain.virsh("domiflist")
