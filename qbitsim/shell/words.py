"""A line cut into words: what stands between blanks, where quotes and brackets hold together what belongs together.

A value is what stands behind the first ``=`` of a word. One that begins with ``{`` or ``[`` goes on to the bracket that
closes it, one that begins with a quote to the next quote; ``"..."`` has JSON's escapes, ``'...'`` has none.
"""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

_BARE = re.compile(r"\S*")
_BLANK = re.compile(r"\s*")
_UP_TO_VALUE = re.compile(r"[^\s=]*=")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_PYTHON_STRING = re.compile(r"'(?:[^'\\]|\\.)*'", re.DOTALL)
_INSIDE = re.compile(r"[^\"'\[\]{}]*")
_LONGEST_LITERAL = 1 << 16
"""Characters of what people write as Python does."""


class LineError(Exception):
    """A line that cannot be understood.

    :param text: what is wrong with it.
    :param place: the index of the character where it is.
    """

    def __init__(self, text: str, place: int) -> None:
        super().__init__(text)
        self.text = text
        self.place = place


class IncompleteError(LineError):
    """A line that may become one that can be understood, if it goes on."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word.

    :ivar start: its index in the line; :ivar value_start: that of what stands behind the first ``=``, or of the word.
    :ivar complete: whether its quotes and brackets are closed.
    """

    text: str
    start: int
    value_start: int
    complete: bool = True

    @property
    def end(self) -> int:
        """The index behind it."""
        return self.start + len(self.text)

    @property
    def key(self) -> str | None:
        """What stands before the first ``=``; None if there is none."""
        return self.text[: self.value_start - self.start - 1] if self.value_start > self.start else None

    @property
    def value(self) -> str:
        """What stands behind the first ``=``, or the whole word."""
        return self.text[self.value_start - self.start :]


def words(line: str, start: int = 0) -> Iterator[Word]:
    """The words of a line from an index on; the last one may be incomplete."""
    blank = _BLANK.match(line, start)
    assert blank is not None
    place = blank.end()
    while place < len(line):
        key = _UP_TO_VALUE.match(line, place)
        value_start = key.end() if key is not None else place
        end = _end_of_value(line, value_start)
        yield Word(line[place : len(line) if end is None else end], place, value_start, end is not None)
        blank = _BLANK.match(line, len(line) if end is None else end)
        assert blank is not None
        place = blank.end()


def _end_of_value(line: str, start: int) -> int | None:
    """The index behind a value; None if it is not complete."""
    first = line[start : start + 1]
    if first in ("{", "["):
        end = _end_of_brackets(line, start)
    elif first == '"':
        string = _STRING.match(line, start)
        end = string.end() if string is not None else None
    elif first == "'":
        end = line.find("'", start + 1) + 1 or None
    else:
        end = start
    if end is None:
        return None
    bare = _BARE.match(line, end)
    assert bare is not None
    return bare.end()


def _end_of_brackets(line: str, start: int) -> int | None:
    depth = 0
    place = start
    while place < len(line):
        if line[place] in "\"'":
            string = (_STRING if line[place] == '"' else _PYTHON_STRING).match(line, place)
            if string is None:
                return None
            place = string.end()
            continue
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(line[place], 0)
        place += 1
        if depth == 0:
            return place
        inside = _INSIDE.match(line, place)
        assert inside is not None
        place = inside.end()
    return None


def parse_json(text: str, place: int) -> object:
    """The JSON value that a word holds; objects and lists may be written as in Python, as for qmp-shell.

    :param place: the index of the text in the line.
    :raises LineError: it is none; IncompleteError: it only has not ended.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        literal = _python_literal(text)
        if literal is not None:
            return literal
        if text[error.pos :].strip() == "":
            raise IncompleteError("the JSON does not end", place) from None
        raise LineError(f"{error.msg} (JSON)", place + error.pos) from None
    except RecursionError:
        raise LineError("the JSON is nested too deep", place) from None
    except ValueError as error:
        raise LineError(str(error), place) from None


class _JsonNames(ast.NodeTransformer):
    """JSON's names in a Python expression, as qmp-shell takes them."""

    _VALUES: ClassVar = {"true": True, "false": False, "null": None}

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """The constant that a name stands for."""
        return ast.Constant(self._VALUES[node.id]) if node.id in self._VALUES else node


def _python_literal(text: str) -> object:
    """A list or an object as Python writes it, ``{'a': True}``; None if it is none that JSON could hold."""
    if text[:1] not in ("{", "[") or len(text) > _LONGEST_LITERAL:
        return None
    try:
        value = ast.literal_eval(_JsonNames().visit(ast.parse(text, mode="eval")))
        return json.loads(json.dumps(value, allow_nan=False)) if isinstance(value, dict | list) else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    if math.isinf(float(text)):
        raise ValueError(f"{text} is too large")
    return float(text)
