"""How a program that serves says why it ends, in QEMU's words (util/error-report.c, 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.errors import QmpError
from qbitsim.light_library import contextmanager

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def message(error: QmpError) -> str:
    """The text of a refusal with the lines that people get to read, too."""
    return error.desc + (f"\n{error.hint.rstrip(chr(10))}" if error.hint else "")


def complaint(program: str, text: str, words: str = "", label: str = "") -> str:
    """A line as a program writes it on standard error.

    :param words: those of the command line that it is about.
    :param label: ``warning`` or ``info``; empty for an error.
    """
    place = f" {words}:" if words else ""
    return f"{program}:{place}{label and f' {label}:'} {text}\n"


@contextmanager
def blaming(words: str) -> Iterator[None]:
    """Refusals of what is done inside are about these words of the command line.

    :raises StartError: in place of a QmpError.
    """
    try:
        yield
    except QmpError as error:
        raise StartError(message(error), words) from None
