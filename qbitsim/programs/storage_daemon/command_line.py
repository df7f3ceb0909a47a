"""The words of the command line, and what the options are that are obeyed in their order.

(process_options, storage-daemon/qemu-storage-daemon.c, QEMU 10.0.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.programs.complaints import StartError, complaint
from qbitsim.programs.getopt import GetoptError, scan
from qbitsim.programs.option_text import option_list
from qbitsim.records import record

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAM = "qemu-storage-daemon"

LETTERS = "-hT:V"
LONG = {
    "blockdev:": "blockdev",
    "chardev:": "chardev",
    "daemonize": "daemonize",
    "export:": "export",
    "help": "help",
    "monitor:": "monitor",
    "nbd-server:": "nbd-server",
    "object:": "object",
    "pidfile:": "pidfile",
    "trace:": "trace",
    "version": "version",
}
_SHORT = {"h": "help", "T": "trace", "V": "version"}

TRACE = option_list("trace", "enable", string="enable events file")


@record
class Given:
    """An option as it was given.

    :ivar name: in full; :data:`.NO_OPTION` for a word that is none.
    :ivar words: it and its argument, as errors show them.
    """

    name: str
    argument: str
    words: str


def line(text: str, words: str = "", label: str = "") -> str:
    """A line as the program writes it on standard error."""
    return complaint(PROGRAM, text, words, label)


def read_words(argv: list[str]) -> Iterator[Given]:
    """The options, one after the other.

    :param argv: without the name of the program.
    :raises StartError: when its turn comes, for one that there is not or that lacks its argument.
    """
    words = _Words(argv)
    begin = 0
    try:
        for name, argument in scan(words, LETTERS, [], LONG):
            yield Given(_SHORT.get(name, name), argument, " ".join(argv[begin : words.position]))
            begin = words.position
    except GetoptError as error:
        raise StartError(str(error)) from None


class _Words:
    """Words that know how many of them were read."""

    def __init__(self, words: list[str]) -> None:
        self._words = words
        self.position = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.position == len(self._words):
            raise StopIteration
        self.position += 1
        return self._words[self.position - 1]
