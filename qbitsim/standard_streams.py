"""Standard output and standard error of a program written in C: the former is kept back, the latter is not."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

STDOUT = 1
STDERR = 2


class StandardStreams:
    """What a program prints, in the order in which it leaves the program.

    :param write: takes a descriptor, :data:`STDOUT` or :data:`STDERR`, and a text.
    :param by_line: standard output is a terminal: each line leaves as soon as it ends.
    """

    __slots__ = ("_by_line", "_kept", "_write")

    def __init__(self, write: Callable[[int, str], object], *, by_line: bool = False) -> None:
        self._write = write
        self._by_line = by_line
        self._kept: list[str] = []

    def print(self, text: str) -> None:
        """Print on standard output."""
        self._kept.append(text)
        if self._by_line and "\n" in text:
            self.flush()

    def complain(self, text: str) -> None:
        """Print on standard error."""
        if text:
            self._write(STDERR, text)

    def flush(self) -> None:
        """Let go what was kept back."""
        text = "".join(self._kept)
        self._kept.clear()
        if text:
            self._write(STDOUT, text)

    def drop(self) -> None:
        """Forget what was kept back, as a program does that ends by a signal."""
        self._kept.clear()
