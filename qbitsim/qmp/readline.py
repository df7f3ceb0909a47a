"""A line that is typed at a human monitor, without I/O: bytes in, what a terminal has to show out.

(util/readline.c, QEMU 10.0.) After each byte the line is shown anew if it has changed: the cursor goes back to where it
began, the line is written, the rest is erased. Names are not completed: a tabulator changes nothing.
"""

from __future__ import annotations

PROMPT = "(qemu) "

_LONGEST = 4095
_MOST_REMEMBERED = 64
_LEFT, _RIGHT, _ERASE = "\033[D", "\033[C", "\033[K"


class ReadLine:
    """The line that is being typed, and those before it.

    :param kills: whether Ctrl-U empties the line.
    """

    def __init__(self, *, kills: bool) -> None:
        self._kills = kills
        self._line: list[str] = []
        self._cursor = 0
        self._shown: list[str] = []
        self._shown_cursor = 0
        self._escape = ""
        self._history: list[str] = []
        self._entry: int | None = None

    def feed(self, byte: int) -> tuple[str, str | None]:
        """Take a byte: what to show, and the line that it ends, if it does."""
        if not self._escape and byte in b"\r\n":
            return "\n", self._end_line()
        if not self._escape and byte == 12:
            self._forget_shown()
            return "\033[2J\033[1;1H" + PROMPT + self._update(), None
        self._obey(byte)
        return self._update(), None

    def _end_line(self) -> str:
        line = "".join(self._line)
        self._remember(line)
        self._line, self._cursor = [], 0
        self._forget_shown()
        return line

    def _forget_shown(self) -> None:
        self._shown, self._shown_cursor = [], 0

    def _update(self) -> str:
        """What turns the shown line into the line."""
        out = ""
        if self._line != self._shown:
            out = _LEFT * self._shown_cursor + "".join(self._line) + _ERASE
            self._shown, self._shown_cursor = self._line.copy(), len(self._line)
        distance = self._cursor - self._shown_cursor
        self._shown_cursor = self._cursor
        return out + (_RIGHT if distance > 0 else _LEFT) * abs(distance)

    # -- what keys do

    def _obey(self, byte: int) -> None:
        if self._escape:
            self._obey_escape(chr(byte))
        elif byte == 27:
            self._escape = "\033"
        elif byte == 155:
            self._escape = "["
        elif byte in (8, 127):
            self._delete(self._cursor - 1)
        elif byte < 32:
            self._obey_control(byte)
        elif len(self._line) < _LONGEST:
            self._line.insert(self._cursor, chr(byte))
            self._cursor += 1

    def _obey_control(self, byte: int) -> None:
        """Ctrl-A is 1, and so on."""
        if byte == 1:
            self._cursor = 0
        elif byte == 4:
            self._delete(self._cursor)
        elif byte == 5:
            self._cursor = len(self._line)
        elif byte == 14:
            self._recall_next()
        elif byte == 16:
            self._recall_previous()
        elif byte == 21 and self._kills:
            del self._line[: self._cursor]
            self._cursor = 0
        elif byte == 23:
            self._delete_word()

    def _obey_escape(self, character: str) -> None:
        """The next character of a sequence such as ``ESC [ 3 ~``."""
        before, self._escape = self._escape, ""
        if before == "\033":
            self._escape = {"[": "[", "O": "O"}.get(character, "")
        elif before == "O":
            self._cursor = {"F": len(self._line), "H": 0}.get(character, self._cursor)
        elif character.isdigit():
            self._escape = before + character
        elif character in "AF":
            self._recall_previous()
        elif character in "BE":
            self._recall_next()
        elif character == "D":
            self._cursor = max(self._cursor - 1, 0)
        elif character == "C":
            self._cursor = min(self._cursor + 1, len(self._line))
        elif character == "~":
            self._obey_number(before.removeprefix("["))

    def _obey_number(self, number: str) -> None:
        if number == "1":
            self._cursor = 0
        elif number == "3":
            self._delete(self._cursor)
        elif number == "4":
            self._cursor = len(self._line)

    def _delete(self, position: int) -> None:
        if 0 <= position < len(self._line):
            del self._line[position]
            self._cursor = min(self._cursor, position)

    def _delete_word(self) -> None:
        start = self._cursor
        while start > 0 and self._line[start - 1].isspace():
            start -= 1
        while start > 0 and not self._line[start - 1].isspace():
            start -= 1
        del self._line[start : self._cursor]
        self._cursor = start

    # -- lines before this one

    def _remember(self, line: str) -> None:
        if line:
            if line in self._history:
                self._history.remove(line)
            self._history = [*self._history, line][-_MOST_REMEMBERED:]
            self._entry = None

    def _recall_previous(self) -> None:
        if self._entry == 0 or not self._history:
            return
        self._entry = (len(self._history) if self._entry is None else self._entry) - 1
        self._recall(self._history[self._entry])

    def _recall_next(self) -> None:
        if self._entry is None:
            return
        self._entry = self._entry + 1 if self._entry + 1 < len(self._history) else None
        self._recall("" if self._entry is None else self._history[self._entry])

    def _recall(self, line: str) -> None:
        self._line, self._cursor = list(line), len(line)
