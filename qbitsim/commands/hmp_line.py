"""The human monitor's command line, as ``human-monitor-command`` takes it.

Theory of operation: a line is a command name and its arguments. QEMU reads the arguments one by
one by the command's parameter list (monitor/hmp.c, monitor_parse_arguments, 7.2 and 10.0), so
the first mistake from the left decides the text. :func:`hmp` does that and calls a handler:

1. A command that QEMU has not gets QEMU's text; one that only QEMU has is an UnsupportedError.
2. Texts of wrong arguments are part of the reply; what the tokeniser finds wrong inside a quoted
   string is printed on QEMU's standard output instead.
3. A handler returns its text with plain newlines; the reply has CR LF, as the monitor writes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.profiles import DEFAULT_PROFILE, Profile

Handler = Callable[..., str]
"""Takes the flags (bool) and the strings of the command's parameter list in order, returns the text to print."""

_SPACE = " \t\n\v\f\r"
_ESCAPES = {"n": "\n", "r": "\r", "\\": "\\", "'": "'", '"': '"'}
_TOKEN_LIMIT = 1023  # char buf[1024] of the monitor; what is longer is cut silently


class Syntax(NamedTuple):
    """How the arguments of one command are read."""

    parameters: str = ""
    """Space-separated: ``-x`` a flag, ``device`` or ``string`` an argument, ``?`` after it if it may be missing."""

    shown: str = ""
    """The name in texts about arguments, if it is not the name itself."""

    error_prefix: str = "Error: "
    """What is put before the text of a QmpError: hmp_handle_error has a prefix, error_report has none."""


SYNTAX = {
    "qemu-io": Syntax("-d device string"),
    "drive_del": Syntax("device", error_prefix=""),
    "commit": Syntax("device", error_prefix=""),
    "eject": Syntax("-f device"),
    "cont": Syntax(shown="cont|c"),
    "stop": Syntax(shown="stop|s"),
    "quit": Syntax(shown="quit|q"),
    "system_reset": Syntax(),
    "system_powerdown": Syntax(),
    "info block": Syntax("-n -v device?", shown="block"),
    "info block-jobs": Syntax(shown="block-jobs"),
    "info blockstats": Syntax(shown="blockstats"),
    "info status": Syntax(shown="status"),
    "info version": Syntax(shown="version"),
}
"""The commands for which :func:`hmp` accepts a handler."""

_ALIASES = {"c": "cont", "s": "stop", "q": "quit", "p": "print", "?": "help"}


class StringError(ValueError):
    """A string argument that cannot be read; the text is what QEMU prints on its standard output, or empty."""


class _ArgumentError(Exception):
    """Wrong arguments; the text is the first line of the reply."""


def hmp(
    command_line: str,
    handlers: Mapping[str, Handler],
    *,
    profile: Profile = DEFAULT_PROFILE,
    stdout: Callable[[str], object] | None = None,
) -> str:
    """Execute one monitor line and return the reply's text.

    :param handlers: by full name (``"qemu-io"``, ``"info status"``); each name is in :data:`SYNTAX`.
        A QmpError that a handler raises becomes text with the command's prefix.
    :param stdout: is given what QEMU prints on its standard output about the line itself.
    :raises UnsupportedError: QEMU has the command, ``handlers`` has not.
    """
    if not command_line.strip(_SPACE):
        return ""
    name, end = _command(command_line)
    typed = command_line[:end]
    if name not in profile.hmp_commands:
        return f"unknown command: '{typed}'\r\n"
    if name not in handlers:
        raise UnsupportedError(f"HMP command '{name}'")
    syntax = SYNTAX[name]
    try:
        arguments = _arguments(command_line, end, syntax, syntax.shown or name)
    except _ArgumentError as error:
        if stdout is not None and isinstance(error.__cause__, StringError) and str(error.__cause__):
            stdout(str(error.__cause__))
        return f'{error}\r\nTry "help {typed}" for more information\r\n'
    try:
        text = handlers[name](*arguments)
    except UnsupportedError:
        raise
    except QmpError as error:
        text = f"{syntax.error_prefix}{error.desc}\n"
    return text.replace("\n", "\r\n")


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


def _arguments(line: str, position: int, syntax: Syntax, shown: str) -> list[bool | str]:
    """The arguments by the parameter list; a parameter that may be missing and is gets the empty string."""
    arguments: list[bool | str] = []
    parameters = syntax.parameters.split()
    for parameter in parameters:
        position = _skip_space(line, position)
        if parameter.startswith("-"):
            given = line.startswith(parameter, position)
            if not given and line.startswith("-", position):
                option = line[position : position + 2]
                if option not in parameters:
                    raise _ArgumentError(f"{shown}: unsupported option {option}")
            arguments.append(given)
            position += 2 * given
        elif parameter.endswith("?") and position == len(line):
            arguments.append("")
        else:
            try:
                word, position = next_string(line, position)
            except StringError as error:
                wanted = "block device name" if parameter.startswith("device") else "string"
                raise _ArgumentError(f"{shown}: {wanted} expected") from error
            arguments.append(word)
    if _skip_space(line, position) < len(line):
        raise _ArgumentError(f"{shown}: extraneous characters at the end of line")
    return arguments


def _command(line: str) -> tuple[str, int]:
    """The command's full name, ``info`` joined with its subcommand, and where it ends."""
    end = _find_name_end(line, _skip_space(line, 0))
    name = line[:end].lstrip(_SPACE)
    name = _ALIASES.get(name, name)
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
