"""``qbitsim shell``: a QMP shell, on a machine of its own or on any QMP server."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from qbitsim.cli.against import SocketChannel, address_of
from qbitsim.cli.arguments import apply_settings, has_settings
from qbitsim.cli.coming_lines import ComingLines
from qbitsim.cli.images import ending, image_store
from qbitsim.machine.machine import PACINGS, Machine
from qbitsim.terminal.errors import FAILED, CliError

if TYPE_CHECKING:
    from qbitsim.shell.shell import Shell

_EXTRA = ("prompt_toolkit", "rich")
"""What the keyboard needs; commands from elsewhere need nothing."""


def run(arguments: argparse.Namespace) -> int:
    """Run commands from the command line, a file, a pipe or the keyboard; the exit status.

    :raises CliError: somebody wants to type and the extra is not installed, the machine cannot be set up, or the server
        cannot be reached.
    """
    if _has_keyboard(arguments) and any(find_spec(name) is None for name in _EXTRA):
        raise CliError("the shell with a keyboard needs: pip install 'qbitsim[shell]'; -c and a pipe need nothing")
    if sys.stdin is None and not arguments.commands:
        raise CliError("there is no standard input")
    if arguments.connect:
        return _run(_on_server(arguments), arguments)
    machine = _machine(arguments)
    with ending(machine, arguments):
        return _run(_on_machine(machine, arguments), arguments)


def _run(shell: Shell, arguments: argparse.Namespace) -> int:
    from qbitsim.shell.script import play  # noqa: PLC0415

    _connect(shell, arguments)
    try:
        if arguments.commands:
            return play(shell, arguments.commands, "-c")
        if _has_keyboard(arguments):
            return _at_keyboard(shell)
        if sys.stdin.seekable():
            return play(shell, sys.stdin.readlines(), "<stdin>")
        lines = ComingLines(sys.stdin.fileno())
        return play(shell, lines, "<stdin>", ended=lines.stop_waiting)
    finally:
        shell.monitor.close()


def _has_keyboard(arguments: argparse.Namespace) -> bool:
    """Whether somebody types the commands."""
    return not arguments.commands and sys.stdin is not None and sys.stdin.isatty() and sys.stdout.isatty()


def _machine(arguments: argparse.Namespace) -> Machine:
    pacing = arguments.pacing or "manual"
    if pacing not in PACINGS:
        raise CliError(f"--pacing {pacing!r}: choose {' or '.join(PACINGS)}; for real time there is 'qbitsim serve'")
    return Machine(arguments.profile, images=image_store(arguments), control=True, pacing=pacing)


def _on_machine(machine: Machine, arguments: argparse.Namespace) -> Shell:
    from qbitsim.shell.channel import MachineChannel  # noqa: PLC0415 - the extra is there
    from qbitsim.shell.screen import Screen  # noqa: PLC0415
    from qbitsim.shell.shell import Shell  # noqa: PLC0415

    apply_settings(machine, arguments)
    screen = Screen(sys.stdout, os.environ)
    return Shell(lambda: MachineChannel(machine, screen.write), screen, machine=machine)


def _on_server(arguments: argparse.Namespace) -> Shell:
    from qbitsim.shell.screen import Screen  # noqa: PLC0415
    from qbitsim.shell.shell import Shell  # noqa: PLC0415

    if has_settings(arguments) or arguments.pacing or arguments.images:
        raise CliError("--connect: the server that runs there has its disks, its files and its pacing already")
    if not arguments.patience > 0:
        raise CliError(f"--patience {arguments.patience}: it must be more than 0 seconds")
    address = address_of("--connect", arguments.connect)
    return Shell(lambda: SocketChannel(address), Screen(sys.stdout, os.environ), patience=arguments.patience)


def _connect(shell: Shell, arguments: argparse.Namespace) -> None:
    from qbitsim.shell.monitor import PeerError  # noqa: PLC0415

    try:
        shell.connect()
    except PeerError as error:
        raise CliError(f"--connect {arguments.connect}: {error}", FAILED) from None
    if not shell.schema.has_types:
        shell.screen.complain("this server has no query-qmp-schema: names of commands are completed, arguments are not")


def _at_keyboard(shell: Shell) -> int:
    from qbitsim.shell.prompt import Keyboard  # noqa: PLC0415

    where = "qbitsim as" if shell.machine is not None else "connected to"
    shell.screen.say(f"{where} QEMU {shell.monitor.version}; ':help' helps, Ctrl-D leaves", "dim")
    Keyboard(shell).run()
    return 0
