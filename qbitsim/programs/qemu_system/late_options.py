"""``-set`` and ``-global``: options about what other options make (system/vl.c and hw/core/qdev-properties.c, 10.0)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qbitsim.devices.properties import descriptions
from qbitsim.errors import QmpError
from qbitsim.programs.option_text import check_value
from qbitsim.records import record

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from qbitsim.profiles import Profile
    from qbitsim.programs.option_text import OptionList

_SET = r"(?s)(?P<group>[^.]{1,63})\.(?P<id>[^.]{1,63})\.(?P<name>[^=]{1,63})=(?P<value>.*)"
_GLOBAL = r"(?s)(?P<driver>[^.=]{1,63})\.(?P<name>[^=]{1,63})=(?P<value>.*)"
_NO_GROUPS = frozenset({"object", "audiodev", "machine", "smp-opts", "boot-opts"})


@record
class OptionGroup:
    """The options of one kind that were given so far, by id, each with its texts by name.

    :ivar declared: what they take.
    """

    declared: OptionList
    given: Mapping[str, dict[str, str]]


@record
class GlobalProperty:
    """What a property of all devices of a type is to be."""

    driver: str
    name: str
    value: str


def set_value(text: str, groups: Mapping[str, OptionGroup], profile: Profile) -> None:
    """Change a value of an option that was given before: ``drive.disk0.cache=none``.

    :raises QmpError: there is none of that name, or it takes no such value.
    """
    found = re.fullmatch(_SET, text)
    if found is None:
        raise QmpError(f'can\'t parse: "{text}"')
    from qbitsim.commands.recorded_answers import recorded  # noqa: PLC0415 - few change an option

    name = found["group"]
    if name in _NO_GROUPS:
        raise QmpError(f"-set is not supported with {name}")
    if name not in groups and all(each["option"] != name for each in recorded(profile, "options")):
        raise QmpError(f"There is no option group '{name}'")
    if name not in groups or found["id"] not in groups[name].given:
        raise QmpError(f'there is no {name} "{found["id"]}" defined')
    check_value(found["name"], found["value"], groups[name].declared.kinds)
    groups[name].given[found["id"]][found["name"]] = found["value"]


def split_global(text: str) -> GlobalProperty | None:
    """The property that the short form ``driver.property=value`` means; None if it is not of that form."""
    found = re.fullmatch(_GLOBAL, text)
    return None if found is None else GlobalProperty(found["driver"], found["name"], found["value"])


def global_of(values: Mapping[str, str]) -> GlobalProperty:
    """The property that the long form means.

    :raises QmpError: something is left out.
    """
    if any(name not in values for name in ("driver", "property", "value")):
        raise QmpError("options 'driver', 'property', and 'value' are required")
    return GlobalProperty(values["driver"], values["property"], values["value"])


def unknown_drivers(properties: Iterable[GlobalProperty], profile: Profile) -> list[str]:
    """What is warned of: properties of devices that there are not. Those that there are keep their defaults here."""
    known = descriptions(profile)
    return [
        f"global {each.driver}.{each.name} has invalid class name"
        for each in properties
        if "device" not in known.ancestors(each.driver) or each.driver not in known.types
    ]
