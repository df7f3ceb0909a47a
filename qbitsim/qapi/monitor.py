"""What the monitor says about itself and about the machine (control, introspect, run-state and misc in qapi/)."""

from __future__ import annotations

from typing import Annotated, Any, NotRequired

from qbitsim.enums import StrEnum
from qbitsim.qapi.schema import Feature, branch, note, union
from qbitsim.qapi.structs import struct
from qbitsim.qapi.typed_dicts import TypedDict


class QMPCapability(StrEnum):
    """Capabilities that a client can enable."""

    OOB = "oob"


class VersionTriple(TypedDict):
    """A release."""

    major: int
    minor: int
    micro: int


class VersionInfo(TypedDict):
    """What query-version returns."""

    qemu: VersionTriple
    package: str


class CommandInfo(TypedDict):
    """A command in query-commands."""

    name: str


class NameInfo(TypedDict):
    """What query-name returns."""

    name: NotRequired[str]


class UuidInfo(TypedDict):
    """What query-uuid returns."""

    UUID: str


class KvmInfo(TypedDict):
    """What query-kvm returns."""

    enabled: bool
    present: bool


class YankInstanceType(StrEnum):
    """What a connection belongs to."""

    BLOCK_NODE = "block-node"
    CHARDEV = "chardev"
    MIGRATION = "migration"


@union("type")
@struct
class YankInstance:
    """Something that can be cut off from its peer."""

    type: YankInstanceType


@branch(YankInstance, YankInstanceType.BLOCK_NODE)
@struct
class YankInstanceBlockNode(YankInstance):
    """The connection of a block node."""

    node_name: str


@branch(YankInstance, YankInstanceType.CHARDEV)
@struct
class YankInstanceChardev(YankInstance):
    """The connection of a character device."""

    id: str


class RunState(StrEnum):
    """States of the machine."""

    DEBUG = "debug"
    INMIGRATE = "inmigrate"
    INTERNAL_ERROR = "internal-error"
    IO_ERROR = "io-error"
    PAUSED = "paused"
    POSTMIGRATE = "postmigrate"
    PRELAUNCH = "prelaunch"
    FINISH_MIGRATE = "finish-migrate"
    RESTORE_VM = "restore-vm"
    RUNNING = "running"
    SAVE_VM = "save-vm"
    SHUTDOWN = "shutdown"
    SUSPENDED = "suspended"
    WATCHDOG = "watchdog"
    GUEST_PANICKED = "guest-panicked"
    COLO = "colo"


class StatusInfo(TypedDict):
    """What query-status returns."""

    running: bool
    singlestep: Annotated[NotRequired[bool], note(until="9.0", required=True)]
    status: RunState


class SchemaMetaType(StrEnum):
    """Kinds of entries of query-qmp-schema."""

    BUILTIN = "builtin"
    ENUM = "enum"
    ARRAY = "array"
    OBJECT = "object"
    ALTERNATE = "alternate"
    COMMAND = "command"
    EVENT = "event"


class JSONType(StrEnum):
    """What a builtin type is on the wire."""

    STRING = "string"
    NUMBER = "number"
    INT = "int"
    BOOLEAN = "boolean"
    NULL = "null"
    OBJECT = "object"
    ARRAY = "array"
    VALUE = "value"


_SchemaInfo = TypedDict(
    "_SchemaInfo",
    {"name": str, "meta-type": SchemaMetaType, "features": Annotated[NotRequired[list[str]], note(since="4.1")]},
)


@union("meta-type")
class SchemaInfo(_SchemaInfo):
    """An entry of query-qmp-schema."""


_Builtin = TypedDict("_Builtin", {"json-type": JSONType})
_Array = TypedDict("_Array", {"element-type": str})
_Command = TypedDict(
    "_Command",
    {"arg-type": str, "ret-type": str, "allow-oob": Annotated[NotRequired[bool], note(since="2.12")]},
)
_Event = TypedDict("_Event", {"arg-type": str})


class SchemaInfoEnumMember(TypedDict):
    """A value of an enumeration."""

    name: str
    features: NotRequired[list[str]]


class SchemaInfoObjectMember(TypedDict):
    """A member of an object; a ``default``, always null, says that it is optional."""

    name: str
    type: str
    default: NotRequired[Any]
    features: Annotated[NotRequired[list[str]], note(since="5.0")]


class SchemaInfoObjectVariant(TypedDict):
    """The members that a value of the tag adds."""

    case: str
    type: str


class SchemaInfoAlternateMember(TypedDict):
    """One of the types of an alternate."""

    type: str


@branch(SchemaInfo, SchemaMetaType.BUILTIN)
class SchemaInfoBuiltin(SchemaInfo, _Builtin):
    """A builtin type."""


@branch(SchemaInfo, SchemaMetaType.ENUM)
class SchemaInfoEnum(SchemaInfo):
    """An enumeration."""

    members: Annotated[NotRequired[list[SchemaInfoEnumMember]], note(since="6.2", required=True)]
    values: Annotated[list[str], note(features=[Feature("deprecated", since="6.2")])]


@branch(SchemaInfo, SchemaMetaType.ARRAY)
class SchemaInfoArray(SchemaInfo, _Array):
    """An array."""


@branch(SchemaInfo, SchemaMetaType.OBJECT)
class SchemaInfoObject(SchemaInfo):
    """An object, perhaps with variants."""

    members: list[SchemaInfoObjectMember]
    tag: NotRequired[str]
    variants: NotRequired[list[SchemaInfoObjectVariant]]


@branch(SchemaInfo, SchemaMetaType.ALTERNATE)
class SchemaInfoAlternate(SchemaInfo):
    """Types that differ in their JSON type."""

    members: list[SchemaInfoAlternateMember]


@branch(SchemaInfo, SchemaMetaType.COMMAND)
class SchemaInfoCommand(SchemaInfo, _Command):
    """A command."""


@branch(SchemaInfo, SchemaMetaType.EVENT)
class SchemaInfoEvent(SchemaInfo, _Event):
    """An event."""
