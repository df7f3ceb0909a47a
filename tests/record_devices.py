"""Makes qbitsim/devices/recorded/RELEASE.json: what a real QEMU says about its types and the properties of devices.

    python tests/record_devices.py 10.0 qemu-system-x86_64

The second argument, and what follows it, is the command that runs a QEMU of that release.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from qbitsim.devices.types import TYPES
from qbitsim.machine.machine import MACHINE_TYPES

OBJECTS = (
    *("iothread", "throttle-group", "secret"),
    *("memory-backend-ram", "memory-backend-file", "memory-backend-memfd"),
)
FOLDER = Path(__file__).parents[1] / "qbitsim" / "devices" / "recorded"


def asked(name: str, **arguments: Any) -> str:
    return json.dumps({"execute": name, "arguments": arguments}) + "\n"


def lines(answers: dict[str, Any]) -> str:
    parts = (f"{json.dumps(name)}:{json.dumps(each, separators=(',', ':'))}" for name, each in answers.items())
    return "{\n" + ",\n".join(parts) + "\n}"


def answered(qemu: tuple[str, ...], machine: str, requests: str) -> list[Any]:
    """What a machine of a kind returns."""
    arguments = ["-machine", machine, "-accel", "tcg", "-S", "-nodefaults", "-display", "none", "-qmp", "stdio"]
    said = subprocess.run(
        [*qemu, *arguments], input=requests + asked("quit"), capture_output=True, text=True, check=True
    ).stdout
    return [message["return"] for message in map(json.loads, said.splitlines()) if "return" in message]


def main(release: str, *qemu: str) -> None:
    devices = [*TYPES, *(kind.backend for kind in TYPES.values() if kind.backend)]
    every = [*devices, *OBJECTS]
    requests = asked("qmp_capabilities") + asked("qom-list-types", abstract=True)
    requests += "".join(asked("device-list-properties", typename=name) for name in devices)
    requests += "".join(asked("qom-list-properties", typename=name) for name in every)
    answers = answered(qemu, "none", requests)
    listed, rest = answers[1], answers[2:]
    types = {each["name"]: each.get("parent", "") for each in listed}
    abstract = sorted(each["name"] for each in listed if each.get("abstract"))
    parts = (
        ("abstract", json.dumps(abstract, separators=(",", ":"))),
        ("types", json.dumps(types, separators=(",", ":"), sort_keys=True)),
        ("device-properties", lines(dict(zip(devices, rest, strict=False)))),
        ("object-properties", lines(dict(zip(every, rest[len(devices) :], strict=False)))),
    )
    machines = {
        kind: answered(qemu, kind, asked("qmp_capabilities") + asked("qom-list", path="/machine"))[1]
        for kind in MACHINE_TYPES
    }
    parts = (*parts, ("machine-objects", lines(machines)))
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{release}.json").write_text("{" + ",\n".join(f'"{name}": {text}' for name, text in parts) + "}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
