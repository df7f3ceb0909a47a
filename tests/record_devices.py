"""Makes qbitsim/devices/recorded/RELEASE-*.json: what a real QEMU says about its types and their properties.

    python tests/record_devices.py 10.0 qemu-system-x86_64

The second argument, and what follows it, is the command that runs a QEMU of that release. Some types end a QEMU that is
asked for their properties as objects, or let it loop; such types are left out there.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from qbitsim.devices.properties import PropertyLists
from qbitsim.machine.machine import MACHINE_TYPES

FOLDER = Path(__file__).parents[1] / "qbitsim" / "devices" / "recorded"
ARGUMENTS = ("-accel", "tcg", "-S", "-nodefaults", "-display", "none", "-qmp", "stdio")
LINE = re.compile(r'name "(?P<name>[^"]*)"(?:, bus [^,]*)?(?:, alias "(?P<alias>[^"]*)")?')
PATIENCE = 10
"""Seconds for all answers."""


def asked(name: str, **arguments: Any) -> str:
    return json.dumps({"execute": name, "arguments": arguments}) + "\n"


def answers(
    qemu: tuple[str, ...], requests: list[str], *, machine: str = "none", more: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """The replies to all requests, or to those before the one that ended QEMU or let it loop for ever."""
    command = [*qemu, "-machine", machine, *more, *ARGUMENTS]
    talk = "".join([asked("qmp_capabilities"), *requests, asked("quit")]).encode()
    try:
        said = subprocess.run(command, input=talk, capture_output=True, check=False, timeout=PATIENCE).stdout
    except subprocess.TimeoutExpired as over:
        said = over.stdout or b""
    messages = [json.loads(line) for line in said.splitlines() if line.endswith(b"}")]
    return [each for each in messages if "return" in each or "error" in each][1 : len(requests) + 1]


def property_lists(qemu: tuple[str, ...], command: str, names: list[str]) -> dict[str, Any]:
    """What a command says of each type; of those that it refuses, and of those that end QEMU, nothing."""
    found: dict[str, Any] = {}
    left = names
    while left:
        told = answers(qemu, [asked(command, typename=name) for name in left])
        found |= {name: each["return"] for name, each in zip(left, told, strict=False) if "return" in each}
        left = left[len(told) + 1 :]
    return PropertyLists.packed(found)


def creatable(qemu: tuple[str, ...]) -> tuple[list[str], dict[str, str]]:
    """The types that ``-device`` takes, and alias -> type."""
    text = subprocess.run([*qemu, "-device", "help"], capture_output=True, text=True, check=True).stdout
    found = [match for match in map(LINE.match, text.splitlines()) if match is not None]
    return [each["name"] for each in found], {each["alias"]: each["name"] for each in found if each["alias"]}


def instances(qemu: tuple[str, ...], names: list[str]) -> dict[str, Any]:
    """Names and types of what each device has that can be plugged into a q35 without more ado."""
    found = {}
    buses = [word for each in ("virtio-serial-pci", "ich9-intel-hda", "virtio-scsi-pci") for word in ("-device", each)]
    for name in names:
        more = (*buses, "-device", f"{name},id=x", *(("-usb",) if name.startswith("usb-") else ()))
        told = answers(qemu, [asked("qom-list", path="/machine/peripheral/x")], machine="q35", more=more)
        if told and "return" in told[0]:
            found[name] = told[0]["return"]
    return PropertyLists.packed(found)


def lines(entries: dict[str, Any]) -> str:
    """A list on lines of its own elements, a tree on lines of its own members."""
    parts = []
    for name, value in entries.items():
        if isinstance(value, list):
            text = "[\n" + ",\n".join(json.dumps(each, separators=(",", ":")) for each in value) + "\n]"
        elif isinstance(value, dict) and any(isinstance(each, (dict, list)) for each in value.values()):
            text = lines(value)
        else:
            members = (f"{json.dumps(key)}:{json.dumps(each)}" for key, each in value.items())
            text = "{\n" + ",\n".join(members) + "\n}"
        parts.append(f'"{name}": {text}')
    return "{" + ",\n".join(parts) + "}"


def machine_objects(qemu: tuple[str, ...]) -> dict[str, Any]:
    """What each kind of machine has right below it."""
    asking = [asked("qom-list", path="/machine")]
    return PropertyLists.packed({kind: answers(qemu, asking, machine=kind)[0]["return"] for kind in MACHINE_TYPES})


def main(release: str, *qemu: str) -> None:
    listed = answers(qemu, [asked("qom-list-types", abstract=True)])[0]["return"]
    names = [each["name"] for each in listed]
    devices, aliases = creatable(qemu)
    recorded = {
        "types": {
            "types": {each["name"]: each.get("parent", "") for each in listed},
            "abstract": sorted(each["name"] for each in listed if each.get("abstract")),
            "creatable": devices,
            "aliases": aliases,
        },
        "device-properties": property_lists(qemu, "device-list-properties", names),
        "object-properties": property_lists(qemu, "qom-list-properties", names),
        "instances": instances(qemu, devices),
        "machine-objects": machine_objects(qemu),
    }
    FOLDER.mkdir(exist_ok=True)
    for name, told in recorded.items():
        (FOLDER / f"{release}-{name}.json").write_text(lines(told) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
