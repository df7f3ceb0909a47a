"""Values as people write them in ``key=value``, and the JSON that they stand for; the schema says which.

* A text and a value of an enumeration stand as they are; in quotes, everything is a text.
* A number may be hexadecimal or a size: ``64k``.
  A boolean is ``on`` or ``off``, ``true`` or ``false``, ``yes`` or ``no``.
* An array is ``[...]`` or ``a,b``; an object is ``{...}``, both as JSON. The keys of an object may be written out
  instead: ``file.driver=file file.filename=x``, and so may the places of an array: ``bitmaps.0=b0``.
* What nothing is known of is JSON if it looks like it, and a text otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from qbitsim.jsontypes import Json
from qbitsim.nearest import nearest
from qbitsim.shell.schema import UNKNOWN, Schema
from qbitsim.shell.words import LineError, parse_json
from qbitsim.sizes import parse_size

BOOLEANS = {"on": True, "off": False, "true": True, "false": False, "yes": True, "no": False}

_INTEGER = re.compile(r"-?(0[xX][0-9a-fA-F]+|\d+)")
_NUMBER = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?")
_ORDER = ("boolean", "int", "number", "enum", "null", "string")


@dataclass(frozen=True, slots=True)
class Leaf:
    """A value that is written; ``place`` is its index in the line, ``name`` that of the argument."""

    text: str
    place: int
    name: str


Tree = dict[str, "Leaf | Tree"]
"""What is written of an object: ``a.b=1`` is {"a": {"b": Leaf("1")}}."""


def object_of(tree: Tree, type_name: str, schema: Schema, what: str) -> Json:
    """The object that is written.

    :param what: what has these members, for people.
    :raises LineError: a member is unknown, or its value is none of its type.
    """
    known = schema.kind(type_name) == "object"
    members = schema.members(type_name, tags_of(tree)) if known else {}
    found = {}
    for key, branch in tree.items():
        if known and key not in members:
            raise LineError(_no_member(key, members, schema.tag(type_name), tree, what), _first(branch).place)
        found[key] = _of_branch(branch, members[key].type if known else UNKNOWN, schema, f"'{key}'")
    return found


def below(tree: Tree, part: str) -> Tree:
    """What is written of a member that is an object or an array."""
    branch = tree.get(part, {})
    return {} if isinstance(branch, Leaf) else branch


def tags_of(tree: Mapping[str, Leaf | Tree]) -> dict[str, str]:
    """The members that may choose a variant of a union."""
    return {key: plain(leaf.text) for key, leaf in tree.items() if isinstance(leaf, Leaf)}


def plain(text: str) -> str:
    """A value without its quotes."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return str(value_of(text, UNKNOWN, Schema(()), 0, ""))
    return text


def _no_member(key: str, members: Mapping[str, object], tag: str | None, tree: Tree, what: str) -> str:
    if tag is not None and tag not in tree:
        return f"{what} has no '{key}' as long as '{tag}' is not given{nearest(key, members)}"
    return f"{what} has no '{key}'{nearest(key, members)}"


def _first(branch: Leaf | Tree) -> Leaf:
    while not isinstance(branch, Leaf):
        branch = next(iter(branch.values()))
    return branch


def _of_branch(branch: Leaf | Tree, type_name: str, schema: Schema, what: str) -> object:
    if isinstance(branch, Leaf):
        return value_of(branch.text, type_name, schema, branch.place, branch.name)
    kinds = schema.kinds(type_name)
    if "array" in kinds:
        return _list_of(branch, schema.element(kinds["array"]), schema, what)
    if "object" in kinds or "value" in kinds:
        return object_of(branch, kinds.get("object", UNKNOWN), schema, what)
    raise LineError(f"{what} is {schema.word(type_name)} and has no members", _first(branch).place)


def _list_of(tree: Tree, element: str, schema: Schema, what: str) -> list[object]:
    for key, branch in tree.items():
        if not key.isdecimal() or int(key) >= len(tree):
            raise LineError(f"{what} is a list: write '.0', '.1' and so on, not '.{key}'", _first(branch).place)
    ordered = sorted(tree.items(), key=lambda item: int(item[0]))
    return [_of_branch(branch, element, schema, f"{what}.{key}") for key, branch in ordered]


def value_of(text: str, type_name: str, schema: Schema, place: int, name: str) -> object:
    """The JSON that a value stands for.

    :raises LineError: it is none of that type.
    """
    kinds = schema.kinds(type_name)
    if text[:1] == '"' and text[-1:] == '"' and len(text) > 1:
        return parse_json(text, place)
    if text[:1] == "'" and text[-1:] == "'" and len(text) > 1:
        return text[1:-1]
    if text[:1] in ("{", "[") and kinds.keys() & {"object", "array", "value"}:
        return parse_json(text, place)
    if "value" in kinds:
        return _guess(text)
    for kind in sorted(kinds.keys() & set(_ORDER), key=_ORDER.index):
        value = _scalar(text, kind, schema.values(kinds[kind]))
        if value is not _NONE:
            return value
    if "array" in kinds and text:
        element = schema.element(kinds["array"])
        if schema.kind(element) != "object":
            return [value_of(part, element, schema, place, name) for part in text.split(",")]
    raise LineError(_no_value(text, type_name, schema, name), place)


_NONE = object()


def _scalar(text: str, kind: str, values: list[str]) -> object:
    """The value, or :data:`_NONE`."""
    if kind == "string" or (kind == "enum" and text in values):
        return text
    if kind == "boolean":
        return BOOLEANS.get(text.lower(), _NONE)
    if kind == "null":
        return None if text == "null" else _NONE
    if kind == "number" and _NUMBER.fullmatch(text):
        return _guess(text)
    if kind in ("int", "number"):
        return _integer(text)
    return _NONE


def _integer(text: str) -> object:
    try:
        if _INTEGER.fullmatch(text):
            return int(text, 16 if "x" in text.lower() else 10)
        return parse_size(text)
    except ValueError:  # no size, or more digits than Python takes
        return _NONE


def _guess(text: str) -> object:
    try:
        return parse_json(text, 0)
    except LineError:
        return text


def _no_value(text: str, type_name: str, schema: Schema, name: str) -> str:
    kinds = schema.kinds(type_name)
    if [*kinds] == ["enum"]:
        return f"'{text}' is no value of '{name}'{nearest(text, schema.values(type_name))}"
    if "object" in kinds:
        return f"'{name}' is an object: write {name}={{...}} or {name}.KEY=..."
    if "array" in kinds:
        return f"'{name}' is a list: write {name}=[...] or {name}.0=..."
    return f"'{name}' is {schema.word(type_name)}, not '{text}'"
