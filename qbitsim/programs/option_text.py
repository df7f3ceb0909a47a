"""Options as most of QEMU's command line has them: ``id=drive0,file=a,,b.img,readonly`` (util/qemu-option.c, 10.0).

Theory of operation: a text is a list of names with values, in their order. A name without a value is a switch that is
on, or off if it begins with ``no``; a comma in a value is doubled. What the names may be, and what their values, is
said by an :class:`OptionList`, unless the option takes any.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qbitsim.block.names import is_well_formed
from qbitsim.errors import QmpError
from qbitsim.qapi.keyval import SWITCHES, is_help, read_value
from qbitsim.records import record
from qbitsim.sizes import SIZE_HINT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SUFFIXES = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}
_IDENTIFIER_HINT = "Identifiers consist of letters, digits, '-', '.', '_', starting with a letter.\n"


class OptionHelpError(Exception):
    """The text asks for help."""


@record(kw_only=True)
class OptionList:
    """What an option takes.

    :param name: what errors call it.
    :param implied: the name of a first value that has none; empty if there is no such thing.
    :param kinds: ``string``, ``bool``, ``number`` or ``size`` by the names that there are; empty if any will do.
    :param merged: several options of a command line are one, so that none has an id.
    """

    name: str
    implied: str = ""
    kinds: Mapping[str, str] = {}
    merged: bool = False

    def help(self) -> str:
        """As it is printed for an argument that asks for help."""
        named = {"bool": "bool (on/off)", "number": "num", "size": "size", "string": "str"}
        lines = [f"  {name}=<{named[kind]}>\n" for name, kind in self.kinds.items()]
        return "".join([f"{self.name} options:\n", *sorted(lines)])


def option_list(name: str, implied: str = "", *, merged: bool = False, **kinds: str) -> OptionList:
    """A list whose kinds have names with hyphens for underscores and spaces between several."""
    named = {each.replace("_", "-"): kind for kind, names in kinds.items() for each in names.split()}
    return OptionList(name=name, implied=implied, kinds=named, merged=merged)


@record
class OptionText:
    """What an option was given.

    :ivar id: empty if there is none.
    :ivar values: texts by name; the last one of a name counts.
    """

    id: str
    values: dict[str, str]


def parse_options(text: str, declared: OptionList, warn: Callable[[str], None]) -> OptionText:
    """Read a text; the values stay texts.

    :param warn: is told what QEMU warns of.
    :raises QmpError: it has a name that there is not, a value that does not fit, or an id that is none.
    :raises OptionHelpError: it asks for help.
    """
    pairs = split_options(text, declared.implied)
    identifier = next((value for name, value, _ in pairs if name == "id"), "")
    if identifier and declared.merged:
        raise QmpError("Invalid parameter 'id'")
    if identifier and not is_well_formed(identifier):
        raise QmpError("Parameter 'id' expects an identifier", hint=_IDENTIFIER_HINT)
    values: dict[str, str] = {}
    for name, value, written in pairs:
        if is_help(written):
            if declared.kinds:
                raise OptionHelpError
        elif written:
            warn(f"short-form boolean option '{written}' deprecated\n{_replacement(name, value)}")
        if name != "id":
            check_value(name, value, declared.kinds)
            values[name] = value
    return OptionText(identifier, values)


def _replacement(name: str, value: str) -> str:
    """What QEMU says should be written instead; ``delay`` has its opposite as a name of its own."""
    if name == "delay":
        return f"Please use nodelay={'on' if value == 'off' else 'off'} instead"
    return f"Please use {name}={value} instead"


def split_options(text: str, implied: str = "") -> list[tuple[str, str, str]]:
    """The names and values of a text; the third is how a switch without a value was written, empty for others."""
    found: list[tuple[str, str, str]] = []
    position = 0
    while position < len(text):
        end = position
        while end < len(text) and text[end] not in "=,":
            end += 1
        name = text[position:end]
        if text[end : end + 1] == "=":
            value, position = read_value(text, end + 1)
            found.append((name, value, ""))
        elif implied:
            value, position = read_value(text, position)
            found.append((implied, value, ""))
        else:
            position = end + 1
            found.append((name[2:], "off", name) if name.startswith("no") else (name, "on", name))
        implied = ""
    return found


def check_value(name: str, value: str, kinds: Mapping[str, str]) -> None:
    """Refuse a name that is not declared, or a value that is not of its kind.

    :raises QmpError: it is one of these.
    """
    if kinds and name not in kinds:
        raise QmpError(f"Invalid parameter '{name}'")
    kind = kinds.get(name, "string")
    if kind == "bool":
        read_switch(name, value)
    elif kind == "number":
        read_number(name, value)
    elif kind == "size":
        read_size(name, value)


def read_switch(name: str, text: str) -> bool:
    """What a switch is set to.

    :raises QmpError: it is neither on nor off.
    """
    if text not in SWITCHES:
        raise QmpError(f"Parameter '{name}' expects 'on' or 'off'")
    return SWITCHES[text]


def read_number(name: str, text: str) -> int:
    """A number: decimal, or as in C with 0x or 0 in front.

    :raises QmpError: it is none.
    """
    digits = text.lstrip("+-")
    octal = digits.startswith("0") and digits.isdigit()
    try:
        return int(text, 8 if octal else 0)
    except ValueError:
        raise QmpError(f"Parameter '{name}' expects a number") from None


def read_size(name: str, text: str) -> int:
    """Bytes: a number, which may be a fraction, with or without a suffix.

    :raises QmpError: it is no size.
    """
    hexadecimal = text.lower().startswith("0x")
    digits = text if hexadecimal else text.rstrip("bBkKmMgGtTpPeE")
    shift = _SUFFIXES.get(text[len(digits) :].lower())
    try:
        value = int(digits, 16) if hexadecimal else float(digits)
    except ValueError:
        shift, value = None, 0
    if shift is None or not math.isfinite(value) or not 0 <= value * 2**shift < 2**64:
        raise QmpError(f"Parameter '{name}' expects a non-negative number below 2^64", hint=SIZE_HINT)
    return int(value * 2**shift)
