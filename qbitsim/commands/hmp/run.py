"""``human-monitor-command``: one line in, what the human monitor prints out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.commands.hmp.declaration import ALIASES, error_text
from qbitsim.commands.hmp.line import ArgumentsError, is_blank, read_arguments, read_name
from qbitsim.commands.hmp.offered import COMMANDS
from qbitsim.errors import QmpError, UnsupportedError, WouldWaitError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qbitsim.commands.context import Context
    from qbitsim.commands.hmp.declaration import HmpCommand
    from qbitsim.commands.hmp.line import Arguments

_ALIASES = ALIASES | {"p": "print"}


def human_monitor_command(context: Context, line: str, commands: Mapping[str, HmpCommand] = COMMANDS) -> str:
    """Run one line and return what the human monitor prints, with CR LF as it writes it.

    What QEMU prints on its own standard output goes to :attr:`.Machine.stdout`.

    :raises UnsupportedError: QEMU has the command, qbitsim has not; or the command asks for what qbitsim has not.
    :raises WouldWaitError: it would have to wait for another command.
    """
    if is_blank(line):
        return ""
    name, end = read_name(line, _ALIASES)
    typed = line[:end]
    if name not in context.profile.hmp_commands:
        return f"unknown command: '{typed}'\r\n"
    if name not in commands:
        raise UnsupportedError(f"HMP command '{name}'")
    command = commands[name].of(context.profile)
    try:
        arguments = read_arguments(
            line, end, command.arguments, command.shown, strict=context.profile.qemu_io_sizes_strict
        )
    except ArgumentsError as error:
        context.machine.print(str(error.__cause__ or ""))
        text = f'{error}Try "help {typed}" for more information\n'
    else:
        text = _call(context, command, arguments)
    return text.replace("\n", "\r\n")


def _call(context: Context, command: HmpCommand, arguments: Arguments) -> str:
    try:
        return command.handler(context, **arguments) or ""
    except (UnsupportedError, WouldWaitError):
        raise
    except QmpError as error:
        return error_text(context, error, reports=command.reports)
