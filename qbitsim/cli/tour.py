"""``qbitsim tour``: the guided tour in the terminal."""

from __future__ import annotations

import argparse
import os
import sys

from qbitsim.cli.errors import FAILED, CliError
from qbitsim.cli.output import show
from qbitsim.cli.picture import Style
from qbitsim.tour.chapters import CHAPTERS
from qbitsim.tour.lesson import Chapter
from qbitsim.tour.player import FalseClaimError, Player
from qbitsim.tour.reader import Auto


def run(arguments: argparse.Namespace) -> int:
    """Play the tour."""
    style = Style.of(sys.stdout, os.environ, width=arguments.width, ascii_only=arguments.ascii)
    for chapter in CHAPTERS if arguments.chapter is None else (_chapter(arguments.chapter),):
        play(chapter, arguments.profile, style)
    return 0


def play(chapter: Chapter, release: str, style: Style) -> None:
    try:
        player = Player(chapter, release, style, show)
        player.scene.teller.heading(f"{CHAPTERS.index(chapter) + 1}. {chapter.title}")
        player.play(Auto())
    except FalseClaimError as error:
        raise CliError(str(error), FAILED) from None


def _chapter(text: str) -> Chapter:
    for number, chapter in enumerate(CHAPTERS, 1):
        if text in (chapter.slug, str(number)):
            return chapter
    raise CliError(
        f"there is no chapter '{text}': choose 1 to {len(CHAPTERS)} or one of {', '.join(c.slug for c in CHAPTERS)}"
    )
