"""What ``-device NAME,help`` prints of a device (qdev_device_help, system/qdev-monitor.c, QEMU 10.0)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from qbitsim.devices.properties import descriptions

if TYPE_CHECKING:
    from qbitsim.jsontypes import Json
    from qbitsim.profiles import Profile

_COLUMN = 24
"""Where descriptions begin, behind names that are not longer."""


def device_help(driver: str, profile: Profile) -> str:
    """The properties of a device, a line each, in the order of the lines.

    :param driver: the name of its type, or another one for it.
    :raises QmpError: there is no such device.
    :raises UnsupportedError: nobody has asked a QEMU for it.
    """
    known = descriptions(profile)
    name = known.aliases.get(driver, driver)
    lines = sorted(_line(each, profile) for each in known.settable(name))
    return f"{name} options:\n{''.join(lines)}" if lines else f"There are no options for {name}.\n"


def _line(described: Json, profile: Profile) -> str:
    line = f"  {described['name']}=<{described['type']}>"
    if "description" not in described and "default-value" not in described:
        return f"{line}\n"
    line = f"{line:<{_COLUMN}} - {described.get('description', '')}"
    if "default-value" in described:
        line += f" (default: {_default(described['default-value'], profile)})"
    return f"{line}\n"


def _default(value: object, profile: Profile) -> str:
    if profile.device_help_has_json:
        return json.dumps(value)
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
