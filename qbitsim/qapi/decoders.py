"""From JSON to instances, with the errors of QEMU's QAPI input visitor.

Theory of operation: each shape is compiled once for a profile into a function
``(value, path) -> decoded`` made of closures, so decoding looks nothing up. ``path`` is the
full name of the value (``actions[0].data.name``).

The rules, as measured on 7.2 and 10.0 (qapi/qobject-input-visitor.c, qapi/qapi-visit-core.c):

1. Members are visited in declared order, nested ones included, and the first fault wins;
   members that nobody asked for are noticed when an object is done.
2. A fault is named by the full path, except for three kinds that know only the last name,
   and call a list element ``null``: enumeration values, integer ranges, alternates.
3. Whole floats are no integers. A negative number is accepted as an unsigned 64-bit one and
   wraps, so only smaller types refuse it, by their range.
4. Null is a value of the wrong type, never an absent member.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qbitsim.errors import QmpError, SlowTextError, UnsupportedError
from qbitsim.qapi.lazy import Lazy
from qbitsim.qapi.schema import QNull, open_ended
from qbitsim.qapi.shapes import AlternateShape, ArrayShape, EnumShape, ObjectShape, ScalarShape, Shapes

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from qbitsim.jsontypes import JsonObject, JsonValue
    from qbitsim.profiles import Profile
    from qbitsim.qapi.schema import Integer
    from qbitsim.qapi.shapes import Member, Shape

    Decoder = Callable[[JsonValue, str], Any]
    Step = tuple[str, str, Decoder, bool]
    Branch = tuple[Callable[[dict[str, Any]], object], tuple[Step, ...]]

_MISSING = object()
_FEW = 256
"""Members of an object among which the unexpected one is found at once."""


class Decoders:
    """The decoding functions of one profile."""

    def __init__(self, profile: Profile) -> None:
        self.shapes = Shapes(profile)
        self._objects: dict[int, Decoder] = {}

    def of_class(self, cls: type) -> Decoder:
        """The function that decodes an object into ``cls``; call it with the path ``""``."""
        shape = self.shapes.of(cls)
        assert isinstance(shape, ObjectShape), cls
        return self._of_object(shape)

    def _of(self, shape: Shape, name: str) -> Decoder:
        """The decoder of a value that its parent calls ``name`` (``null`` in a list)."""
        match shape:
            case ScalarShape():
                return _scalar(shape, name)
            case EnumShape():
                return _enumeration(shape, name)
            case ArrayShape():
                return _array(self._of(shape.element, "null"))
            case AlternateShape():
                return self._of_alternate(shape, name)
            case ObjectShape():
                return self._of_object(shape)

    def _of_object(self, shape: ObjectShape) -> Decoder:
        """The decoder of an object; while it is being made a stand-in refers to it."""
        made = self._objects.get(id(shape))
        if made is None:
            self._objects[id(shape)] = lambda value, path: self._objects[id(shape)](value, path)  # noqa: PLW0108
            made = _object(shape, self._steps(shape.members)) if shape.tag is None else self._of_union(shape)
            self._objects[id(shape)] = made
        return made

    def _of_union(self, shape: ObjectShape) -> Decoder:
        assert shape.tag is not None
        plain = [value for value in shape.variants if value not in shape.held]
        variants = Lazy(dict.fromkeys(plain), lambda value: self._branch(shape.variants[value]))
        decode = _union(shape, self._steps(shape.members), shape.tag.attribute, variants)
        if not shape.held:
            return decode
        return _holding_union(shape, decode, Lazy(shape.held, lambda value: self._of_object(shape.variants[value])))

    def _branch(self, variant: ObjectShape) -> Branch:
        return variant.build, self._steps(variant.members)

    def _steps(self, members: tuple[Member, ...]) -> tuple[Step, ...]:
        return tuple((each.wire, each.attribute, self._of(each.shape, each.wire), each.optional) for each in members)

    def _of_alternate(self, shape: AlternateShape, name: str) -> Decoder:
        choices = {_python_type(each): self._of(each, name) for each in shape.choices}
        expected = shape.name

        def decode(value: JsonValue, path: str) -> Any:
            choice = choices.get(type(value))
            if choice is None:
                raise _invalid_type(name, expected)
            return choice(value, path)

        return decode


def _invalid_type(path: str, expected: str) -> QmpError:
    return QmpError(f"Invalid parameter type for '{path}', expected: {expected}")


def _python_type(shape: Shape) -> type:
    """The type that the JSON parser gives to a value of this shape."""
    match shape:
        case ScalarShape():
            return {"string": str, "boolean": bool, "int": int, "number": float, "null": type(None)}[shape.json]
        case EnumShape():
            return str
        case ArrayShape():
            return list
        case ObjectShape():
            return dict
        case AlternateShape():
            raise AssertionError("QAPI has no alternate in an alternate")


def _scalar(shape: ScalarShape, name: str) -> Decoder:
    if shape.integer is not None:
        return _integer(shape.integer, name) if shape.integer.signed else _unsigned(shape.integer, name)
    return {"string": _string, "boolean": _boolean, "number": _number, "null": _null, "any": _any}[shape.json]


def _string(value: JsonValue, path: str) -> str:
    if type(value) is not str:
        raise _invalid_type(path, "string")
    return value


def _boolean(value: JsonValue, path: str) -> bool:
    if type(value) is not bool:
        raise _invalid_type(path, "boolean")
    return value


def _number(value: JsonValue, path: str) -> float:
    if type(value) is not float and type(value) is not int:
        raise _invalid_type(path, "number")
    return float(value)


def _null(value: JsonValue, path: str) -> QNull:
    if value is not None:
        raise _invalid_type(path, "null")
    return QNull()


def _any(value: JsonValue, path: str) -> JsonValue:  # noqa: ARG001  (a decoder like the others)
    return value


def _integer(limits: Integer, name: str) -> Decoder:
    bound = 1 << (limits.bits - 1)
    type_name = limits.name

    def decode(value: JsonValue, path: str) -> int:
        if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
            raise _invalid_type(path, "integer")
        if not -bound <= value < bound:
            raise QmpError(f"Parameter '{name}' expects {type_name}")
        return value

    return decode


def _unsigned(limits: Integer, name: str) -> Decoder:
    bound = 1 << limits.bits
    type_name = limits.name

    def decode(value: JsonValue, path: str) -> int:
        if type(value) is not int or not -(1 << 63) <= value < 1 << 64:
            raise QmpError(f"Parameter '{path}' expects uint64")
        wrapped = value & ((1 << 64) - 1)
        if wrapped >= bound:
            raise QmpError(f"Parameter '{name}' expects {type_name}")
        return wrapped

    return decode


def _enumeration(shape: EnumShape, name: str) -> Decoder:
    values = shape.values

    def decode(value: JsonValue, path: str) -> str:
        if type(value) is not str:
            raise _invalid_type(path, "string")
        member = values.get(value)
        if member is None:
            if value in shape.refused:
                raise UnsupportedError(f"{shape.noun} '{value}'")
            raise QmpError(f"Parameter '{name}' does not accept value '{value}'")
        return member

    return decode


def _array(element: Decoder) -> Decoder:
    def decode(value: JsonValue, path: str) -> list[Any]:
        if type(value) is not list:
            raise _invalid_type(path, "array")
        return [element(each, f"{path}[{index}]") for index, each in enumerate(value)]

    return decode


def _visit(steps: tuple[Step, ...], obj: JsonObject, prefix: str, into: dict[str, Any]) -> int:
    """Decodes the members of ``steps`` and returns how many there were.

    :raises QmpError: one is missing or does not fit.
    """
    found = 0
    for wire, attribute, decode, optional in steps:
        value: Any = obj.get(wire, _MISSING)
        if value is not _MISSING:
            into[attribute] = decode(value, prefix + wire)
            found += 1
        elif not optional:
            raise QmpError(f"Parameter '{prefix}{wire}' is missing")
    return found


def _object(shape: ObjectShape, steps: tuple[Step, ...]) -> Decoder:
    build, is_open = shape.build, shape.open_ended
    declared = {wire for wire, *_ in steps}

    def decode(value: JsonValue, path: str) -> object:
        if type(value) is not dict:
            raise _invalid_type(path, "object")
        prefix = f"{path}." if path else ""
        attributes: dict[str, Any] = {}
        if _visit(steps, value, prefix, attributes) != len(value):
            if not is_open:
                raise _unexpected(value, prefix, steps)
            attributes[open_ended.__name__] = {name: value[name] for name in value if name not in declared}
        return build(attributes)

    return decode


def _union(
    shape: ObjectShape,
    base: tuple[Step, ...],
    tag: str,
    variants: Mapping[str, Branch],
) -> Decoder:
    no_variant: Branch = (shape.build, ())

    def decode(value: JsonValue, path: str) -> object:
        if type(value) is not dict:
            raise _invalid_type(path, "object")
        prefix = f"{path}." if path else ""
        attributes: dict[str, Any] = {}
        found = _visit(base, value, prefix, attributes)
        build, steps = variants.get(attributes[tag], no_variant)
        if found + _visit(steps, value, prefix, attributes) != len(value):
            raise _unexpected(value, prefix, base + steps)
        return build(attributes)

    return decode


def _holding_union(shape: ObjectShape, decode_plain: Decoder, inner: Mapping[str, Decoder]) -> Decoder:
    """The decoder of a union of which some variants are unions."""
    assert shape.tag is not None
    tag = shape.tag

    def decode(value: JsonValue, path: str) -> object:
        chosen = value.get(tag.wire) if isinstance(value, dict) else None
        if not isinstance(value, dict) or not isinstance(chosen, str) or chosen not in inner:
            return decode_plain(value, path)
        build, attribute = shape.held[chosen]
        rest = {name: each for name, each in value.items() if name != tag.wire}
        assert isinstance(tag.shape, EnumShape)
        return build({tag.attribute: tag.shape.values[chosen], attribute: inner[chosen](rest, path)})

    return decode


def _unexpected(obj: JsonObject, prefix: str, steps: tuple[Step, ...]) -> QmpError:
    """The refusal of a member that nobody asked for."""
    from qbitsim.qapi.hashorder import first_unvisited, first_unvisited_in_steps  # noqa: PLC0415  (only this needs it)

    keys, visited = list(obj), [wire for wire, *_ in steps]
    if len(keys) <= _FEW:
        return QmpError(f"Parameter '{prefix}{first_unvisited(keys, visited)}' is unexpected")

    def find() -> Generator[None, None, str]:
        name = yield from first_unvisited_in_steps(keys, visited)
        return f"Parameter '{prefix}{name}' is unexpected"

    return SlowTextError(find())
