"""What a device can be told: its properties, as a release describes them, and the values that they take.

The descriptions are those that QEMU 7.2, 10.0 and 11.1 (x86_64) gave to device-list-properties and qom-list-properties,
kept in files for each release, which are read when they are asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.recorded import recorded_json
from qbitsim.sizes import parse_size

if TYPE_CHECKING:
    from qbitsim.jsontypes import Json
    from qbitsim.profiles import Profile

_SWITCHES = {"on": True, "off": False, "yes": True, "no": False, "true": True, "false": False, "y": True, "n": False}
_VALUES = {
    "OnOffAuto": ("auto", "on", "off"),
    "BlockdevOnError": ("report", "ignore", "enospc", "stop", "auto"),
    "BiosAtaTranslation": ("auto", "none", "lba", "large", "rechs"),
    "FloppyDriveType": ("144", "288", "120", "none", "auto"),
    "FdcDriveType": ("144", "288", "120", "none", "auto"),
}
_BITS = {"int": 64, "busnr": 16, "int32": 32, "uint16": 16, "uint32": 32, "uint64": 64, "int64": 64, "uint8": 8}
_BLOCK_SIZES = ("logical_block_size", "physical_block_size")
_LEAST_BLOCK, _MOST_BLOCK = 512, 2 << 20


class PropertyLists(Mapping[str, "list[Json]"]):
    """Type -> what QEMU says of its properties, in QEMU's order.

    Most types share most of their properties with others. So each description is kept once, numbered in the order in
    which they come up, and a type has the numbers of its own, in ranges: ``0-22,40,51-60``.
    """

    __slots__ = ("_descriptions", "_numbers")

    def __init__(self, packed: Json) -> None:
        self._descriptions: list[Json] = packed["descriptions"]
        self._numbers: dict[str, str] = packed["numbers"]

    @staticmethod
    def packed(lists: Mapping[str, list[Json]]) -> Json:
        """The form in which such lists are kept."""
        import json  # noqa: PLC0415 - for those who record them

        numbered: dict[str, int] = {}
        numbers = {}
        for name, entries in lists.items():
            mine = [numbered.setdefault(json.dumps(entry), len(numbered)) for entry in entries]
            numbers[name] = ",".join(_range(run) for run in _runs(mine))
        return {"descriptions": [json.loads(text) for text in numbered], "numbers": numbers}

    def __getitem__(self, name: str) -> list[Json]:
        found: list[Json] = []
        for part in filter(None, self._numbers[name].split(",")):
            first, _, last = part.partition("-")
            found += self._descriptions[int(first) : int(last or first) + 1]
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of numbers that follow each other."""
    start = 0
    for position in range(1, len(numbers) + 1):
        if position == len(numbers) or numbers[position] != numbers[position - 1] + 1:
            yield numbers[start], numbers[position - 1]
            start = position


def _range(run: tuple[int, int]) -> str:
    first, last = run
    return str(first) if first == last else f"{first}-{last}"


class Descriptions:
    """What a release says of its types and their properties."""

    def __init__(self, release: str) -> None:
        self._release = release

    @cached_property
    def _types(self) -> Json:
        types: Json = recorded_json(__file__, f"{self._release}-types.json")
        return types

    @cached_property
    def types(self) -> dict[str, str]:
        """The name of every type -> that of its parent, empty for a root; in QEMU's order."""
        types: dict[str, str] = self._types["types"]
        return types

    @cached_property
    def abstract(self) -> frozenset[str]:
        """The types of which there are no objects."""
        return frozenset(self._types["abstract"])

    @cached_property
    def creatable(self) -> frozenset[str]:
        """The devices that clients can make."""
        return frozenset(self._types["creatable"])

    @cached_property
    def aliases(self) -> dict[str, str]:
        """Other names of such devices -> their own."""
        aliases: dict[str, str] = self._types["aliases"]
        return aliases

    @cached_property
    def device_properties(self) -> PropertyLists:
        """Type -> what device-list-properties says of it."""
        return PropertyLists(recorded_json(__file__, f"{self._release}-device-properties.json"))

    @cached_property
    def object_properties(self) -> PropertyLists:
        """Type -> what qom-list-properties says of it."""
        return PropertyLists(recorded_json(__file__, f"{self._release}-object-properties.json"))

    @cached_property
    def instances(self) -> PropertyLists:
        """Type -> what qom-list says of a device of it, as far as one could be made."""
        return PropertyLists(recorded_json(__file__, f"{self._release}-instances.json"))

    @cached_property
    def machine_objects(self) -> PropertyLists:
        """Kind of machine -> what qom-list says of ``/machine``."""
        return PropertyLists(recorded_json(__file__, f"{self._release}-machine-objects.json"))

    def ancestors(self, name: str) -> list[str]:
        """The type itself, its parent, and so on."""
        found = []
        while name:
            found.append(name)
            name = self.types.get(name, "")
        return found

    def settable(self, type_name: str) -> list[Json]:
        """What device-list-properties says of a type.

        :raises QmpError: there is no such device.
        :raises UnsupportedError: nobody has asked for it.
        """
        if type_name in self.device_properties:
            return self.device_properties[type_name]
        if type_name not in self.types:
            raise QmpError(f"Device '{type_name}' not found", "DeviceNotFound")
        if "device" not in self.ancestors(type_name) or type_name in self.abstract:
            raise QmpError("Parameter 'typename' expects a non-abstract device type")
        raise UnsupportedError(f"the properties of '{type_name}'")

    def kind(self, type_name: str, name: str) -> str | None:
        """The type of a property that can be set, None if there is none of that name."""
        return next((each["type"] for each in self.device_properties[type_name] if each["name"] == name), None)


def descriptions(profile: Profile) -> Descriptions:
    """Those of a release.

    :raises UnsupportedError: nobody has asked such a QEMU.
    """
    if profile.recorded_answers is None:
        raise UnsupportedError(f"the devices of QEMU {profile.name}")
    return _descriptions(profile.recorded_answers)


@cache
def _descriptions(release: str) -> Descriptions:
    return Descriptions(release)


def parse(name: str, kind: str, given: Any, *, from_json: bool) -> Any:
    """The value of a property.

    :param kind: its type as QEMU names it: ``bool``, ``uint32``, ``OnOffAuto``.
    :param from_json: it has a type of its own; otherwise it is a text from a command line.
    :raises QmpError: it does not fit (qapi/qobject-input-visitor.c, QEMU 10.0).
    """
    if kind in _VALUES:
        if not isinstance(given, str):
            raise _wrong_type(name, "string")
        if given not in _VALUES[kind]:
            raise QmpError(f"Parameter '{name}' does not accept value '{given}'")
        return given
    if kind == "bool":
        return _switch(name, given, from_json=from_json)
    if kind in _BITS:
        return _number(name, kind, given, from_json=from_json)
    if kind == "size":
        return _size(name, given, from_json=from_json)
    if kind == "list" or kind.endswith("List"):
        if from_json and not isinstance(given, list):
            raise _wrong_type(name, "array")
        return given
    if not isinstance(given, str):
        raise _wrong_type(name, "string")
    return given


def _wrong_type(name: str, expected: str) -> QmpError:
    return QmpError(f"Invalid parameter type for '{name}', expected: {expected}")


def _switch(name: str, given: Any, *, from_json: bool) -> bool:
    if from_json:
        if not isinstance(given, bool):
            raise _wrong_type(name, "boolean")
        return given
    if given not in _SWITCHES:
        raise QmpError(f"Parameter '{name}' expects 'on' or 'off'")
    return _SWITCHES[given]


def _number(name: str, kind: str, given: Any, *, from_json: bool) -> int:
    if from_json:
        if type(given) is not int:
            raise _wrong_type(name, "integer")
        number: int = given
    else:
        try:
            number = int(given, 0)
        except ValueError:
            raise QmpError(f"Parameter '{name}' expects integer") from None
    bits = _BITS[kind]
    least, most = (0, 1 << bits) if kind.startswith("u") else (-(1 << (bits - 1)), 1 << (bits - 1))
    if not least <= number < most:
        raise QmpError(f"Parameter '{name}' expects {kind}_t")
    return number


def _size(name: str, given: Any, *, from_json: bool) -> int:
    if from_json:
        if type(given) is not int:
            raise _wrong_type(name, "integer")
        return int(given)
    try:
        return parse_size(given)
    except ValueError:
        raise QmpError(f"Parameter '{name}' expects size") from None


def slot_and_function(type_name: str, given: Any) -> int:
    """A PCI address, ``5``, ``0x5`` or ``05.1``: eight times the slot, plus the function.

    :raises QmpError: it is none (set_pci_devfn, hw/core/qdev-properties-system.c).
    """
    if type(given) is int:
        return given
    try:
        slot, _, function = str(given).partition(".")
        numbers = int(slot, 16), int(function or "0", 16)
        if numbers[0] < 32 and numbers[1] < 8:
            return 8 * numbers[0] + numbers[1]
    except ValueError:
        pass
    raise QmpError(f"Property '{type_name}.addr' doesn't take value '{given}'")


def check_block_sizes(values: Mapping[str, Any], profile: Profile) -> None:
    """Refuse sizes of blocks that no disk has (hw/block/block.c, hw/core/qdev-properties-system.c, QEMU 10.0).

    :raises QmpError: they do not fit.
    """
    for name in _BLOCK_SIZES:
        size = values.get(name, 0)
        if size:
            _check_block_size(name, size, profile)
    logical = values.get("logical_block_size") or _LEAST_BLOCK
    if logical > (values.get("physical_block_size") or _LEAST_BLOCK):
        raise QmpError("logical_block_size > physical_block_size not supported")
    for name in ("min_io_size", "opt_io_size"):
        if values.get(name, 0) % logical:
            raise QmpError(f"{name} must be a multiple of logical_block_size")


def _check_block_size(name: str, size: int, profile: Profile) -> None:
    fits, power = _LEAST_BLOCK <= size <= _MOST_BLOCK, not size & (size - 1)
    if fits and power:
        return
    if profile.block_size_refused_in_one:
        raise QmpError(f"parameter {name} must be a power of 2 between {_LEAST_BLOCK} and {_MOST_BLOCK}")
    if not fits:
        raise QmpError(f"Property .{name} doesn't take value {size} (minimum: {_LEAST_BLOCK}, maximum: {_MOST_BLOCK})")
    raise QmpError(f"Property .{name} doesn't take value '{size}', it's not a power of 2")
