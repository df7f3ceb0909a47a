"""Hypothesis strategies for QMP commands, derived from what the commands declare.

Theory of operation: a registry knows the shape of every command's arguments in one QEMU release
(:mod:`qbitsim.qapi.shapes`). A shape becomes a strategy for JSON values; strings take their values from a pool that
belongs to the member's name, so that commands meet nodes, bitmaps and jobs that exist. Deep inside, where types contain
themselves, what is optional is left out. An invalid command is a valid one with one mistake.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from hypothesis import strategies as st

from qbitsim.commands.offered import registry_for
from qbitsim.profiles import DEFAULT_PROFILE, Profile
from qbitsim.profiles import profile as profile_called
from qbitsim.qapi.registry import Registry
from qbitsim.qapi.schema import Integer
from qbitsim.qapi.shapes import AlternateShape, ArrayShape, EnumShape, Member, ObjectShape, ScalarShape, Shape
from qbitsim.testing.clients import Execute

Json = st.SearchStrategy[Any]

NAMES: Mapping[str, Sequence[str]] = {
    "node": ("drive0", "drive0-node"),
    "node-name": ("drive0-node", "node0"),
    "device": ("drive0", "drive1"),
    "name": ("bitmap0", "bitmap1"),
    "bitmap": ("bitmap0", "bitmap1"),
    "target": ("bitmap0", "target0", "target0.qcow2"),
    "job-id": ("job0", "job1"),
    "id": ("job0", "job1", "drive0"),
    "filename": ("drive0.qcow2", "target0.qcow2"),
}
"""Where strings come from, by the name of the member that they are a value of."""

DEPTH = 3
"""How many objects within each other have optional members."""

_SOME_JSON: Json = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text("ab", max_size=3), st.just([]))
_SIZES = st.sampled_from([0, 1, 512, 65536, 1 << 20])


class _Builder:
    """Makes strategies of the shapes of one registry."""

    def __init__(self, names: Mapping[str, Sequence[str]]) -> None:
        self._text = st.text("ab-0", min_size=1, max_size=6)
        self._names = {member: st.sampled_from(list(pool)) | self._text for member, pool in names.items()}
        self._made: dict[tuple[int, str, int], Json] = {}
        self._shapes: list[Shape] = []  # kept, for the table above goes by identity

    def value(self, shape: Shape, member: str, depth: int) -> Json:
        """JSON values of a shape, under a member of that name, with so many objects still to be filled."""
        key = (id(shape), member if isinstance(shape, ScalarShape | AlternateShape) else "", depth)
        found = self._made.get(key)
        if found is None:
            self._shapes.append(shape)
            found = self._made[key] = st.deferred(lambda: self._make(shape, member, depth))
        return found

    def _make(self, shape: Shape, member: str, depth: int) -> Json:
        match shape:
            case ScalarShape():
                return self._scalar(shape, member)
            case EnumShape():
                return st.sampled_from(list(shape.values))
            case ArrayShape():
                return st.lists(self.value(shape.element, member, depth - 1), max_size=2 if depth > 0 else 0)
            case AlternateShape():
                plain = [each for each in shape.choices if not isinstance(each, ObjectShape)]
                choices = shape.choices if depth > 0 or not plain else plain
                return st.one_of([self.value(each, member, depth) for each in choices])
        return self._object(shape, depth)

    def _scalar(self, shape: ScalarShape, member: str) -> Json:
        match shape.json:
            case "string":
                return self._names.get(member, self._text)
            case "boolean":
                return st.booleans()
            case "int":
                assert shape.integer is not None
                low, high = limits(shape.integer)
                return _SIZES.filter(lambda size: size <= high) | st.integers(low, high)
            case "number":
                return st.floats(allow_nan=False, allow_infinity=False)
            case "null":
                return st.none()
        return _SOME_JSON

    def _object(self, shape: ObjectShape, depth: int) -> Json:
        if shape.tag is None:
            return self._members(shape.members, depth)
        tag = shape.tag
        assert isinstance(tag.shape, EnumShape)
        branches = []
        for value in tag.shape.values:
            members = [each for each in shape.members if each is not tag] + own_members(shape, value)
            branches.append(st.builds(_tagged, st.just((tag.wire, value)), self._members(members, depth)))
        return st.one_of(branches)

    def _members(self, members: Iterable[Member], depth: int) -> Json:
        chosen = [each for each in members if depth > 0 or not each.optional]
        made = {each: self.value(each.shape, each.wire, depth - 1) for each in chosen}
        return st.fixed_dictionaries(
            {each.wire: value for each, value in made.items() if not each.optional},
            optional={each.wire: value for each, value in made.items() if each.optional},
        )


def own_members(shape: ObjectShape, value: object) -> list[Member]:
    """What the branch of a union adds to its base."""
    branch = shape.variants.get(value) if isinstance(value, str) else None
    return list(branch.members) if branch is not None else []


def _tagged(tag: tuple[str, str], members: dict[str, Any]) -> dict[str, Any]:
    return {tag[0]: tag[1], **members}


def limits(integer: Integer) -> tuple[int, int]:
    """The least and the greatest value."""
    if integer.signed:
        return -(1 << (integer.bits - 1)), (1 << (integer.bits - 1)) - 1
    return 0, (1 << integer.bits) - 1


_registry = lru_cache(maxsize=8)(registry_for)


def _chosen(release: str | Profile, only: Iterable[str] | None, without: Iterable[str]) -> tuple[Registry, list[str]]:
    registry = _registry(profile_called(release))
    offered = {each.name for each in registry.commands()}
    wanted = offered if only is None else set(only)
    unknown = sorted((wanted | set(without)) - offered)
    if unknown:
        raise ValueError(f"QEMU {registry.profile.name} has no command {', '.join(map(repr, unknown))}")
    return registry, sorted(wanted - set(without))


def _shape(registry: Registry, name: str) -> ObjectShape:
    found = registry.find(name)
    assert found is not None
    if found.arguments is None:
        return ObjectShape(dict)
    shape = registry.shapes.of(found.arguments)
    assert isinstance(shape, ObjectShape)
    return shape


def commands(
    profile: str | Profile = DEFAULT_PROFILE,
    *,
    only: Iterable[str] | None = None,
    without: Iterable[str] = (),
    names: Mapping[str, Sequence[str]] = NAMES,
) -> st.SearchStrategy[Execute]:
    """Commands whose arguments are as the schema wants them; a machine may refuse them for other reasons.

    :param only: these, all of the release if not given; ``without``: not these.
    :param names: where strings come from, by the name of their member.
    :raises ValueError: the release has no such command.
    """
    registry, chosen = _chosen(profile, only, without)
    builder = _Builder(names)

    def of(name: str) -> st.SearchStrategy[Execute]:
        return builder.value(_shape(registry, name), "", DEPTH).map(lambda arguments: Execute(name, arguments))

    return st.sampled_from(chosen).flatmap(of)


def typed_commands(
    profile: str | Profile = DEFAULT_PROFILE,
    *,
    only: Iterable[str] | None = None,
    without: Iterable[str] = (),
    names: Mapping[str, Sequence[str]] = NAMES,
) -> st.SearchStrategy[object]:
    """The same as instances of the commands' classes, for :meth:`.Machine.run`.

    Commands that take no arguments, or those of another command, have no class of their own and are left out.

    :raises ValueError: as :func:`commands`; or no command is left.
    """
    registry, chosen = _chosen(profile, only, without)
    classes = {each.name: each.arguments for each in registry.commands()}
    shared = Counter(classes.values())
    own = [name for name in chosen if classes[name] is not None and shared[classes[name]] == 1]
    if not own:
        raise ValueError("none of these commands has a class of its own")
    made = commands(registry.profile, only=own, names=names)
    return made.map(lambda command: registry.decode(command.name, command.arguments))


# -- what the schema forbids

_WRONG: Mapping[str, object] = {"string": 1, "boolean": "on", "int": "1", "number": "1", "null": 1}
"""For each JSON type a value of another one."""


def invalid_commands(
    profile: str | Profile = DEFAULT_PROFILE,
    *,
    only: Iterable[str] | None = None,
    without: Iterable[str] = (),
    names: Mapping[str, Sequence[str]] = NAMES,
) -> st.SearchStrategy[Execute]:
    """Commands that the schema forbids, each by one mistake somewhere in its arguments, or in its name.

    Every machine refuses them before it has done anything.

    :raises ValueError: as :func:`commands`.
    """
    registry, chosen = _chosen(profile, only, without)
    valid = commands(registry.profile, only=chosen, names=names)

    @st.composite
    def with_mistake(draw: st.DrawFn) -> Execute:
        command = draw(valid)
        if draw(st.integers(0, 15)) == 15:
            return Execute(f"{command.name}-none", command.arguments)
        return Execute(command.name, _with_mistake(draw, _shape(registry, command.name), command.arguments))

    return with_mistake()


_MISSING, _INSIDE = object(), object()


def _with_mistake(draw: st.DrawFn, shape: ObjectShape, value: dict[str, Any]) -> dict[str, Any]:
    """A copy of an object with one mistake in it, or in an object inside of it."""
    members = {each.wire: each for each in shape.members}
    if shape.tag is not None:
        members |= {each.wire: each for each in own_members(shape, value[shape.tag.wire])}
    mistakes: list[tuple[str, object]] = [("no-such-member", 1)]
    for wire, member in members.items():
        if not member.optional:
            mistakes.append((wire, _MISSING))
        if wire in value:
            mistakes += [(wire, wrong) for wrong in _wrong_values(member.shape)]
            if isinstance(member.shape, ObjectShape):
                mistakes.append((wire, _INSIDE))
    where, what = draw(st.sampled_from(mistakes))
    if what is _MISSING:
        return {wire: each for wire, each in value.items() if wire != where}
    if what is _INSIDE:
        inner = members[where].shape
        assert isinstance(inner, ObjectShape)
        what = _with_mistake(draw, inner, value[where])
    return {**value, where: what}


def _wrong_values(shape: Shape) -> list[object]:
    """Values that are none of this shape; none where nearly anything is one."""
    match shape:
        case ScalarShape(json="any") | AlternateShape():
            return []
        case ScalarShape(json=json, integer=integer):
            beyond = [limits(integer)[1] + 1] if integer is not None else []
            return [_WRONG[json], *beyond]
        case EnumShape():
            return ["no-such-value", 1]
        case ArrayShape():
            return [{}, "one"]
    return [[], "one"]
