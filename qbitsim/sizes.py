"""Sizes and numbers as people write them.

What programs read at each start is read without :mod:`re`: to import it takes longer than ``qemu-img create`` works.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.argument_types import Size

SIZE_HINT = "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\nand exabytes, respectively.\n"
"""What people are told who have written a size wrongly (parse_option_size, util/qemu-option.c)."""

SECTOR = 512
"""Bytes: what QEMU counts disks in (BDRV_SECTOR_SIZE)."""

_SIZE = r"(\d+)(\.\d+(?=[kKmMgGtTpPeE]))?([kKmMgGtTpPeE]?)(?:i?[bB])?\Z"
_SPACES = " \t\n\v\f\r"
_DIGITS = {8: "01234567", 10: "0123456789", 16: "0123456789abcdefABCDEF"}
_EXPONENT = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6}


def parse_size(size: Size, name: str = "size") -> int:
    """Bytes: ``64M`` is 64 * 1024 * 1024, ``1.5k`` is 1536; a number stays.

    :param name: what the error calls it.
    :raises ValueError: if it is no size.
    """
    if isinstance(size, int):
        if size < 0:
            raise ValueError(f"invalid {name} {size!r}: it must not be negative")
        return size
    import re  # noqa: PLC0415 - those who give numbers do not wait for it

    match = re.match(_SIZE, size.strip())
    if match is None:
        raise ValueError(f"invalid {name} {size!r}: write a number of bytes, or one with a suffix k, M, G, T or P")
    shift, digits = 10 * _EXPONENT[match[3].lower()], (match[2] or "")[1:]
    scale: int = 10 ** len(digits)
    return (int(match[1]) << shift) + ((int(digits or 0) << shift) + scale // 2) // scale


def parse_plain_size(text: str) -> int | None:
    """Bytes for ``512``, ``64k``, ``64M``; None for any other text, be it a size or not.

    Digits and at most one letter, less than 2^63: here all the ways in which QEMU's programs read a size agree.
    """
    digits, unit = (text[:-1], text[-1].lower()) if text.endswith(tuple("kKmMgG")) else (text, "")
    if not 0 < len(digits) < 19 or digits.strip(_DIGITS[10]):
        return None
    size = int(digits) << 10 * _EXPONENT[unit]
    return size if size < 1 << 63 else None


def parse_integer(text: str) -> int | None:
    """The integer that C's strtol(text, 0) reads if it reads all of ``text``, else None."""
    unsigned = text.lstrip(_SPACES)
    sign = unsigned[:1] if unsigned.startswith(("+", "-")) else ""
    digits, base = unsigned.removeprefix(sign), 10
    if digits.startswith(("0x", "0X")):
        digits, base = digits[2:], 16
    elif digits.startswith("0"):
        base = 8
    if not digits or digits.strip(_DIGITS[base]):
        return None
    value = int(digits, base)
    return -value if sign == "-" else value


def human_size(size: int) -> str:
    """``1.5 MiB``: three significant digits, 1000 of a unit in the next one (util/cutils.c, size_to_str, 10.0)."""
    import math  # noqa: PLC0415 - few tell sizes to people

    power = max(math.frexp(size * 1.024)[1] - 1, 0) // 10
    return f"{size / (1 << 10 * power):0.3g} {['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'][power]}B"
