"""Shells whose screen can be read."""

from __future__ import annotations

import io

import pytest

from qbitsim import Machine
from qbitsim.shell.channel import MachineChannel
from qbitsim.shell.screen import Screen
from qbitsim.shell.shell import Shell


class Terminal(io.StringIO):
    """A terminal of which everything can be read, once."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True

    def take(self) -> str:
        text = self.getvalue()
        self.seek(0)
        self.truncate()
        return text


@pytest.fixture
def terminal(monkeypatch):
    """80 columns wide."""
    monkeypatch.setenv("COLUMNS", "80")
    return Terminal()


@pytest.fixture
def new_shell(terminal):
    """Make a shell on a machine; its screen is the terminal, without colours unless told otherwise."""

    def make(profile="10.0", *, pacing="manual", colour=False, **disks):
        machine = Machine(profile, control=True, pacing=pacing)
        for identifier, size in (disks or {"drive0": "1M"}).items():
            machine.add_disk(identifier, size, node_name=f"{identifier}-node")
        environment = {"TERM": "xterm"} if colour else {"TERM": "xterm", "NO_COLOR": "1"}
        screen = Screen(terminal, environment)
        shell = Shell(lambda: MachineChannel(machine, screen.write), screen, machine=machine)
        shell.connect()
        return shell

    return make


@pytest.fixture
def say(terminal):
    """What the screen shows of some lines."""

    def run(shell, *lines):
        terminal.take()
        for line in lines:
            shell.run(line)
        return terminal.take()

    return run
