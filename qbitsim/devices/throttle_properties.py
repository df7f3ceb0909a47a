"""A throttle group as an object with properties (block/throttle-groups.c, QEMU 10.0).

All limits together are ``limits``; each alone is told under its name behind ``x-``, and was to be set by object-add.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qbitsim.block.throttle_group import LIMITS, check_lengths
from qbitsim.errors import QmpError
from qbitsim.qapi.decoders import Decoders
from qbitsim.qapi.objects import ThrottleLimits
from qbitsim.qapi.values import to_json

if TYPE_CHECKING:
    from qbitsim.block.throttle_group import ThrottleGroup
    from qbitsim.profiles import Profile


def value_of(group: ThrottleGroup, name: str) -> Any:
    """The value of a property.

    :raises QmpError: there is none of that name.
    """
    if name == "limits":
        return group.all_limits
    _check_name(name)
    return group.all_limits[name.removeprefix("x-")]


def set_value(group: ThrottleGroup, name: str, value: Any, profile: Profile) -> None:
    """Give the group other limits; those that are not named stay.

    :raises QmpError: it cannot have them, or has no such property.
    """
    if name == "type":
        raise QmpError("Property 'throttle-group.type' is not writable")
    if name != "limits":
        _check_name(name)
        raise QmpError("Property cannot be set after initialization")
    given = to_json(Decoders(profile).of_class(ThrottleLimits)(value, name))
    check_lengths(given)
    group.set_limits({**group.limits, **given})


def _check_name(name: str) -> None:
    if not name.startswith("x-") or name.removeprefix("x-") not in LIMITS:
        raise QmpError(f"Property 'throttle-group.{name}' not found")
