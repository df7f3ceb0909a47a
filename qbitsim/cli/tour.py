"""``qbitsim tour``: the guided tour in the terminal."""

from __future__ import annotations

import argparse
import os
import sys
from importlib.util import find_spec

from qbitsim.terminal.errors import FAILED, CliError
from qbitsim.terminal.picture import Style
from qbitsim.terminal.streams import show
from qbitsim.tour.guide import Guide, contents, find
from qbitsim.tour.lesson import Chapter
from qbitsim.tour.player import FalseClaimError
from qbitsim.tour.progress import Progress, ProgressError, ProgressFile, state_path
from qbitsim.tour.reader import Reader


def run(arguments: argparse.Namespace) -> int:
    """Play the tour, or list its chapters.

    :raises CliError: there is no such chapter, the extra is missing, or a chapter claims what is not so.
    """
    chapter = _chapter(arguments.chapter) if arguments.chapter is not None else None
    style = Style.of(sys.stdout, os.environ, width=arguments.width, ascii_only=arguments.ascii)
    if arguments.list:
        return _list(arguments, style)
    try:
        if arguments.auto or not _at_terminal():
            _play_alone(arguments, style, chapter)
        else:
            _play_with_keyboard(arguments, style, chapter)
    except FalseClaimError as error:
        raise CliError(f"{error} (A bug of qbitsim.)", FAILED) from None
    return 0


def _play_alone(arguments: argparse.Namespace, style: Style, chapter: Chapter | None) -> None:
    guide = Guide(arguments.profile, style, show)
    guide.lead(Reader(), [chapter] if chapter is not None else guide.begin(_chapter("1")))


def _play_with_keyboard(arguments: argparse.Namespace, style: Style, chapter: Chapter | None) -> None:
    if find_spec("prompt_toolkit") is None:
        raise CliError("the tour with a keyboard needs: pip install 'qbitsim[shell]'; 'qbitsim tour --auto' does not")
    from qbitsim.tour.keyboard import Keyboard  # noqa: PLC0415 - the extra is there

    progress_file = _progress_file(arguments)
    guide = Guide(arguments.profile, style, show, progress_file)
    chapters, start = (guide.begin(chapter), 0) if chapter is not None else guide.welcome()
    guide.lead(Keyboard(guide.narrator), chapters, start)


def _at_terminal() -> bool:
    """Whether somebody can be asked; if not, say how it goes on."""
    for name, stream in (("input", sys.stdin), ("output", sys.stdout)):
        if stream is None or not stream.isatty():
            print(f"qbitsim: standard {name} is no terminal: the tour goes on as with --auto", file=sys.stderr)
            return False
    return True


def _list(arguments: argparse.Namespace, style: Style) -> int:
    try:
        progress = _progress_file(arguments).load()
    except ProgressError as error:
        print(f"qbitsim: {error}", file=sys.stderr)
        progress = Progress()
    for line in contents(progress, style):
        show(line)
    return 0


def _progress_file(arguments: argparse.Namespace) -> ProgressFile:
    try:
        return ProgressFile(arguments.state if arguments.state is not None else state_path(os.environ))
    except ProgressError as error:
        raise CliError(str(error)) from None


def _chapter(text: str) -> Chapter:
    chapter = find(text)
    if chapter is None:
        raise CliError(f"there is no chapter '{text}' (try 'qbitsim tour --list')")
    return chapter
