"""How qemu-io reads numbers and prints amounts.

Theory of operation: pure functions from text to integers and back. Releases read sizes
differently: 7.2 allows a multiplier after a hexadecimal number (and warns) and rounds a
fraction near 1 to nothing; 10.0 refuses the one, rounds up and also takes ``.5k`` (qemu_strtosz, util/cutils.c).
"""

from __future__ import annotations

from qbitsim.sizes import parse_plain_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

NOT_A_NUMBER = "non-numeric argument, or extraneous/unrecognized suffix"
TOO_LARGE = "argument too large"

_MAX_SIZE = (1 << 63) - 1
_MAX_WORD = (1 << 64) - 1
_SHIFTS = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40, "p": 50, "e": 60}
_UNITS = ((60, "EiB"), (50, "PiB"), (40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB"))

_DUMPED = 1 << 14  # bytes that are dumped at a time
_SHOWN = bytes(byte if byte < 128 and chr(byte).isalnum() else ord(".") for byte in range(256))
"""Only ASCII letters and digits are shown, as isalnum() says in the C locale."""

_DECIMAL = r"(?ai)\s*\+?(\d*)(?:\.(\d*))?([bkmgtpe]?)"
_HEXADECIMAL = r"(?ai)\s*\+?0x([0-9a-f]+)([kmgtp]?)"
_NEGATIVE = r"(?a)\s*-(\d+|\.\d+)"


class SizeError(ValueError):
    """A size that qemu-io refuses; the text is the reason, :data:`NOT_A_NUMBER` or :data:`TOO_LARGE`."""


def parse_size(text: str, *, strict: bool) -> int:
    """The number of bytes that ``text`` means, such as ``64k``, ``1.5M`` or ``0x200``.

    :param strict: how, see :attr:`.Profile.qemu_io_sizes_strict`.
    :raises SizeError: it means none, or more than 2**63 - 1 (cvtnum, qemu-io-cmds.c, 7.2 and 10.0).
    """
    plain = parse_plain_size(text)
    if plain is not None:
        return plain
    import re  # noqa: PLC0415 - most sizes are plain

    if match := re.fullmatch(_HEXADECIMAL, text):
        return _hexadecimal(match[1], match[2].lower(), strict=strict)
    if match := re.fullmatch(_DECIMAL, text):
        return _decimal(match[1], match[2], match[3].lower(), strict=strict)
    if match := re.fullmatch(_NEGATIVE, text):
        raise SizeError(TOO_LARGE if strict or _overflows(match[1]) else NOT_A_NUMBER)
    raise SizeError(NOT_A_NUMBER)


def has_deprecated_suffix(text: str) -> bool:
    """Whether ``text`` begins with a hexadecimal size and a multiplier, about which 7.2 warns whatever follows."""
    import re  # noqa: PLC0415 - 10.0 does not ask

    match = re.match(_HEXADECIMAL, text)
    return match is not None and match[2] != "" and int(match[1], 16) <= _MAX_WORD


def format_size(value: float) -> str:
    """``value`` bytes in the largest unit that it reaches, such as ``1.500 KiB`` (cvtstr, qemu-io-cmds.c, 10.0)."""
    for shift, unit in _UNITS:
        if value >= 1 << shift:
            return _trimmed(f"{value / (1 << shift):.3f}", unit)
    return _trimmed(f"{value:f}", "bytes")


def format_report(verb: str, offset: int, length: int, elapsed: int, *, csv: bool) -> str:
    """What is printed about one finished request of ``length`` bytes (print_report, qemu-io-cmds.c, 10.0).

    :param elapsed: nanoseconds. Less than one counts as one: real QEMU never measures none (it
        would print ``inf EiB/sec``), and a virtual clock that stands still prints the same rate always.
    """
    seconds, fraction = divmod(max(elapsed, 1), 1_000_000_000)
    exact = seconds + fraction / 1e9
    if csv or seconds:
        minutes, rest = divmod(seconds, 60)
        took = f"{minutes // 60}:{minutes % 60:02}:{rest + fraction / 1e9:05.2f}"
    else:
        took = f"{fraction / 1e9:05.2f} sec"
    if csv:
        return f"{length},1,{took},{length / exact:.3f},{1 / exact:.3f}\n"
    return (
        f"{verb} {length}/{length} bytes at offset {offset}\n"
        f"{format_size(length)}, 1 ops; {took} ({format_size(length / exact)}/sec and {1 / exact:.4f} ops/sec)\n"
    )


def format_dump(data: bytes, offset: int) -> Iterator[str]:
    """The hexadecimal dump of ``data``, 16 bytes to a line (dump_buffer, qemu-io-cmds.c, 10.0), some at a time."""
    for start in range(0, len(data), _DUMPED):
        part = data[start : start + _DUMPED]
        numbers = f"{part.hex(' ')} "
        shown = part.translate(_SHOWN).decode("ascii")
        yield "".join(
            f"{offset + start + at:08x}:  {numbers[at * 3 : at * 3 + 48]} {shown[at : at + 16]}\n"
            for at in range(0, len(part), 16)
        )


def _hexadecimal(digits: str, suffix: str, *, strict: bool) -> int:
    value = int(digits, 16)
    if suffix and (strict or value > _MAX_WORD):
        raise SizeError(NOT_A_NUMBER)
    return _checked(value << _SHIFTS[suffix])


def _decimal(whole: str, fraction: str | None, suffix: str, *, strict: bool) -> int:
    # 7.2 wants a digit before the point; 10.0 is content with one behind it.
    if not whole and not (strict and fraction):
        raise SizeError(NOT_A_NUMBER)
    value = int(whole or "0")
    if value > _MAX_WORD:
        raise SizeError(NOT_A_NUMBER if fraction is not None or suffix else TOO_LARGE)
    if not fraction:
        return _checked(value << _SHIFTS[suffix])
    # The fraction is a 64-bit fixed-point number there; in 7.2 one that rounds to 1 wraps to 0.
    fixed = int(float(f"0.{fraction}") * 2**64)
    inexact = fraction.strip("0") != "" and fixed <= _MAX_WORD if strict else fixed & _MAX_WORD != 0
    if inexact and not _SHIFTS[suffix]:
        raise SizeError(NOT_A_NUMBER)
    part = fixed if strict else fixed & _MAX_WORD
    return _checked((value << _SHIFTS[suffix]) + ((part << _SHIFTS[suffix]) + (1 << 63) >> 64))


def _checked(value: int) -> int:
    if value > _MAX_SIZE:
        raise SizeError(TOO_LARGE)
    return value


def _overflows(digits: str) -> bool:
    return not digits.startswith(".") and int(digits) > _MAX_WORD


def _trimmed(number: str, unit: str) -> str:
    """``number`` cut at its first ``.000``, then the unit: 1.000488 bytes are "1 bytes", as in QEMU."""
    return f"{number.split('.000', maxsplit=1)[0]} {unit}"
