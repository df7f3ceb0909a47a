"""What type of JSON the options of nodes have, for those who give them as texts."""

from __future__ import annotations

from functools import cache

from qbitsim.drivers.driver import DRIVERS
from qbitsim.profiles import DEFAULT_PROFILE
from qbitsim.qapi.blockdev import BlockdevOptions
from qbitsim.qapi.shapes import AlternateShape, ArrayShape, EnumShape, ObjectShape, ScalarShape, Shape, Shapes


@cache
def kinds() -> dict[str, str]:
    """Name of an option -> ``size``, ``int``, ``boolean`` or another type of JSON; no name has two of them."""
    found = {"copy-on-read": "boolean", **_kinds_in(Shapes(DEFAULT_PROFILE).of(BlockdevOptions), [])}
    return found | {name: "size" for driver in DRIVERS.values() for name in driver.sizes}


def _kinds_in(shape: Shape, seen: list[Shape]) -> dict[str, str]:
    """The names of members that hold scalars, here and further in, with the type of JSON that the schema has."""
    if shape in seen:
        return {}
    seen.append(shape)
    found: dict[str, str] = {}
    match shape:
        case ObjectShape():
            variants = (member for variant in shape.variants.values() for member in variant.members)
            for member in (*shape.members, *variants):
                if isinstance(member.shape, ScalarShape):
                    found[member.wire] = member.shape.json
                elif isinstance(member.shape, EnumShape):
                    found[member.wire] = "string"
                else:
                    found |= _kinds_in(member.shape, seen)
        case AlternateShape():
            for choice in shape.choices:
                found |= _kinds_in(choice, seen)
        case ArrayShape():
            found = _kinds_in(shape.element, seen)
    return found
