"""The words of a command line as options with arguments (qemu_init and lookup_opt, system/vl.c, QEMU 10.0).

All options are looked up before any is obeyed, so that an unknown one is refused whatever the others are. An error is
said behind the words that it is about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.programs.complaints import StartError, blaming, complaint
from qbitsim.programs.qemu_system.options import Effect, Option, find_option
from qbitsim.records import record

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from qbitsim.profiles import Profile

PROGRAM = "qemu-system-x86_64"

DISK_IMAGE = Option(name="", effect=Effect.USED, argument=True)
"""What a word without a hyphen is."""


@record
class Given:
    """An option as it was given.

    :ivar words: it and its argument, as errors show them.
    """

    option: Option
    argument: str
    words: str

    @property
    def name(self) -> str:
        """The option's name, without its hyphen."""
        return self.option.name

    def blamed(self) -> AbstractContextManager[None]:
        """Refusals of what is done inside are about this option; see :func:`.blaming`."""
        return blaming(self.words)


def line(text: str, words: str = "", label: str = "") -> str:
    """A line as the program writes it on standard error."""
    return complaint(PROGRAM, text, words, label)


def read_words(argv: list[str], profile: Profile) -> list[Given]:
    """The options of a command line.

    :param argv: without the name of the program.
    :raises StartError: the release has no such option, or an argument is missing.
    """
    given: list[Given] = []
    position = 0
    while position < len(argv):
        word = argv[position]
        position += 1
        if not word.startswith("-"):
            given.append(Given(DISK_IMAGE, word, word))
            continue
        option = find_option(profile, word.removeprefix("-").removeprefix("-"))
        if option is None:
            raise StartError("invalid option", word)
        argument, words = "", word
        if option.argument:
            if position == len(argv):
                raise StartError("requires an argument", word)
            argument = argv[position]
            words = f"{word} {argument}"
            position += 1
        given.append(Given(option, argument, words))
    return given
