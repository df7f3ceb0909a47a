"""``qbitsim demo``: the story in the terminal."""

from __future__ import annotations

import argparse
import os
import sys

from qbitsim.cli import story
from qbitsim.cli.demo_machine import DemoMachine
from qbitsim.cli.images import ending, image_store
from qbitsim.machine.machine import Machine
from qbitsim.terminal.errors import FAILED, CliError
from qbitsim.terminal.picture import Style
from qbitsim.terminal.streams import show


def run(arguments: argparse.Namespace) -> int:
    """Play the story on a fresh machine; the exit status is :data:`.FAILED` if a backup proves wrong.

    :raises CliError: the folder for its files does not exist, or is not empty.
    """
    style = Style.of(sys.stdout, os.environ, width=arguments.width, ascii_only=arguments.ascii)
    images = image_store(arguments)
    if images.names():
        raise CliError(f"--images {arguments.images}: the story begins with an empty folder")
    machine = Machine(arguments.profile, images=images)
    with ending(machine, arguments):
        return 0 if story.play(DemoMachine(machine, style, show)) else FAILED
