"""The objects of a machine by QOM path: devices, what ``object-add`` made, and the places where these are.

Which other objects a board has, and what they are like, is not told: such paths are refused. Children are listed in the
order in which they came; real QEMU lists them in that of a hash table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qbitsim.devices import properties, throttle_properties
from qbitsim.devices.attaching import replace_node
from qbitsim.devices.properties import descriptions
from qbitsim.errors import QmpError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qbitsim.block.throttle_group import ThrottleGroup
    from qbitsim.devices.device import Device
    from qbitsim.devices.processors import Processors
    from qbitsim.devices.properties import Descriptions
    from qbitsim.devices.tree import DeviceTree
    from qbitsim.jsontypes import Json
    from qbitsim.profiles import Profile

_MACHINE_TYPES = {"none": "none-machine", "pc": "pc-i440fx-{}-machine", "q35": "pc-q35-{}-machine"}
_CONTAINERS = ("/machine/peripheral", "/machine/peripheral-anon", "/objects", "/chardevs")
_OTHERS = ("/machine/", "/backend", "/audiodevs")
_UNSET: dict[str, Any] = {"str": "", "bool": False, "OnOffAuto": "auto", "BlockdevOnError": "auto", "size": 0}
_REALIZED: dict[str, Any] = {"logical_block_size": 512, "physical_block_size": 512, "num-queues": 1, "bootindex": -1}
_CHANGEABLE = ("bootindex", "realized")


class Objects:
    """What is at which path; made for one request.

    :param objects: what ``object-add`` made, *groups* of which are groups of throttling, *chardevs* -> type.
    :param has_guest: whether there is a machine at all.
    """

    __slots__ = ("_chardevs", "_groups", "_has_guest", "_objects", "_processors", "_profile", "_tree")

    def __init__(
        self,
        tree: DeviceTree,
        profile: Profile,
        objects: Mapping[str, Json],
        groups: Mapping[str, ThrottleGroup],
        chardevs: Mapping[str, str],
        *,
        processors: Processors | None,
        has_guest: bool,
    ) -> None:
        self._tree = tree
        self._profile = profile
        self._objects = objects
        self._groups = groups
        self._chardevs = chardevs
        self._processors = processors
        self._has_guest = has_guest

    # -- what commands ask

    def properties(self, path: str) -> list[Json]:
        """The properties and children of an object, as qom-list tells them.

        :raises QmpError: there is none at that path.
        """
        found = self._resolve(path)
        if self._processor(found) is not None:
            assert self._processors is not None
            return [{"name": name, "type": kind} for name, kind in self._processors.properties(self._profile).items()]
        own = [{"name": "type", "type": "string"}]
        if found == "/":
            return own + [_child(name, kind) for name, kind in self._root().items()]
        if found == "/machine":
            return descriptions(self._profile).machine_objects[self._tree.machine]
        if found in _CONTAINERS:
            return own + [_child(name, kind) for name, kind in self._children(found).items()]
        device = self._device(found)
        if device is None:
            raise UnsupportedError(f"the properties of '{path}'")
        kind = self._type_at(device, found)
        described = descriptions(self._profile)
        known = described.instances.get(kind)
        if known is None and not (device.type.bus == "PCI" and found == device.path):
            known = described.object_properties.get(kind)
        if known is None:
            raise UnsupportedError(f"the properties of '{path}'")
        return [{"name": each["name"], "type": each["type"]} for each in known]

    def get(self, path: str, name: str) -> Any:
        """The value of a property.

        :raises QmpError: there is no such object or property.
        """
        found = self._resolve(path)
        number = self._processor(found)
        if number is not None:
            assert self._processors is not None
            return self._processors.value(self._profile, number, name)
        if name == "type":
            return self._type_of(found)
        group = self._group(found)
        if group is not None:
            return throttle_properties.value_of(group, name)
        device = self._device(found)
        if device is None:
            return self._of_object(found, name)
        self._check_property(device, found, name)
        return _value_of(self._profile, device, found, name)

    def set(self, path: str, name: str, value: Any) -> None:
        """Give a property another value.

        :raises QmpError: there is no such object or property, or it does not take that.
        """
        found = self._resolve(path)
        group = self._group(found)
        if group is not None:
            throttle_properties.set_value(group, name, value, self._profile)
            return
        device = self._device(found)
        if device is None:
            raise UnsupportedError(f"qom-set of '{name}' of '{path}'")
        kind = self._check_property(device, found, name)
        if name == "drive" and device.type.disk is not None:
            if not isinstance(value, str):
                raise QmpError("Invalid parameter type for 'drive', expected: string")
            replace_node(device, value)
            return
        parsed = properties.parse(name, kind, value, from_json=True)
        if name not in _CHANGEABLE:
            owner = self._type_at(device, device.disk_path)
            called = f"device '{device.id}'" if device.id and owner == device.type.name else "anonymous device"
            raise QmpError(f"Attempt to set property '{name}' on {called} (type '{owner}') after it was realized")
        if name == "realized" and not parsed:
            raise UnsupportedError("qom-set of 'realized' to false")
        if name == "bootindex":
            device.values[name] = parsed

    # -- what is where

    def _resolve(self, path: str) -> str:
        """The whole path that is meant by it, or by the end of it (object_resolve_path, qom/object.c)."""
        if path.startswith("/"):
            whole = path.rstrip("/") or "/"
            if self._is_there(whole) or self._processor(whole) is not None:
                return whole
            if self._tree.machine != "none" and whole.startswith(_OTHERS) and "peripheral" not in whole:
                raise UnsupportedError(f"the object '{path}'")
        else:
            ends = [whole for whole in self._paths() if path and whole.endswith(f"/{path}")]
            if len(ends) > 1 or not path:
                raise QmpError(f"Path '{path}' is ambiguous")
            if ends:
                return ends[0]
        raise QmpError(f"Device '{path}' not found", "DeviceNotFound")

    def _is_there(self, path: str) -> bool:
        if path in ("/objects", "/chardevs") and path[1:] not in self._root():
            return False
        if path.startswith("/machine") and not self._has_guest:
            return False
        return path in ("/", "/machine", *_CONTAINERS) or self._device(path) is not None or self._is_object(path)

    def _paths(self) -> list[str]:
        devices = [path for device in self._tree.devices.values() for path in {device.path, device.disk_path}]
        return ["/machine", *_CONTAINERS, *devices, *(f"/objects/{name}" for name in self._children("/objects"))]

    def _root(self) -> dict[str, str]:
        """Name -> type of what is at the top; releases of old make most places only when something comes there."""
        made_early = self._profile.root_containers_made_early
        on_board = self._tree.machine != "none"
        there = {
            "backend": made_early or self._tree.parts.graphics > 0,
            "machine": self._has_guest,
            "objects": made_early or on_board or bool(self._children("/objects")),
            "chardevs": made_early or bool(self._chardevs),
            "audiodevs": self._profile.root_has_audiodevs,
        }
        return {name: self._type_of(f"/{name}") for name, wanted in there.items() if wanted}

    def _device(self, path: str) -> Device | None:
        return next((each for each in self._tree.devices.values() if path in (each.path, each.disk_path)), None)

    def _group(self, path: str) -> ThrottleGroup | None:
        place, _, name = path.rpartition("/")
        return self._groups.get(name) if place == "/objects" else None

    def _processor(self, path: str) -> int | None:
        return self._processors.number_at(path) if self._processors is not None else None

    def _is_object(self, path: str) -> bool:
        place, _, name = path.rpartition("/")
        return place == "/objects" and name in self._children("/objects")

    def _children(self, container: str) -> dict[str, str]:
        """Name -> type of what is in a container."""
        if container == "/chardevs":
            return dict(self._chardevs)
        if container == "/objects":
            board = {"pc.ram": "memory-backend-ram"} if self._tree.machine != "none" else {}
            made = {name: str(given["qom-type"]) for name, given in self._objects.items()}
            return board | made | dict.fromkeys(self._groups, "throttle-group")
        devices = {path: device.type.name for path, device in self._tree.devices.items()}
        return {path.rpartition("/")[2]: kind for path, kind in devices.items() if path.rpartition("/")[0] == container}

    def _below(self, path: str) -> dict[str, str]:
        """Name -> type of what is right below a place."""
        if path == "/":
            return self._root()
        if path == "/machine":
            told = descriptions(self._profile).machine_objects[self._tree.machine]
            return {each["name"]: each["type"] for each in told if each["type"].startswith("child<")}
        return self._children(path) if path in _CONTAINERS else {}

    def _type_of(self, path: str) -> str:
        if path == "/machine":
            return _MACHINE_TYPES[self._tree.machine].format(self._profile.name)
        device = self._device(path)
        if device is not None:
            return self._type_at(device, path)
        return self._children("/objects").get(path.rpartition("/")[2], "container")

    def _type_at(self, device: Device, path: str) -> str:
        if path == device.path:
            return device.type.name
        return device.type.backend or ("scsi-cd" if device.removable else "scsi-hd")

    def _check_property(self, device: Device, path: str, name: str) -> str:
        kind = self._type_at(device, path)
        known = descriptions(self._profile).object_properties.get(kind, [])
        found = next((each["type"] for each in known if each["name"] == name), None)
        if found is None:
            found = descriptions(self._profile).kind(kind, name) if known else None
        if found is None:
            raise QmpError(f"Property '{kind}.{name}' not found")
        return str(found)

    def _of_object(self, path: str, name: str) -> Any:
        given = self._objects.get(path.removeprefix("/objects/"), {}) if path.startswith("/objects/") else {}
        if name in given:
            return given[name]
        if name in self._below(path):
            return f"{path.rstrip('/')}/{name}"
        if path == "/" or path in _CONTAINERS:
            raise QmpError(f"Property 'container.{name}' not found")
        raise UnsupportedError(f"the property '{name}' of '{path}'")


def _child(name: str, kind: str) -> Json:
    return {"name": name, "type": f"child<{kind}>"}


def _value_of(profile: Profile, device: Device, path: str, name: str) -> Any:
    drive = device.drive
    if name == "drive":
        if drive is None or (not drive.id and drive.root is None):
            return ""
        return drive.id or drive.node.name
    if name == "parent_bus":
        assert device.bus is not None
        return device.bus.path if device.bus.owner is not None else _board_bus(device.bus.name)
    if name == "realized":
        return True
    if name == "virtio-backend":
        return device.disk_path
    if name in ("scsi-id", "lun") and isinstance(device.place, tuple):
        return device.place[name == "lun"]
    if name in device.values and name != "addr":
        return device.values[name]
    if name in _REALIZED:
        return _REALIZED[name]
    known = descriptions(profile)
    kind = device.type.name if path == device.path else device.type.backend
    described: Json = next((each for each in known.device_properties.get(kind, []) if each["name"] == name), {})
    if "default-value" in described:
        return described["default-value"]
    if described.get("type") in _UNSET:
        return _UNSET[described["type"]]
    raise UnsupportedError(f"the property '{name}' of '{path}'")


def _board_bus(name: str) -> str:
    hosts = {"pci.0": "i440fx", "pcie.0": "q35"}
    if name not in hosts:
        raise UnsupportedError(f"the path of the bus '{name}'")
    return f"/machine/{hosts[name]}/{name}"


def types(profile: Profile, implements: str | None, *, abstract: bool) -> list[Json]:
    """The types that the release has, as qom-list-types tells them.

    :param implements: only those that are of this type.
    :param abstract: those too of which there are no objects.
    :raises UnsupportedError: it is an interface; which types have it nobody has asked.
    """
    known = descriptions(profile)
    if implements is not None and "interface" in known.ancestors(implements):
        raise UnsupportedError(f"qom-list-types of '{implements}'")
    return [
        _type_info(known, name)
        for name in known.types
        if (abstract or name not in known.abstract) and implements in (None, *known.ancestors(name))
    ]


def _type_info(known: Descriptions, name: str) -> Json:
    info: Json = {"name": name}
    if name in known.abstract:
        info["abstract"] = True
    if known.types[name]:
        info["parent"] = known.types[name]
    return info


def class_properties(profile: Profile, name: str) -> list[Json]:
    """What objects of a type have, as qom-list-properties tells it.

    :raises QmpError: there is no such type.
    """
    known = descriptions(profile)
    if name in known.object_properties:
        return known.object_properties[name]
    if name not in known.types:
        raise QmpError(f"Class '{name}' not found", "DeviceNotFound")
    raise UnsupportedError(f"the properties of '{name}'")
