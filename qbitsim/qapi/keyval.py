"""QAPI types as people write them on a command line: ``driver=qcow2,file.driver=file,file.filename=a.img``.

Theory of operation: :func:`parse_keyval` makes a tree whose leaves are texts, dotted keys being members of members and
numbers the places in lists (util/keyval.c, QEMU 10.0). :func:`as_json` gives the leaves the types that a shape asks
for, so that the tree can be decoded as if it had come as JSON (qapi/qobject-input-visitor.c, the ``keyval`` functions).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from qbitsim.errors import QmpError
from qbitsim.qapi.shapes import AlternateShape, ArrayShape, EnumShape, ObjectShape, ScalarShape
from qbitsim.sizes import parse_size

if TYPE_CHECKING:
    from qbitsim.qapi.shapes import Member, Shape

Tree = dict[str, Any]

_HELP = ("help", "?")
_NAME = re.compile(r"(?:__[A-Za-z0-9.-]+_)?[A-Za-z][A-Za-z0-9_-]*")
_INDEX = re.compile(r"[0-9]+")
_LONGEST = 127
_BITS_OF_SIZES = 64
SWITCHES = {"on": True, "off": False, "yes": True, "no": False, "true": True, "false": False, "y": True, "n": False}


class HelpWantedError(Exception):
    """The text asks for help.

    :ivar tree: what else it says.
    """

    def __init__(self, tree: Tree) -> None:
        super().__init__("help")
        self.tree = tree


def is_help(text: str) -> bool:
    """Whether a word asks for help (is_help_option)."""
    return text in _HELP


def parse_keyval(text: str, implied: str | None = None) -> Tree:
    """The tree that a text means; a key that comes again replaces what it was.

    :param implied: the key of a first part that has none.
    :raises QmpError: it is malformed.
    :raises HelpWantedError: one of its parts is ``help``.
    """
    tree: Tree = {}
    help_wanted, position = False, 0
    while position < len(text):
        end = _find(text, position)
        if end > position and text[end : end + 1] != "=":
            part = text[position:end]
            if is_help(part):
                help_wanted, position, implied = True, end + 1, None
                continue
            if implied is not None:
                _put(tree, implied, part)
                position, implied = end + 1, None
                continue
        key = text[position:end]
        path = _path(key)
        if text[end : end + 1] != "=":
            raise QmpError(f"Expected '=' after parameter '{key}'")
        value, position = read_value(text, end + 1)
        _put_at(tree, path, key, value)
        implied = None
    if help_wanted:
        raise HelpWantedError(tree)
    listed: Tree = _with_lists(tree, "")
    return listed


def read_value(text: str, position: int) -> tuple[str, int]:
    """The value at a position, in which commas are doubled, and where the next part begins."""
    value: list[str] = []
    while position < len(text):
        comma = text.find(",", position)
        end = len(text) if comma < 0 else comma
        value.append(text[position:end])
        position = end + 1
        if text[position : position + 1] != ",":
            break
        value.append(",")
        position += 1
    return "".join(value), position


def _find(text: str, position: int) -> int:
    """Where the key at a position ends."""
    while position < len(text) and text[position] not in "=,":
        position += 1
    return position


def _path(key: str) -> list[str]:
    """The parts of a dotted key.

    :raises QmpError: it is none.
    """
    path: list[str] = []
    position = 0
    while True:
        found = _INDEX.match(key, position) if path else None
        found = found or _NAME.match(key, position)
        if found is None or key[found.end() : found.end() + 1] not in ("", "."):
            raise QmpError(f"Invalid parameter '{key}'")
        if len(found[0]) > _LONGEST:
            fragment = " fragment" if found[0] != key else ""
            raise QmpError(f"Parameter{fragment} '{found[0]}' is too long")
        path.append(found[0])
        position = found.end() + 1
        if found.end() == len(key):
            return path


def _put(tree: Tree, key: str, value: str) -> None:
    _put_at(tree, [key], key, value)


def _put_at(tree: Tree, path: list[str], key: str, value: str) -> None:
    end = 0
    for part in path[:-1]:
        end += len(part)
        below = tree.setdefault(part, {})
        if not isinstance(below, dict):
            raise QmpError(f"Parameters '{key[:end]}.*' used inconsistently")
        tree, end = below, end + 1
    if isinstance(tree.get(path[-1]), dict):
        raise QmpError(f"Parameters '{key}.*' used inconsistently")
    tree[path[-1]] = value


def _with_lists(value: Any, path: str) -> Any:
    """Members called 0, 1, … become a list.

    :raises QmpError: one is missing, or others are beside them.
    """
    if not isinstance(value, dict):
        return value
    value = {name: _with_lists(item, f"{path}{name}.") for name, item in value.items()}
    numbered = {int(name): item for name, item in value.items() if _INDEX.fullmatch(name)}
    if not numbered:
        return value
    if any(not _INDEX.fullmatch(name) for name in value):
        raise QmpError(f"Parameters '{path}*' used inconsistently")
    missing = next((number for number in range(max(numbered) + 1) if number not in numbered), None)
    if missing is not None:
        raise QmpError(f"Parameter '{path}{missing}' missing")
    return [numbered[number] for number in range(len(numbered))]


def as_json(shape: Shape, value: Any, path: str = "") -> Any:
    """A tree of texts as the JSON that a shape asks for; what does not fit is left for the decoder to refuse.

    :raises QmpError: a text does not stand for a value of the type it should have.
    """
    match shape:
        case ScalarShape() if isinstance(value, str):
            return _scalar(shape, value, path)
        case ScalarShape() | EnumShape() if isinstance(value, (dict, list)) and not _is_any(shape):
            raise QmpError(f"Parameters '{path}.*' are unexpected")
        case ArrayShape() if isinstance(value, list):
            return [as_json(shape.element, item, f"{path}[{index}]") for index, item in enumerate(value)]
        case ObjectShape() if isinstance(value, dict):
            return _object(shape, value, path)
        case AlternateShape():
            return _alternate(shape, value, path)
    return value


def _is_any(shape: Shape) -> bool:
    return isinstance(shape, ScalarShape) and shape.json == "any"


def _object(shape: ObjectShape, value: Tree, path: str) -> Tree:
    """In the order of the members, so that the first fault is the one that QEMU finds."""
    prefix = f"{path}." if path else ""
    read: Tree = {}
    for member in _members(shape, value):
        if member.wire in value:
            read[member.wire] = as_json(member.shape, value[member.wire], prefix + member.wire)
        elif not member.optional:
            raise QmpError(f"Parameter '{prefix}{member.wire}' is missing")
        if member is shape.tag:
            _check_tag(member, read[member.wire])
    return {name: read.get(name, item) for name, item in value.items()}


def _check_tag(tag: Member, value: Any) -> None:
    assert isinstance(tag.shape, EnumShape)
    if isinstance(value, str) and value not in tag.shape.values and value not in tag.shape.refused:
        raise QmpError(f"Parameter '{tag.wire}' does not accept value '{value}'")


def _members(shape: ObjectShape, value: Tree) -> tuple[Member, ...]:
    tag = value.get(shape.tag.wire) if shape.tag is not None else None
    variant = shape.variants.get(tag) if isinstance(tag, str) else None
    return shape.members if variant is None else shape.members + variant.members


def _alternate(shape: AlternateShape, value: Any, path: str) -> Any:
    for choice in shape.choices:
        if isinstance(choice, ObjectShape if isinstance(value, dict) else ArrayShape) and not isinstance(value, str):
            return as_json(choice, value, path)
    if isinstance(value, str) and not any(
        isinstance(choice, EnumShape) or (isinstance(choice, ScalarShape) and choice.json == "string")
        for choice in shape.choices
    ):
        scalar = next((choice for choice in shape.choices if isinstance(choice, ScalarShape)), None)
        if scalar is not None:
            return as_json(scalar, value, path)
    return value


def _scalar(shape: ScalarShape, text: str, path: str) -> Any:
    if shape.integer is not None:
        is_size = not shape.integer.signed and shape.integer.bits == _BITS_OF_SIZES
        return _size(path, text) if is_size else _integer(path, text)
    if shape.json == "boolean":
        if text not in SWITCHES:
            raise QmpError(f"Parameter '{path}' expects 'on' or 'off'")
        return SWITCHES[text]
    if shape.json == "number":
        try:
            return float(text)
        except ValueError:
            raise QmpError(f"Invalid parameter type for '{path}', expected: number") from None
    return text


def _integer(path: str, text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise QmpError(f"Parameter '{path}' expects integer") from None


def _size(path: str, text: str) -> int:
    try:
        return parse_size(text)
    except ValueError:
        raise QmpError(f"Parameter '{path}' expects size") from None
