"""What is known of a server's commands: the reply of ``query-qmp-schema``, looked up by name.

A server that is too old to answer it (before QEMU 2.5) has names of commands only; :attr:`Schema.has_types` is False
then, and nothing is known of arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from qbitsim.jsontypes import Json

UNKNOWN = "?"
"""The name of the type of which nothing is known."""

_FEW = 6  # values of an enumeration that are written out


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an object: its name, the name of its type, and whether it may be left out."""

    name: str
    type: str
    optional: bool


class Schema:
    """The types of a server.

    :param entries: the reply of ``query-qmp-schema``.
    :ivar has_types: whether anything is known but the names of commands.
    """

    def __init__(self, entries: Iterable[Json]) -> None:
        self._entries = {entry["name"]: entry for entry in entries}
        self.has_types = True

    @classmethod
    def of_names(cls, names: Iterable[str]) -> Schema:
        """The schema of a server of which only names of commands are known."""
        schema = cls({"name": name, "meta-type": "command", "arg-type": UNKNOWN} for name in names)
        schema.has_types = False
        return schema

    @cached_property
    def commands(self) -> list[str]:
        """The names of all commands."""
        return self._named("command")

    @cached_property
    def events(self) -> list[str]:
        """The names of all events."""
        return self._named("event")

    def _named(self, kind: str) -> list[str]:
        return sorted(name for name, entry in self._entries.items() if entry["meta-type"] == kind)

    def arguments(self, command: str) -> str:
        """The type of a command's arguments."""
        entry = self._entries.get(command)
        return str(entry["arg-type"]) if entry is not None and entry["meta-type"] == "command" else UNKNOWN

    def returns(self, command: str) -> str:
        """The type of what a command returns."""
        return str(self._entries.get(command, {}).get("ret-type", UNKNOWN))

    def kind(self, name: str) -> str:
        """What a type is: object, enum, array, alternate, string, int, number, boolean, null or value (anything)."""
        entry = self._entries.get(name)
        if entry is None:
            return "value"
        return str(entry["json-type"] if entry["meta-type"] == "builtin" else entry["meta-type"])

    def values(self, name: str) -> list[str]:
        """The values of an enumeration; none for another type."""
        entry = self._entries.get(name, {})
        if entry.get("meta-type") != "enum":
            return []
        return [each["name"] for each in entry["members"]] if "members" in entry else list(entry["values"])

    def element(self, name: str) -> str:
        """The type of the elements of an array."""
        return str(self._entries[name]["element-type"])

    def choices(self, name: str) -> list[str]:
        """The types of an alternate; the type itself if it is none."""
        entry = self._entries.get(name, {})
        return [each["type"] for each in entry["members"]] if entry.get("meta-type") == "alternate" else [name]

    def kinds(self, name: str) -> dict[str, str]:
        """What a type is, or its choices are, each with the name of the type; see :meth:`kind`."""
        return {self.kind(each): each for each in self.choices(name)}

    def tag(self, name: str) -> str | None:
        """The member that says which variant of a union it is; None for an object that is no union."""
        found = self._entries.get(name, {}).get("tag")
        return None if found is None else str(found)

    def cases(self, name: str) -> list[str]:
        """The variants of a union."""
        return [each["case"] for each in self._entries.get(name, {}).get("variants", ())]

    def members(self, name: str, given: Mapping[str, str] | None = None) -> dict[str, Member]:
        """The members of an object.

        :param given: the values of the members, as far as they are known; they choose the variant of a union.
        """
        entry = self._entries.get(name, {})
        found = {
            each["name"]: Member(each["name"], each["type"], optional="default" in each)
            for each in entry.get("members", ())
        }
        chosen = (given or {}).get(entry.get("tag", ""))
        for variant in entry.get("variants", ()):
            if variant["case"] == chosen:
                found |= self.members(variant["type"], given)
        return found

    @cached_property
    def actions(self) -> dict[str, str]:
        """The types of the data of the actions of a transaction, by name."""
        actions = self.members(self.arguments("transaction")).get("actions")
        if actions is None or self.kind(actions.type) != "array":
            return {}
        union = self.element(actions.type)
        data = {case: self.members(union, {self.tag(union) or "": case}).get("data") for case in self.cases(union)}
        return {case: member.type for case, member in data.items() if member is not None}

    def word(self, name: str) -> str:
        """A type in a word or two, for people."""
        kind = self.kind(name)
        if kind == "enum":
            values = self.values(name)
            return "|".join(values) if len(values) <= _FEW else f"{values[0]}|{values[1]}|..."
        if kind == "array":
            return f"[{self.word(self.element(name))}, ...]"
        if kind == "alternate":
            return " or ".join(dict.fromkeys(self.word(each) for each in self.choices(name)))
        return {"object": "{...}", "string": "text", "boolean": "on|off", "value": "anything"}.get(kind, kind)
