"""``qbitsim demo``: the story in the terminal."""

from __future__ import annotations

import argparse
import os
import sys

from qbitsim.cli import story
from qbitsim.cli.errors import FAILED
from qbitsim.cli.output import show
from qbitsim.cli.picture import Style
from qbitsim.cli.stage import Stage
from qbitsim.machine import Machine


def run(arguments: argparse.Namespace) -> int:
    """Tell the story on a fresh machine; the exit status is :data:`.FAILED` if a backup proves wrong."""
    style = Style.of(sys.stdout, os.environ, width=arguments.width, ascii_only=arguments.ascii)
    stage = Stage(Machine(arguments.profile), style, show)
    return 0 if story.tell(stage) else FAILED
