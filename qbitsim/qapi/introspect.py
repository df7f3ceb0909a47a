"""What query-qmp-schema and query-commands answer, derived from the declarations.

Theory of operation: first all commands and events in QEMU's order, then the types they
refer to, each at its first mention; a type that is mentioned while the list is written goes
to its end. Names of types are no interface: QEMU replaces them by numbers in the order of
mention (scripts/qapi/introspect.py), and so does :class:`_Catalogue`.

Only what is offered is listed: a driver that qbitsim refuses is not a value here, so that a
client that probes for a feature gets a true answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qbitsim.qapi.shapes import AlternateShape, ArrayShape, EnumShape, ObjectShape, ScalarShape

if TYPE_CHECKING:
    from qbitsim.qapi.registry import Command, Event, Registry
    from qbitsim.qapi.shapes import Member, Shape

    Entry = dict[str, Any]

_BUILTINS = {
    "string": ("str", "string"),
    "boolean": ("bool", "boolean"),
    "int": ("int", "int"),
    "number": ("number", "number"),
    "null": ("null", "null"),
    "any": ("any", "value"),
}


def query_commands(registry: Registry) -> list[dict[str, str]]:
    """The reply to query-commands: the names of all commands, as a list of CommandInfo."""
    return [{"name": name} for name in registry.names()]


def query_qmp_schema(registry: Registry) -> list[Entry]:
    """The reply to query-qmp-schema: a list of SchemaInfo."""
    catalogue = _Catalogue(registry)
    commands = {each.name: each for each in registry.commands()}
    for name in registry.ordered([*commands, *registry.events]):
        if name in commands:
            catalogue.add_command(commands[name])
        else:
            catalogue.add_event(registry.events[name])
    return catalogue.entries()


class _Catalogue:
    """The entries so far and the types they mention."""

    def __init__(self, registry: Registry) -> None:
        self._profile = registry.profile
        self._shapes = registry.shapes
        self._entries: list[Entry] = []
        self._mentioned: dict[str, Shape] = {}
        self._numbers: dict[object, str] = {}

    def add_command(self, command: Command) -> None:
        """Adds a command."""
        entry: Entry = {
            "name": command.name,
            "meta-type": "command",
            "arg-type": self._mention_class(command.arguments),
            "ret-type": self._mention_class(command.returns),
        }
        if command.allow_oob:
            entry["allow-oob"] = True
        self._append(entry, self._shapes.features(command.features))

    def add_event(self, event: Event) -> None:
        """Adds an event."""
        entry = {"name": event.name, "meta-type": "event", "arg-type": self._mention_class(event.data)}
        self._append(entry, self._shapes.features(event.features))

    def entries(self) -> list[Entry]:
        """Everything, with all types that were mentioned."""
        described = 0
        while described < len(self._mentioned):
            name, shape = list(self._mentioned.items())[described]
            self._describe(name, shape)
            described += 1
        return self._entries

    def _append(self, entry: Entry, features: tuple[str, ...] = ()) -> None:
        self._entries.append(self._featured(entry, features))

    def _featured(self, entry: Entry, features: tuple[str, ...]) -> Entry:
        if features and self._profile.schema_features:
            entry["features"] = list(features)
        return entry

    def _mention_class(self, annotation: object) -> str:
        """The name of the type of an annotation; None stands for the object without members."""
        return self._mention(_NOTHING if annotation is None else self._shapes.of(annotation))

    def _mention(self, shape: Shape) -> str:
        """The name of a type, which will get an entry."""
        name = self._name(shape)
        if name not in self._mentioned:
            self._mentioned[name] = shape
            if isinstance(shape, ArrayShape):
                self._mention(shape.element)
        return name

    def _name(self, shape: Shape) -> str:
        match shape:
            case ScalarShape():
                return _BUILTINS[shape.json][0]
            case ArrayShape():
                return f"[{self._name(shape.element)}]"
            case ObjectShape(members=(), tag=None):
                shape = _NOTHING
        return self._numbers.setdefault(shape, str(len(self._numbers)))

    def _describe(self, name: str, shape: Shape) -> None:
        """Appends the entry of a type."""
        match shape:
            case ScalarShape():
                self._append({"name": name, "meta-type": "builtin", "json-type": _BUILTINS[shape.json][1]})
            case ArrayShape():
                self._append({"name": name, "meta-type": "array", "element-type": self._mention(shape.element)})
            case AlternateShape():
                members = [{"type": self._mention(each)} for each in shape.choices]
                self._append({"name": name, "meta-type": "alternate", "members": members})
            case EnumShape():
                self._append(self._enumeration(name, shape))
            case ObjectShape():
                self._append(self._object(name, shape), shape.features)

    def _enumeration(self, name: str, shape: EnumShape) -> Entry:
        entry: Entry = {"name": name, "meta-type": "enum"}
        if self._profile.schema_enum_members:
            entry["members"] = [
                self._featured({"name": value}, shape.features.get(value, ())) for value in shape.values
            ]
        entry["values"] = list(shape.values)
        return entry

    def _object(self, name: str, shape: ObjectShape) -> Entry:
        entry: Entry = {
            "name": name,
            "meta-type": "object",
            "members": [self._member(each) for each in shape.members],
        }
        if shape.tag is not None:
            assert isinstance(shape.tag.shape, EnumShape)
            silent = [value for value in shape.tag.shape.values if value not in shape.variants]
            entry["tag"] = shape.tag.wire
            entry["variants"] = [
                {"case": value, "type": self._mention(shape.variants.get(value, _NOTHING))}
                for value in [*shape.variants, *silent]
            ]
        return entry

    def _member(self, member: Member) -> Entry:
        entry: Entry = {"name": member.wire, "type": self._mention(member.shape)}
        if member.optional:
            entry["default"] = None
        return self._featured(entry, member.features)


_NOTHING = ObjectShape(dict)
"""The object without members, which every command without arguments or data has in common."""
