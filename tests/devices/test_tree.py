"""The tree of devices, where no recorded scenario of real QEMU can show it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.machine.boot import add_device, add_drive, plug_board_drives
from qbitsim.machine.machine import Machine


@pytest.fixture
def machine() -> Machine:
    made = Machine(machine_type="pc")
    for name in ("n0", "n1"):
        made.add_node({"driver": "null-co", "node-name": name, "size": 1 << 20})
    return made


def test_the_node_that_a_device_has_already_is_taken_where_real_qemu_aborts(machine: Machine) -> None:
    add_device(machine, "virtio-blk-pci,drive=n0,id=vd")
    before = machine.state()
    machine.qmp("qom-set", path="vd", property="drive", value="n0")
    assert machine.state() == before


def test_a_swap_without_a_medium_is_refused_where_real_qemu_crashes(machine: Machine) -> None:
    add_device(machine, "ide-cd,id=cd")
    with pytest.raises(UnsupportedError):
        machine.qmp("qom-set", path="cd", property="drive", value="n0")


def test_a_refused_device_changes_nothing(machine: Machine) -> None:
    add_device(machine, "virtio-blk-pci,drive=n0,id=vd,addr=5")
    before = machine.state()
    for options in ("virtio-blk-pci,drive=n0,id=b", "virtio-blk-pci,drive=n1,addr=5", "ide-hd,drive=n1,bus=ide.9"):
        with pytest.raises(QmpError):
            add_device(machine, options)
        assert machine.state() == before
    add_device(machine, "virtio-blk-pci,drive=n1,id=b")


def test_devices_that_do_nothing_here_have_their_place_and_their_properties(machine: Machine) -> None:
    machine.execute("device_add", {"driver": "virtio-net", "id": "n", "addr": "05.0", "mac": "52:54:00:00:00:01"})
    with pytest.raises(QmpError, match="slot 5 function 0 not available for e1000, in use by virtio-net-pci,id=n"):
        machine.execute("device_add", {"driver": "e1000", "addr": "5"})
    with pytest.raises(QmpError, match=r"Property 'e1000\.colour' not found"):
        machine.execute("device_add", {"driver": "e1000", "colour": "red"})
    assert machine.qmp("qom-get", path="n", property="mac") == "52:54:00:00:00:01"
    assert {"name": "virtio-backend", "type": "child<virtio-net-device>"} in machine.qmp("qom-list", path="n")


def test_a_drive_of_a_device_that_does_nothing_is_refused(machine: Machine) -> None:
    with pytest.raises(UnsupportedError, match="the device 'nvme'"):
        machine.execute("device_add", {"driver": "nvme", "drive": "n0", "serial": "1"})


def test_devices_that_nobody_can_make_are_refused(machine: Machine) -> None:
    with pytest.raises(QmpError, match="expects a non-abstract device type"):
        machine.execute("device_add", {"driver": "pci-device"})


def test_an_unknown_type_of_machine_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown type of machine 'microvm': choose one of none, pc, q35"):
        Machine(machine_type="microvm")


def test_the_types_of_the_release_are_listed(machine: Machine) -> None:
    every = {each["name"]: each for each in machine.qmp("qom-list-types")}
    assert every["tcg-accel"] == {"name": "tcg-accel", "parent": "accel"}
    assert {"scsi-hd", "iothread", "pc-q35-10.0-machine"} <= set(every)
    assert "device" not in every
    abstract = machine.qmp("qom-list-types", implements="scsi-device", abstract=True)
    assert {each["name"] for each in abstract} == {
        *("scsi-device", "scsi-disk-base", "scsi-hd", "scsi-cd", "scsi-block", "scsi-generic"),
    }
    assert [each["name"] for each in abstract if each.get("abstract")] == ["scsi-device", "scsi-disk-base"]


def test_devices_are_kept_and_put_back(machine: Machine) -> None:
    add_device(machine, "virtio-scsi-pci,id=s0")
    add_device(machine, "scsi-hd,drive=n0,id=hd")
    kept = machine.snapshot()
    machine.qmp("device_del", id="hd")
    machine.settle()
    assert [each["device"] for each in machine.qmp("query-block")] == []
    machine.restore(kept)
    (info,) = machine.qmp("query-block")
    assert info["qdev"] == "hd"
    machine.qmp("device_del", id="hd")
    machine.settle()
    assert machine.events.read(0)[-1]["event"] == "DEVICE_DELETED"


def test_a_machine_without_devices_does_not_load_them() -> None:
    program = (
        "import sys, qbitsim; machine = qbitsim.Machine(); machine.add_disk('drive0', '1M')\n"
        "machine.qmp('query-block')\n"
        "machine.qmp('eject', device='drive0')\n"
        "print([name for name in sys.modules if name.startswith('qbitsim.devices')])"
    )
    shown = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == "[]"


def test_a_new_process_has_the_same_devices() -> None:
    machine = Machine(machine_type="pc")
    for name in ("a.qcow2", "b.qcow2", "c.qcow2"):
        machine.images.create(name, "qcow2", 1 << 20)
    add_drive(machine, {"file": "a.qcow2"})
    add_drive(machine, {"file": "b.qcow2", "if": "none", "id": "d0"})
    file = {"driver": "file", "filename": "c.qcow2"}
    machine.add_node({"driver": "qcow2", "node-name": "n0", "file": file})
    machine.add_node({"driver": "null-co", "node-name": "nul"})
    plug_board_drives(machine)
    for options in ("virtio-scsi-pci", "scsi-hd,drive=d0,id=hd", "virtio-blk-pci,drive=n0,id=vd"):
        add_device(machine, options)
    before = [(each["device"], each["qdev"]) for each in machine.qmp("query-block")]
    machine.execute("device_add", {"driver": "scsi-hd", "drive": "nul"})
    machine.restart()
    assert [(each["device"], each["qdev"]) for each in machine.qmp("query-block")] == before
    assert machine.graph.nodes["n0"].monitor_owned


def test_a_device_may_have_the_id_of_one_that_is_not_freed_yet(machine: Machine) -> None:
    add_device(machine, "virtio-scsi-pci,id=s0")
    add_device(machine, "scsi-hd,drive=n0,id=hd")
    machine.qmp("device_del", id="hd")
    machine.execute("device_add", {"driver": "scsi-hd", "drive": "n1", "id": "hd"})
    assert [each["inserted"]["node-name"] for each in machine.qmp("query-block")] == ["n0", "n1"]
    with pytest.raises(QmpError, match="Node n0 is in use"):
        machine.qmp("blockdev-del", node_name="n0")
    machine.settle()
    assert [each["inserted"]["node-name"] for each in machine.qmp("query-block")] == ["n1"]
    machine.qmp("blockdev-del", node_name="n0")


@pytest.mark.parametrize("profile", ["7.2", "10.0", "11.1"])
def test_a_pc_has_a_processor(profile: str) -> None:
    (processor,) = Machine(profile, machine_type="q35").qmp("query-cpus-fast")
    assert processor["qom-path"] == "/machine/unattached/device[0]"
    assert processor["target"] == "x86_64"
    assert ("qom-type" in processor) == (profile == "11.1")
    assert Machine(profile).qmp("query-cpus-fast") == []


def test_io_threads_are_told_by_what_they_were_given() -> None:
    machine = Machine("11.1")
    machine.execute("object-add", {"qom-type": "iothread", "id": "io0", "poll-max-ns": 5})
    (thread,) = machine.qmp("query-iothreads")
    assert thread["id"] == "io0"
    assert (thread["poll-max-ns"], thread["poll-grow"], thread["poll-weight"]) == (5, 2, 3)


def test_a_path_without_a_slash_begins_among_the_devices_with_an_id() -> None:
    machine = Machine("10.0", machine_type="pc")
    machine.add_node({"driver": "null-co", "node-name": "n"})
    machine.execute("device_add", {"driver": "virtio-blk", "id": "disk", "drive": "n"})
    for name in ("disk/virtio-backend", "/machine/peripheral/disk/virtio-backend"):
        machine.execute("human-monitor-command", {"command-line": f'qemu-io -d {name} "write 0 512"'})
        assert "wrote 512/512 bytes" in machine.take_stdout()


def test_a_node_goes_to_another_thread_unless_a_device_uses_it(machine: Machine) -> None:
    for name in ("io0", "io1"):
        machine.execute("object-add", {"qom-type": "iothread", "id": name})
    add_device(machine, "virtio-scsi,id=bus,iothread=io0")
    add_device(machine, "scsi-hd,drive=n0,bus=bus.0")
    add_device(machine, "virtio-blk,drive=n1,iothread=")
    machine.images.create("d.raw", "raw", 1 << 20)
    add_drive(machine, {"id": "d", "file": "d.raw", "format": "raw", "node-name": "free"})

    def move(node: str, thread: str | None) -> None:
        arguments = {"node-name": node, "iothread": thread, "force": True}
        machine.execute("x-blockdev-set-iothread", arguments)

    for node, threads in {"n0": ["io0"], "n1": [None], "free": ["io0", "io1", None]}.items():
        for thread in threads:
            move(node, thread)
    for node, thread in [("n0", None), ("n0", "io1"), ("n1", "io0")]:
        with pytest.raises(QmpError, match=r"^Cannot change iothread of active block backend$"):
            move(node, thread)
    with pytest.raises(QmpError, match=r"^Device 'io2' not found$"):
        add_device(machine, "virtio-blk,drive=free,iothread=io2")
