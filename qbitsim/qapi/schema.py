"""The words in which QMP data is declared.

Theory of operation: the arguments of a command are a :func:`qbitsim.qapi.structs.struct`, which is like
a frozen, keyword-only dataclass and cheaper to declare. Its annotations are the QAPI schema:
``str``, ``bool``, ``int`` (QAPI's ``int``, 64 bits signed), the sized integers of this module,
``StrEnum`` classes, :class:`Enumeration`, other structs, ``list[X]``, unions with a discriminator
(:func:`union`, :func:`branch`) and alternates (:class:`Alternate`).
A member is optional if it has a default; its name on the wire is the attribute's with dashes.
What a command returns may be a ``TypedDict``; its keys are the names on the wire.

What belongs to some releases only carries ``since`` (the first release that has it) and
``until`` (the first one that has not), see :meth:`qbitsim.profiles.Profile.offers`.

This module only records declarations. :mod:`qbitsim.qapi.shapes` reads them for one profile,
:mod:`qbitsim.qapi.decoders` turns the result into functions, :mod:`qbitsim.qapi.introspect`
into what ``query-qmp-schema`` answers.
"""

from __future__ import annotations

from qbitsim.enums import StrEnum
from qbitsim.light_typing import TypeVar
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, Final, TypeAlias


_T = TypeVar("_T")
_E = TypeVar("_E", bound=StrEnum)


if TYPE_CHECKING:
    from typing import Annotated as Annotated  # noqa: PLC0414 - what mypy takes for a re-export
else:

    class Annotated:
        """``Annotated[int, note]``: a type with what QAPI says of it, without the import of :mod:`typing`."""

        def __class_getitem__(cls, parts):
            return type("Annotated", (), {"__qapi_annotated__": parts})


def annotated(annotation: object) -> tuple[object, object] | None:
    """The type and the note of what :class:`Annotated` made; None for another annotation."""
    parts: tuple[object, object] | None = getattr(annotation, "__qapi_annotated__", None)
    return parts


@record
class Integer:
    """A QAPI integer type: its name in QAPI's error texts and the bits it has."""

    name: str
    bits: int
    signed: bool


UInt8: TypeAlias = Annotated[int, Integer("uint8_t", 8, signed=False)]
UInt16: TypeAlias = Annotated[int, Integer("uint16_t", 16, signed=False)]
UInt32: TypeAlias = Annotated[int, Integer("uint32_t", 32, signed=False)]
UInt64: TypeAlias = Annotated[int, Integer("uint64", 64, signed=False)]
Size: TypeAlias = UInt64
Int8: TypeAlias = Annotated[int, Integer("int8_t", 8, signed=True)]
Int16: TypeAlias = Annotated[int, Integer("int16_t", 16, signed=True)]
Int32: TypeAlias = Annotated[int, Integer("int32_t", 32, signed=True)]
Int64: TypeAlias = int


@record
class QNull:
    """A JSON null in an alternate that allows it; ``None`` stays what an omitted member decodes to."""


@record
class Alternate:
    """Marks a union as a QAPI alternate: ``Annotated[str | BlockDirtyBitmap, Alternate("BlockDirtyBitmapOrStr")]``.

    The JSON type of the value chooses among the types of the union, so they differ in it.

    :param name: QAPI's name, which error texts show.
    """

    name: str


@record
class Feature:
    """A QAPI feature that only some releases show. One that all show is a plain ``str``."""

    name: str
    since: str | None = None
    until: str | None = None


FeatureLike: TypeAlias = str | Feature

MISSING: Final = object()
"""No default, which is something else than the default None."""

REQUIRED: Final = MISSING
"""As the default of :func:`arg`: the member must be given."""


@record
class ArgInfo:
    """What :func:`arg` says about a member of a class, :func:`note` about one of a TypedDict."""

    name: str | None = None
    since: str | None = None
    until: str | None = None
    features: tuple[FeatureLike, ...] = ()
    required: bool | str = False
    before: tuple[str, object] | None = None
    required_before: str | None = None


class Field:
    """What :func:`arg` makes: the default of a member and what else is to be known of it."""

    __slots__ = ("default", "info")

    def __init__(self, default: object, info: ArgInfo) -> None:
        self.default = default
        self.info = info


def arg(  # the result stands where a default stands, hence Any
    default: Any = None,
    *,
    name: str | None = None,
    since: str | None = None,
    until: str | None = None,
    features: Iterable[FeatureLike] = (),
    before: tuple[str, object] | None = None,
    required_before: str | None = None,
) -> Any:
    """A member of a struct with more than a default.

    :param default: what an omitted member decodes to, or :data:`REQUIRED`.
    :param name: the name on the wire if it is not the attribute's with dashes.
    :param since: first release that has the member.
    :param until: first release that does not have it any more.
    :param features: QAPI features, for introspection.
    :param before: a release and the type that the member had before it.
    :param required_before: the first release in which the member may be left out.
    """
    info = ArgInfo(name, since, until, tuple(features), before=before, required_before=required_before)
    return Field(default, info)


def note(
    *,
    since: str | None = None,
    until: str | None = None,
    features: Iterable[FeatureLike] = (),
    required: bool | str = False,
    before: tuple[str, object] | None = None,
) -> ArgInfo:
    """What :func:`arg` says, for a member of a TypedDict: ``Annotated[NotRequired[bool], note(since="10.0")]``.

    :param required: the releases that have the member always have it, although Python may leave it out; or the first
        release of which that is true.
    :param before: a release and the type that the member had before it.
    """
    return ArgInfo(None, since, until, tuple(features), required, before)


@record
class EnumInfo:
    """What :func:`enum_values` says about an enumeration."""

    since: Mapping[str, str]
    until: Mapping[str, str]
    features: Mapping[str, tuple[FeatureLike, ...]]
    refused: Mapping[str, tuple[str | None, str | None]]
    noun: str


def enum_values(
    *,
    since: Mapping[str, str] | None = None,
    until: Mapping[str, str] | None = None,
    features: Mapping[str, tuple[FeatureLike, ...]] | None = None,
    refused: Mapping[str, tuple[str | None, str | None]] | None = None,
    noun: str = "the value",
) -> Callable[[type[_E]], type[_E]]:
    """Says more about the values of a StrEnum; every mapping is by value, as on the wire.

    :param refused: values that QEMU has and qbitsim does not, with their since and until:
        decoding one raises UnsupportedError.
    :param noun: what a value stands for, in the text of that error.
    """

    def decorate(cls: type[_E]) -> type[_E]:
        info = EnumInfo(since or {}, until or {}, features or {}, refused or {}, noun)
        type.__setattr__(cls, "__qapi_enum__", info)
        return cls

    return decorate


class Enumeration:
    """An enumeration of plain texts: ``Annotated[str, DRIVERS]``. A value decodes to itself.

    It costs less than a StrEnum, and modules of higher floors can add what is refused, until a profile reads it.

    :ivar values: value -> its since and until.
    :ivar refused: values that QEMU has, likewise; where nobody has declared one, decoding it raises UnsupportedError.
    :ivar order: puts values into QEMU's order.
    :ivar noun: what a value stands for, in the text of that error.
    """

    __slots__ = ("noun", "order", "refused", "values")

    def __init__(
        self,
        values: Iterable[str],
        *,
        since: Mapping[str, str] | None = None,
        noun: str = "the value",
        order: Callable[[Iterable[str]], list[str]] = list,
    ) -> None:
        first = since or {}
        self.values: dict[str, tuple[str | None, str | None]] = {value: (first.get(value), None) for value in values}
        self.refused: dict[str, tuple[str | None, str | None]] = {}
        self.order = order
        self.noun = noun

    @property
    def not_declared(self) -> dict[str, tuple[str | None, str | None]]:
        """What is refused: a value that is declared one day wins over the table of those that are refused."""
        return {value: span for value, span in self.refused.items() if value not in self.values}


class StructInfo:
    """What decorators say about a class itself, not inherited by its subclasses."""

    __slots__ = ("branches", "discriminator", "features", "holding", "last", "name", "open_ended")

    def __init__(self) -> None:
        self.name: str | None = None
        self.features: tuple[FeatureLike, ...] = ()
        self.discriminator: str | None = None
        self.holding: dict[str, str] = {}
        self.branches: Mapping[str, type] = {}
        self.last: tuple[str, str | None, str | None] | None = None
        self.open_ended = False


def struct_info(cls: type) -> StructInfo:
    """The notes on ``cls``; empty ones are made at the first call."""
    info = cls.__dict__.get("__qapi_struct__")
    if info is None:
        info = StructInfo()
        type.__setattr__(cls, "__qapi_struct__", info)
    assert isinstance(info, StructInfo)
    return info


def struct_features(*features: FeatureLike) -> Callable[[type[_T]], type[_T]]:
    """Gives QAPI features to a struct."""

    def decorate(cls: type[_T]) -> type[_T]:
        struct_info(cls).features = features
        return cls

    return decorate


def open_ended(cls: type[_T]) -> type[_T]:
    """Says that a struct takes members that are not declared (``gen: false`` in QAPI).

    The decoder keeps them in the instance's ``__dict__``, as a dictionary under the name of this function.
    """
    struct_info(cls).open_ended = True
    return cls


def moved_last(member: str, *, since: str | None = None, until: str | None = None) -> Callable[[type[_T]], type[_T]]:
    """Says that some releases have the attribute ``member`` as the last one, not where it stands."""

    def decorate(cls: type[_T]) -> type[_T]:
        struct_info(cls).last = (member, since, until)
        return cls

    return decorate


def union(discriminator: str) -> Callable[[type[_T]], type[_T]]:
    """Makes a struct the base of a flat union.

    Its subclasses marked by :func:`branch` add the members of their branch, and decoding
    yields an instance of the subclass, or of the base for a value that adds no members.

    :param discriminator: the attribute, an enumeration, that chooses the branch.
    """

    def decorate(cls: type[_T]) -> type[_T]:
        struct_info(cls).discriminator = discriminator
        return cls

    return decorate


def branch(base: type, *values: str, holds: str | None = None) -> Callable[[type[_T]], type[_T]]:
    """Makes a subclass of ``base`` its branch for these values of the discriminator.

    :param holds: the attribute in which the instances have a union, if the branch is one itself.
    """

    def decorate(cls: type[_T]) -> type[_T]:
        info = struct_info(base)
        assert info.branches.keys().isdisjoint(values), (base, values)
        info.branches = {**info.branches, **{str(value): cls for value in values}}
        if holds is not None:
            info.holding.update(dict.fromkeys(map(str, values), holds))
        return cls

    return decorate
