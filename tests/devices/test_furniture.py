"""Devices that do nothing: on which bus they sit, which buses they bring, and who has which place there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import qbitsim.programs.qemu_system
from qbitsim.devices.furniture import find_type
from qbitsim.errors import QmpError
from qbitsim.machine.boot import add_device
from qbitsim.machine.machine import Machine
from qbitsim.profiles import profile

HELP = Path(qbitsim.programs.qemu_system.__file__).with_name("recorded")
OWN_BUSES = {"xen-sysbus"}
"""Buses of machines that there are not; what sits there sits on the bus of the system here."""


@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
def test_every_device_sits_on_the_bus_that_qemu_names(release: str) -> None:
    for line in (HELP / f"{release}-devices.txt").read_text().splitlines():
        found = re.match(r'name "([^"]*)"(?:, bus ([^,]*))?', line)
        if found is not None and found[2] not in OWN_BUSES:
            assert find_type(profile(release), found[1]).bus == (found[2] or ""), found[1]


@pytest.mark.parametrize(
    ("devices", "refusal"),
    [
        ("pcie-root-port,id=r,addr=2,multifunction=on e1000,addr=2.1 e1000,bus=r", None),
        ("pcie-root-port,id=r,addr=2 e1000,addr=2.1", "single function device can't be populated in function 2.1"),
        ("e1000,addr=2.1 e1000,addr=2", "2.0 indicates single function, but 2.1 is already populated"),
        ("pcie-root-port,id=r e1000,bus=r,addr=1", "slot 1 is not valid for e1000, parent device only allows"),
        ("ich9-usb-ehci1,id=u ich9-usb-uhci1,masterbus=u.0 usb-tablet,bus=u.0", None),
        ("ahci,id=a ide-cd,bus=a.5", None),
        ("ahci,id=a ide-cd,bus=a.6", "Bus 'a.6' not found"),
        ("virtserialport", "No 'virtio-serial-bus' bus found for device 'virtserialport'"),
        ("virtio-serial-pci virtserialport,nr=1", None),
        ("pci-testdev,nothing=1", "Property 'pci-testdev.nothing' not found"),
    ],
)
def test_places_and_buses(devices: str, refusal: str | None) -> None:
    machine = Machine(machine_type="q35")
    *first, last = devices.split()
    for each in first:
        add_device(machine, each)
    if refusal is None:
        add_device(machine, last)
        return
    before = machine.state()
    with pytest.raises(QmpError, match=re.escape(refusal)):
        add_device(machine, last)
    assert machine.state() == before


def test_a_backend_is_for_one_device(machine_with_network: Machine) -> None:
    machine_with_network.qmp("device_add", driver="virtio-net-pci", netdev="n")
    for name, why in (("n", "can't take value 'n', it's in use"), ("m", "can't find value 'm'")):
        with pytest.raises(QmpError, match=f"Property 'e1000.netdev' {why}"):
            machine_with_network.qmp("device_add", driver="e1000", netdev=name)


@pytest.fixture
def machine_with_network() -> Machine:
    machine = Machine(machine_type="pc")
    machine.qmp("netdev_add", type="user", id="n")
    return machine


def test_networks_have_names(machine_with_network: Machine) -> None:
    with pytest.raises(QmpError, match="Duplicate ID 'n'"):
        machine_with_network.qmp("netdev_add", type="user", id="n")
    with pytest.raises(QmpError, match="Parameter 'id' expects an identifier"):
        machine_with_network.qmp("netdev_add", type="user", id="1")
    machine_with_network.qmp("netdev_del", id="n")
    with pytest.raises(QmpError, match="Device 'n' not found"):
        machine_with_network.qmp("netdev_del", id="n")


def test_the_balloon(machine_with_network: Machine) -> None:
    machine = machine_with_network
    with pytest.raises(QmpError, match="No balloon device has been activated"):
        machine.qmp("query-balloon")
    machine.qmp("device_add", driver="virtio-balloon-pci")
    assert machine.qmp("query-balloon") == {"actual": 128 << 20}
    machine.qmp("balloon", value=1)
    with pytest.raises(QmpError, match="Parameter 'value' expects a size"):
        machine.qmp("balloon", value=0)
