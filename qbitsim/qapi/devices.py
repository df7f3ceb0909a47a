"""Devices of the guest: what their commands are given (qapi/qdev.json, qapi/qom.json; qapi/block.json for media)."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from qbitsim.enums import StrEnum
from qbitsim.jsontypes import JsonObject
from qbitsim.qapi.common import StrOrNull
from qbitsim.qapi.schema import arg, note, open_ended
from qbitsim.qapi.structs import struct
from qbitsim.qapi.typed_dicts import TypedDict


@open_ended
@struct
class DeviceAdd:
    """Arguments of device_add; the properties of the device come besides."""

    driver: str
    bus: str | None = None
    id: str | None = None

    @property
    def properties(self) -> JsonObject:
        """The arguments that are not declared."""
        given: JsonObject = self.__dict__.get(open_ended.__name__, {})
        return given


@struct
class DeviceDel:
    """Arguments of device_del: an id or a QOM path."""

    id: str


@struct
class DeviceListProperties:
    """Arguments of device-list-properties."""

    typename: str


@struct
class QomListProperties:
    """Arguments of qom-list-properties."""

    typename: str


@struct
class QomListTypes:
    """Arguments of qom-list-types: an ancestor of those wanted, and whether abstract ones are."""

    implements: str | None = None
    abstract: bool | None = None


@struct
class QomList:
    """Arguments of qom-list."""

    path: str


@struct
class QomGet:
    """Arguments of qom-get."""

    path: str
    property: str


@struct
class QomSet:
    """Arguments of qom-set."""

    path: str
    property: str
    value: Any


@struct
class XBlockdevSetIothread:
    """Arguments of x-blockdev-set-iothread; null stands for the main loop."""

    node_name: str
    iothread: StrOrNull
    force: bool | None = arg(since="2.12")


ObjectPropertyInfo = TypedDict(
    "ObjectPropertyInfo",
    {
        "name": str,
        "type": str,
        "description": NotRequired[str],
        "default-value": Annotated[NotRequired[Any], note(since="5.0")],
    },
)
"""A property of an object or of a type."""


class ObjectTypeInfo(TypedDict):
    """A type of objects."""

    name: str
    abstract: NotRequired[bool]
    parent: NotRequired[str]


class BlockdevChangeReadOnlyMode(StrEnum):
    """Whether another medium can be written."""

    RETAIN = "retain"
    READ_ONLY = "read-only"
    READ_WRITE = "read-write"


@struct
class BlockdevOpenTray:
    """Arguments of blockdev-open-tray."""

    device: str | None = arg(features=["deprecated"])
    id: str | None = arg(since="2.8")
    force: bool | None = None


@struct
class BlockdevCloseTray:
    """Arguments of blockdev-close-tray."""

    device: str | None = arg(features=["deprecated"])
    id: str | None = arg(since="2.8")


@struct
class BlockdevRemoveMedium:
    """Arguments of blockdev-remove-medium."""

    id: str


@struct
class BlockdevInsertMedium:
    """Arguments of blockdev-insert-medium."""

    id: str
    node_name: str


@struct
class BlockdevChangeMedium:
    """Arguments of blockdev-change-medium."""

    device: str | None = arg(features=["deprecated"])
    id: str | None = arg(since="2.8")
    filename: str
    format: str | None = None
    force: bool | None = arg(since="7.1")
    read_only_mode: BlockdevChangeReadOnlyMode | None = None
