"""The words of a command line as options with arguments (qemu_init and lookup_opt, system/vl.c, QEMU 10.0).

All options are looked up before any is obeyed, so that an unknown one is refused whatever the others are. An error is
said behind the words that it is about.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from qbitsim.errors import QmpError
from qbitsim.programs.qemu_system.options import Effect, Option, find_option
from qbitsim.records import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.profiles import Profile

PROGRAM = "qemu-system-x86_64"

DISK_IMAGE = Option(name="", effect=Effect.USED, argument=True)
"""What a word without a hyphen is."""


class StartError(Exception):
    """The program ends now, and says why.

    :param text: without the program's name; empty if all was said.
    :param words: those of the command line that it is about, in front of the text.
    """

    def __init__(self, text: str, words: str = "", status: int = 1) -> None:
        super().__init__(text)
        self.text = text
        self.words = words
        self.status = status


class EndError(Exception):
    """The program has done what it was asked for, such as printing help, and ends with success."""


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

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Refusals of what is done inside are about this option.

        :raises StartError: in place of a QmpError.
        """
        try:
            yield
        except QmpError as error:
            raise StartError(message(error), self.words) from None


def message(error: QmpError) -> str:
    """The text of a refusal with the lines that people get to read, too."""
    return error.desc + (f"\n{error.hint.rstrip(chr(10))}" if error.hint else "")


def line(text: str, words: str = "", label: str = "") -> str:
    """A line as the program writes it on standard error."""
    place = f" {words}:" if words else ""
    return f"{PROGRAM}:{place}{label and f' {label}:'} {text}\n"


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
