"""``qbitsim demo``: the story in the terminal."""

from __future__ import annotations

import argparse
import os
import sys

from qbitsim.cli import story
from qbitsim.cli.demo_machine import DemoMachine
from qbitsim.machine.machine import Machine
from qbitsim.terminal.errors import FAILED
from qbitsim.terminal.picture import Style
from qbitsim.terminal.streams import show


def run(arguments: argparse.Namespace) -> int:
    """Play the story on a fresh machine; the exit status is :data:`.FAILED` if a backup proves wrong."""
    style = Style.of(sys.stdout, os.environ, width=arguments.width, ascii_only=arguments.ascii)
    return 0 if story.play(DemoMachine(Machine(arguments.profile), style, show)) else FAILED
