"""The human monitor's command line, as ``human-monitor-command`` takes it.

Theory of operation: a line is a command name and its arguments. QEMU reads the arguments one by
one by the command's parameter list (monitor/hmp.c, monitor_parse_arguments, 7.2 and 10.0), so
the first mistake from the left decides the text. What the tokeniser finds wrong inside a quoted
string is printed on QEMU's standard output besides.
"""

from __future__ import annotations

from collections.abc import Mapping

from qbitsim.commands.hmp.sizes import read_size
from qbitsim.qemu_io.numbers import SizeError

_SPACE = " \t\n\v\f\r"
_ESCAPES = {"n": "\n", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
_TOKEN_LIMIT = 1023  # char buf[1024] of the monitor; what is longer is cut silently
_EXPECTED = {"B": "block device name", "F": "filename", "s": "string"}

Arguments = dict[str, bool | str | int]
"""By the names of handlers' parameters; what may be missing, and is, has no entry."""


class StringError(ValueError):
    """A string argument that cannot be read; the text is what QEMU prints on its standard output, or empty."""


class ArgumentsError(Exception):
    """Wrong arguments; the text is what the reply begins with. A StringError may be the cause."""


def is_blank(line: str) -> bool:
    """Whether there is nothing but white space in the line."""
    return not line.strip(_SPACE)


def split_hmp(command_line: str) -> list[str]:
    """The words of a monitor line: split at white space, with double quotes and their escapes.

    Only double quotes quote, and only at the start of a word; a closing quote ends the word.

    :raises StringError: a quoted string does not end or has an unknown escape; the text is QEMU's.
    """
    words = []
    position = _skip_space(command_line, 0)
    while position < len(command_line):
        word, position = next_string(command_line, position)
        words.append(word)
        position = _skip_space(command_line, position)
    return words


def next_string(line: str, position: int) -> tuple[str, int]:
    """The string argument at ``position`` (after white space) and where it ends (get_str, monitor/hmp.c, 10.0).

    :raises StringError: there is none (empty text), or a quoted one is malformed.
    """
    position = _skip_space(line, position)
    if position == len(line):
        raise StringError
    if line[position] == '"':
        return _quoted(line, position + 1)
    end = _find_space(line, position)
    return line[position:end][:_TOKEN_LIMIT], end


def _quoted(line: str, position: int) -> tuple[str, int]:
    """The rest of a quoted string of which ``position`` is the first character inside, and where it ends."""
    word: list[str] = []
    while position < len(line) and line[position] != '"':
        if line[position] == "\\":
            position += 1
            # The C string's terminator is what follows a backslash at the very end.
            character = line[position] if position < len(line) else "\0"
            if character not in _ESCAPES:
                raise StringError(f"unsupported escape code: '\\{character}'\n")
            word.append(_ESCAPES[character])
        else:
            word.append(line[position])
        position += 1
    if position == len(line):
        raise StringError("unterminated string\n")
    return "".join(word[:_TOKEN_LIMIT]), position + 1


def read_arguments(line: str, position: int, declared: str, shown: str, *, strict: bool) -> Arguments:
    """The arguments from ``position`` on.

    :param declared: what the command takes, see :class:`.HmpCommand`.
    :param shown: what texts call the command.
    :param strict: how sizes are read, see :attr:`.Profile.qemu_io_sizes_strict`.
    :raises ArgumentsError: they do not fit.
    """
    arguments: Arguments = {}
    rest = declared
    while rest:
        key, _, rest = rest.partition(":")
        kind, _, rest = rest.partition(",")
        position = _skip_space(line, position)
        name = key.replace("-", "_")
        if kind.startswith("-"):
            arguments[name] = given = line.startswith(kind, position)
            if not given:
                _check_option(line, position, rest, shown)
            position += 2 * given
        elif kind.endswith("?") and position == len(line):
            continue
        else:
            arguments[name], position = _value(line, position, kind.rstrip("?"), shown, strict=strict)
    if _skip_space(line, position) < len(line):
        raise ArgumentsError(f"{shown}: extraneous characters at the end of line\n")
    return arguments


def _check_option(line: str, position: int, rest: str, shown: str) -> None:
    """Refuse an option that none of the parameters to come is.

    QEMU looks for it in the text of the declaration, so that ``-f`` is one if ``snapshot-file`` is to come.
    """
    option = line[position : position + 2]
    if option.startswith("-") and option not in rest:
        # The end of the line is a NUL byte, behind which nothing is printed.
        raise ArgumentsError(f"{shown}: unsupported option {option}" + ("\n" if len(option) > 1 else ""))


def _value(line: str, position: int, kind: str, shown: str, *, strict: bool) -> tuple[str | int, int]:
    """The value at ``position``, and where it ends."""
    if kind == "S":
        return line[position:], len(line)
    if kind == "o":
        try:
            return read_size(line, position, strict=strict)
        except SizeError:
            raise ArgumentsError("invalid size\n") from None
    try:
        return next_string(line, position)
    except StringError as error:
        raise ArgumentsError(f"{shown}: {_EXPECTED[kind]} expected\n") from error


def read_name(line: str, aliases: Mapping[str, str]) -> tuple[str, int]:
    """The command's full name, ``info`` joined with its subcommand, and where it ends."""
    end = _find_name_end(line, _skip_space(line, 0))
    name = line[:end].lstrip(_SPACE)
    name = aliases.get(name, name)
    start = _skip_space(line, end)
    if name == "info" and start < len(line):
        end = _find_name_end(line, start)
        name = f"info {line[start:end]}"
    return name, end


def _skip_space(line: str, position: int) -> int:
    while position < len(line) and line[position] in _SPACE:
        position += 1
    return position


def _find_space(line: str, position: int) -> int:
    while position < len(line) and line[position] not in _SPACE:
        position += 1
    return position


def _find_name_end(line: str, position: int) -> int:
    """A name also ends at a slash, which begins a format such as in ``x/4i`` (get_command_name, 10.0)."""
    slash = line.find("/", position)
    end = _find_space(line, position)
    return end if slash < 0 else min(end, slash)
