"""Declarations as one profile sees them: the data model between classes and functions.

Theory of operation: a :class:`Shape` says what JSON a QAPI type is made of, without members
and values that the profile's release does not have. :class:`Shapes` reads annotations into
shapes, once for each class, so a type that contains itself is one object that refers to itself.
"""

from __future__ import annotations

import typing
from types import MappingProxyType, NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, NotRequired, Union

from qbitsim.enums import StrEnum
from qbitsim.qapi.lazy import Lazy
from qbitsim.qapi.schema import (
    Alternate,
    ArgInfo,
    Enumeration,
    EnumInfo,
    Feature,
    Integer,
    QNull,
    annotated,
    struct_info,
)
from qbitsim.qapi.structs import struct_fields
from qbitsim.qapi.typed_dicts import is_typeddict
from qbitsim.records import record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from qbitsim.profiles import Profile
    from qbitsim.qapi.schema import FeatureLike, StructInfo

_NO_ENUM_INFO = EnumInfo({}, {}, {}, {}, "the value")


@record
class ScalarShape:
    """A JSON string, boolean, number, null or anything at all.

    :param json: ``string``, ``boolean``, ``int``, ``number``, ``null`` or ``any``.
    :param integer: the limits of an ``int``.
    """

    json: str
    integer: Integer | None = None


@record(eq=False)
class EnumShape:
    """One of some strings.

    :param values: what each string decodes to, in QEMU's order.
    :param refused: strings that QEMU accepts and qbitsim does not.
    :param noun: what a value stands for.
    :param features: names of features by value.
    """

    values: dict[str, str]
    refused: frozenset[str] = frozenset()
    noun: str = "the value"
    features: Mapping[str, tuple[str, ...]] = MappingProxyType({})


@record(eq=False)
class ArrayShape:
    """A JSON array of one element type."""

    element: Shape


@record(eq=False)
class Member:
    """A member of an object: its name on the wire, the attribute that holds it, and its type."""

    wire: str
    attribute: str
    shape: Shape
    optional: bool
    features: tuple[str, ...] = ()


class ObjectShape:
    """A JSON object; a flat union if it has a tag.

    :param build: makes the instance out of its attributes; it keeps none of the given dictionary.
    :param members: in QEMU's order; those of the base only if it is a union.
    :param tag: the member that chooses a variant, an :class:`EnumShape`.
    :param variants: for each value that adds members, its builder and those members.
    :ivar held: for each value whose variant is a union itself, the builder of what holds it, and as which attribute.
    :ivar open_ended: members that are not declared are taken too.
    """

    __slots__ = ("build", "features", "held", "members", "open_ended", "tag", "variants")

    def __init__(
        self,
        build: Callable[[dict[str, Any]], object],
        members: tuple[Member, ...] = (),
        features: tuple[str, ...] = (),
        tag: Member | None = None,
        variants: Mapping[str, ObjectShape] = MappingProxyType({}),
    ) -> None:
        self.build = build
        self.members = members
        self.features = features
        self.tag = tag
        self.variants = variants
        self.open_ended = False
        self.held: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {}


@record(eq=False)
class AlternateShape:
    """One of several types which differ in their JSON type."""

    name: str
    choices: tuple[Shape, ...]


Shape: typing.TypeAlias = ScalarShape | EnumShape | ArrayShape | ObjectShape | AlternateShape

_INT64 = Integer("int64", 64, signed=True)
_SCALARS: dict[object, ScalarShape] = {
    str: ScalarShape("string"),
    bool: ScalarShape("boolean"),
    int: ScalarShape("int", _INT64),
    float: ScalarShape("number"),
    QNull: ScalarShape("null"),
    Any: ScalarShape("any"),
}


class Shapes:
    """The shapes of one profile."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._by_class: dict[type, Shape] = {}
        self._made: dict[type, Callable[[], Shape]] = {}
        self._of_texts: dict[Enumeration, EnumShape] = {}

    def define(self, cls: type, make: Callable[[], Shape]) -> None:
        """Lets ``make`` give the shape of ``cls``, whose annotations are then never read."""
        assert cls not in self._by_class, cls
        self._made[cls] = make

    def of(self, annotation: object) -> Shape:
        """The shape of an annotation as ``typing.get_type_hints(..., include_extras=True)`` gives it."""
        if annotation in _SCALARS:
            return _SCALARS[annotation]
        parts = typing.get_args(annotation) if typing.get_origin(annotation) is Annotated else annotated(annotation)
        if parts is not None:
            return self._annotated(*parts)
        if typing.get_origin(annotation) is list:
            return ArrayShape(self.of(typing.get_args(annotation)[0]))
        assert isinstance(annotation, type), f"{annotation!r} cannot be declared"
        shape = self._by_class.get(annotation)
        if shape is None and annotation in self._made:
            shape = self._by_class[annotation] = self._made[annotation]()
        if shape is None:
            shape = self._enumeration(annotation) if issubclass(annotation, StrEnum) else self._object(annotation)
        return shape

    def features(self, features: Iterable[FeatureLike]) -> tuple[str, ...]:
        """The names of those features that the release shows."""
        every = (Feature(each) if isinstance(each, str) else each for each in features)
        return tuple(each.name for each in every if self._profile.offers(each.since, each.until))

    def _annotated(self, inner: object, note: object) -> Shape:
        if isinstance(note, Integer):
            return ScalarShape("int", note)
        if isinstance(note, Enumeration):
            return self._texts(note)
        assert isinstance(note, Alternate), note
        return AlternateShape(note.name, tuple(self.of(each) for each in typing.get_args(inner)))

    def _enumeration(self, cls: type[StrEnum]) -> EnumShape:
        info: EnumInfo = cls.__dict__.get("__qapi_enum__", _NO_ENUM_INFO)
        offers = self._profile.offers
        shape = EnumShape(
            {str(each): each for each in cls if offers(info.since.get(each), info.until.get(each))},
            frozenset(value for value, (since, until) in info.refused.items() if offers(since, until)),
            info.noun,
            {value: self.features(names) for value, names in info.features.items()},
        )
        self._by_class[cls] = shape
        return shape

    def _texts(self, declared: Enumeration) -> EnumShape:
        shape = self._of_texts.get(declared)
        if shape is None:
            offered = [value for value, span in declared.values.items() if self._profile.offers(*span)]
            refused = (value for value, span in declared.not_declared.items() if self._profile.offers(*span))
            values = {value: value for value in declared.order(offered)}
            shape = self._of_texts[declared] = EnumShape(values, frozenset(refused), declared.noun)
        return shape

    def _object(self, cls: type) -> ObjectShape:
        """The shape of a class; it is known before its members are read, for they may refer to it."""
        info = struct_info(cls)
        shape = ObjectShape(_builder(cls), features=self.features(info.features))
        self._by_class[cls] = shape
        shape.open_ended = info.open_ended
        shape.members = self._members(cls)
        shape.tag = next((each for each in shape.members if each.attribute == info.discriminator), None)
        if shape.tag is not None and not isinstance(shape.tag.shape, EnumShape):
            shape.tag = None  # a union only since the release in which its discriminator became an enumeration
        if shape.tag is not None:
            assert isinstance(shape.tag.shape, EnumShape)
            values = shape.tag.shape.values
            for value, attribute in info.holding.items():
                if value in values:
                    shape.held[value] = _builder(info.branches[value]), attribute
            offered = [value for value in info.branches if value in values]
            shape.variants = Lazy(offered, lambda value: self._variant(shape, info, value))
        return shape

    def _variant(self, union: ObjectShape, info: StructInfo, value: str) -> ObjectShape:
        """What a branch adds to its union."""
        branch = info.branches[value]
        if value in info.holding:
            inner = self.of(typing.get_type_hints(branch)[info.holding[value]])
            assert isinstance(inner, ObjectShape)
            return inner
        inherited = {each.attribute for each in union.members}
        own = tuple(each for each in self._members(branch) if each.attribute not in inherited)
        return ObjectShape(_builder(branch), own, self.features(struct_info(branch).features))

    def _members(self, cls: type) -> tuple[Member, ...]:
        hints = typing.get_type_hints(cls, include_extras=True)
        read = self._typed_dict_member if is_typeddict(cls) else self._struct_member
        fields = hints if is_typeddict(cls) else struct_fields(cls)
        members = [each for each in (read(name, hints[name], fields[name]) for name in fields) if each is not None]
        last = struct_info(cls).last
        if last is not None and self._profile.offers(last[1], last[2]):
            members.sort(key=lambda each: each.attribute == last[0])
        return tuple(members)

    def _struct_member(self, name: str, hint: object, field: tuple[bool, ArgInfo]) -> Member | None:
        optional, info = field
        if not self._profile.offers(info.since, info.until):
            return None
        shape = self.of(self._type(_without_none(hint) if optional else hint, info))
        if info.required_before is not None and self._profile.offers(until=info.required_before):
            optional = False
        return Member(info.name or name.replace("_", "-"), name, shape, optional, self.features(info.features))

    def _typed_dict_member(self, name: str, hint: object, _: object) -> Member | None:
        info, optional = ArgInfo(), False
        while True:
            match typing.get_args(hint):
                case (inner, ArgInfo() as noted):
                    hint, info = inner, noted
                case (inner,) if typing.get_origin(hint) is NotRequired:
                    hint, optional = inner, True
                case _:
                    break
        if not self._profile.offers(info.since, info.until):
            return None
        required = self._profile.offers(info.required) if isinstance(info.required, str) else info.required
        shape = self.of(self._type(hint, info))
        return Member(name, name, shape, optional and not required, self.features(info.features))

    def _type(self, hint: object, info: ArgInfo) -> object:
        """The type that a member has in the release."""
        if info.before is not None and self._profile.offers(until=info.before[0]):
            return info.before[1]
        return hint


def _builder(cls: type) -> Callable[[dict[str, Any]], object]:
    """What makes an instance of ``cls`` out of attributes that were checked."""
    if is_typeddict(cls):
        return dict
    if not hasattr(cls, "__qapi_fields__"):
        return lambda attributes: cls(**attributes)

    def build(attributes: dict[str, Any]) -> object:
        instance: Any = object.__new__(cls)
        instance.__dict__.update(attributes)
        return instance

    return build


def _without_none(annotation: object) -> object:
    """``X`` for ``X | None``, the annotation of an optional member."""
    if typing.get_origin(annotation) not in {Union, UnionType}:
        return annotation
    (inner,) = (each for each in typing.get_args(annotation) if each is not NoneType)
    return inner
