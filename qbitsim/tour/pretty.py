"""JSON as a client would send it, in lines that fit."""

from __future__ import annotations

import json

from qbitsim.jsontypes import Json


def pretty(value: object, width: int) -> str:
    """A JSON value in lines of at most ``width`` columns, where that can be; the outer braces stand alone."""
    return _broken(value, width, "", "") if isinstance(value, dict) and value else _laid_out(value, width, "", "")


def _laid_out(value: object, width: int, indent: str, first: str) -> str:
    """A value behind ``first``, on one line if it fits (with a comma)."""
    line = first + _flat(value)
    if len(line) < width or not value or not isinstance(value, dict | list):
        return line
    return _broken(value, width, indent, first)


def _broken(value: Json | list[object], width: int, indent: str, first: str) -> str:
    inner = indent + "  "
    if isinstance(value, dict):
        parts = [_member(key, item, width, inner) for key, item in value.items()]
        opening, closing = "{", "}"
    else:
        parts = [_item(item, width, inner) for item in value]
        opening, closing = "[", "]"
    return "\n".join([first + opening, ",\n".join(parts), indent + closing])


def _item(value: object, width: int, indent: str) -> str:
    laid = _laid_out(value, width, indent, indent)
    return laid if isinstance(value, dict | list) else _moved(laid, width)


def _member(key: str, value: object, width: int, indent: str) -> str:
    """A member of an object; a plain value that does not fit behind its name goes on a line of its own."""
    name = f"{indent}{json.dumps(key)}:"
    laid = _laid_out(value, width, indent, f"{name} ")
    if len(laid.partition("\n")[0]) < width or isinstance(value, dict | list):
        return laid
    return f"{_moved(name, width)}\n{_moved(f'{indent}  {_flat(value)}', width)}"


def _moved(line: str, width: int) -> str:
    """The line with so much less indentation that it fits, with a comma, if that can be."""
    text = line.lstrip(" ")
    return " " * min(len(line) - len(text), max(width - len(text) - 1, 0)) + text


def _flat(value: object) -> str:
    return json.dumps(value)
