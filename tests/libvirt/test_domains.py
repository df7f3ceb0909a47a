"""Domains come and go: probing, starting with all kinds of devices, restarts of libvirt, the end."""

from __future__ import annotations

import json

import pytest
from session_daemon import RefusedError, Start

FURNITURE = """
<controller type='usb' model='qemu-xhci'/><controller type='virtio-serial'/>
<interface type='user'><model type='virtio'/></interface><interface type='user'><model type='e1000'/></interface>
<channel type='unix'><source mode='bind'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>
<serial type='null'/><input type='tablet' bus='usb'/><video><model type='virtio'/></video><sound model='ich9'/>
<memballoon model='virtio'><stats period='5'/></memballoon>
<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"""


@pytest.mark.parametrize("machine", ["pc", "q35"])
@pytest.mark.parametrize(
    "disks", ["vda:virtio:raw", "sda:scsi:qcow2 sdb:sata:qcow2 sdc:sata:cdrom", "sda:usb:raw vda:virtio:qcow2", ""]
)
def test_disks_on_all_buses(start: Start, machine: str, disks: str) -> None:
    domain = start(disks, machine=machine, more="<memballoon model='none'/>")
    listed = domain.virsh("domblklist").split()
    assert [each for each in listed if not each.startswith(("/", "-"))] == sorted(
        (each.split(":")[0] for each in disks.split()), key=listed.index
    )
    for target in domain.disks:
        assert "16777216" in domain.virsh("domblkinfo", target)


def test_disks_of_old_machines(start: Start) -> None:
    domain = start("hda:ide:qcow2 hdc:ide:cdrom fda:fdc:raw")
    assert {"hda", "hdc", "fda"} <= set(domain.virsh("domblklist").split())


@pytest.mark.parametrize("machine", ["pc", "q35"])
def test_the_usual_furniture(start: Start, machine: str) -> None:
    domain = start(machine=machine, more=FURNITURE, processors=2)
    listed = json.loads(domain.qmp('{"execute":"qom-list","arguments":{"path":"/machine/peripheral"}}'))["return"]
    types = {each["type"] for each in listed}
    wanted = "virtio-net-pci e1000 virtserialport usb-tablet virtio-vga virtio-balloon-pci virtio-rng-pci isa-serial"
    assert types >= {f"child<{name}>" for name in wanted.split()}
    assert "actual 65536" in domain.virsh("dommemstat")
    assert domain.virsh("vcpuinfo").count("VCPU:") == 2


@pytest.mark.parametrize("mode", ["host-model", "maximum"])
def test_processors_are_what_the_emulator_can_do(start: Start, mode: str) -> None:
    domain = start(model=f"<cpu mode='{mode}'/>")
    domain.virsh("checkpoint-create-as", "c")
    told = domain.virsh("dumpxml")
    assert ("<cpu mode='maximum'" if mode == "maximum" else "<model fallback='forbid'>EPYC</model>") in told


def test_the_guest_runs_and_stops(start: Start) -> None:
    domain = start()
    assert domain.virsh("domstate").strip() == "paused"
    domain.virsh("resume")
    assert domain.virsh("domstate").strip() == "running"
    domain.virsh("reset")
    domain.virsh("shutdown")
    domain.virsh("suspend")
    domain.virsh("destroy")
    assert domain.virsh("domstate").strip() == "shut off"


def test_a_domain_outlives_the_daemon(start: Start) -> None:
    domain = start()
    domain.virsh("checkpoint-create-as", "c")
    domain.daemon.stop()
    domain.daemon.start()
    assert domain.virsh("domstate").strip() == "paused"
    assert domain.virsh("checkpoint-list", "--name").split() == ["c"]
    domain.write("vda", 0, 64, 1)


def test_bitmaps_outlive_the_process(start: Start) -> None:
    domain = start()
    new = f"{domain.name}.new"
    domain.push(f"{domain.name}.old", "c0")
    domain.write("vda", 64, 64, 1)
    domain.virsh("destroy")
    domain.virsh("start", "--paused")
    domain.push(new, None, "c0")
    domain.virsh("destroy")
    (written,) = [each for each in domain.extents(domain.daemon.files / f"{new}.vda.qcow2") if each["depth"] == 0]
    assert (written["start"], written["length"]) == (65536, 65536)


def test_a_state_that_cannot_be_saved_is_refused_and_the_guest_goes_on(start: Start, is_real: bool) -> None:
    if is_real:
        pytest.skip("real QEMU saves it")
    domain = start()
    domain.virsh("resume")
    with pytest.raises(RefusedError, match="does not emulate a migration over a descriptor"):
        domain.virsh("managedsave")
    assert domain.virsh("domstate").strip() == "running"
