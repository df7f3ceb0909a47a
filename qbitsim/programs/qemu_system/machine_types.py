"""The types of machines: names that decide which buses there are for drives and devices, and nothing else.

Which types there are is told by what each release printed of them (``-machine help``), read when it is needed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.recorded import recorded_json, recorded_text
from qbitsim.records import record

if TYPE_CHECKING:
    from qbitsim.machine.machine import MachineType as MachineKind
    from qbitsim.profiles import Profile

_LINE = r"(?P<name>\S+) +(?P<about>.*)"
_ALIAS = r"\(alias of (?P<name>\S+)\)"
_KINDS: dict[MachineKind, str] = {"pc": "pc-i440fx-", "q35": "pc-q35-"}
_PROPERTIES = frozenset(
    {"accel", "append", "boot", "confidential-guest-support", "dt-compatible", "dtb", "dump-guest-core", "dumpdtb"}
    | {"firmware", "graphics", "initrd", "kernel", "mem-merge", "memory", "memory-backend", "memory-encryption"}
    | {"phandle-start", "shim", "smp", "suppress-vmdesc", "usb", "x-igd-opregion"}
)
_PROPERTIES_OF_PC = frozenset(
    {"acpi", "acpi-dsdt", "default-bus-bypass-iommu", "fd-bootchk", "hmat", "hpet", "i8042", "igd-passthru"}
    | {"kernel-irqchip", "kvm-shadow-mem", "max-fw-size", "max-ram-below-4g", "nvdimm", "nvdimm-persistence"}
    | {"pcspk-audiodev", "pflash0", "pflash1", "pic", "pit", "rtc", "sata", "sgx-epc", "smbios-entry-point-type"}
    | {"smbus", "smm", "vmport", "x-oem-id", "x-oem-table-id", "x-south-bridge", "bus-lock-ratelimit", "cxl"}
)


@record(kw_only=True)
class MachineType:
    """A type of machine.

    :ivar name: without alias.
    :ivar kind: one of :data:`qbitsim.machine.machine.MACHINE_TYPES`.
    """

    name: str
    kind: MachineKind

    def check_property(self, name: str) -> None:
        """Refuse a property that it does not have.

        :raises QmpError: it does not.
        """
        if name not in _PROPERTIES and (self.name == "none" or name not in _PROPERTIES_OF_PC):
            raise QmpError(f"Property '{self.name}-machine.{name}' not found")


def recorded(profile: Profile, what: str) -> str:
    """What the release printed when it was asked for ``chardevs``, ``devices``, ``formats`` or ``machines``.

    :raises UnsupportedError: nobody has asked such a QEMU.
    """
    if profile.recorded_answers is None:
        raise UnsupportedError(f"the list of {what} of QEMU {profile.name}")
    return recorded_text(__file__, f"{profile.recorded_answers}-{what}.txt")


def recorded_objects(profile: Profile) -> dict[str, str]:
    """Kind of object that ``-object`` makes -> what the release printed of its properties.

    :raises UnsupportedError: nobody has asked such a QEMU.
    """
    if profile.recorded_answers is None:
        raise UnsupportedError(f"the list of objects of QEMU {profile.name}")
    known: dict[str, str] = recorded_json(__file__, f"{profile.recorded_answers}-objects.json")
    return known


def find_machine_type(profile: Profile, name: str | None) -> MachineType:
    """The type of that name, or the one that is the default.

    :raises QmpError: there is none.
    :raises UnsupportedError: it is not emulated.
    """
    if name == "none":
        return _type("none")
    for line in recorded(profile, "machines").splitlines()[1:]:
        found = re.fullmatch(_LINE, line)
        assert found is not None, line
        alias = re.search(_ALIAS, found["about"])
        if found["name"] == (name or "pc"):
            return _type(alias["name"] if alias is not None else found["name"])
    quoted = f': "{name}"' if profile.unknown_machine_type_is_named else ""
    raise QmpError(f"unsupported machine type{quoted}", hint="Use -machine help to list supported machines\n")


def _type(name: str) -> MachineType:
    if name == "none":
        return MachineType(name=name, kind="none")
    for kind, beginning in _KINDS.items():
        if name.startswith(beginning):
            return MachineType(name=name, kind=kind)
    raise UnsupportedError(f"the machine type '{name}'")
