"""Histories as files: one JSON object in each line, the header first.

Header: ``kind`` ("qbitsim-history"), ``format``, ``title``, ``profile``, ``epoch`` (seconds since 1970 at time 0, or
null), ``notes`` (texts for the reader), ``bits`` (false: it is not known which bits were dirty).

Lane, ``{"lane": {...}}``, with ``kind`` and ``name``. Lanes are numbered as they come, before the first moment that
names them.

* ``disk``: ``node``, ``size`` in bytes, ``cell`` in bytes. Its cells are those that hold data.
* ``bitmap``: ``node``, ``drive`` (or null), ``size``, ``cell`` (its granularity); ``internal`` if it has no name.
* ``successor``: likewise, and ``of``, the number of its bitmap's lane.
* ``job``: ``type``, ``drive`` (or null).

Moment: ``at`` (nanoseconds), ``kind`` (:data:`KINDS`), ``text``; if there is something to say ``who`` (the client),
``data`` (the message), ``of`` (of a reply: the number of the request's moment), ``expected`` (of a reply: what a
faithful machine would have answered instead), ``machine`` (which of several; names of its lanes begin with it and a
blank), ``failed``, and ``changes``: by the lane's number what is different after the moment, or null if it is gone.

* of a job: ``status``, ``done`` and ``total`` in bytes, ``error``; of a backup, when it begins, ``sync``, ``mode`` (its
  ``bitmap-mode``), ``bitmap`` (the number of that lane, or null), ``node`` and ``target``, and ``copied``: the bytes
  that it has copied since the moment before, as runs.
* of the others: ``+`` and ``-``, the cells that became dirty and clean, as runs (:mod:`qbitsim.history.runs`); or
  ``heat``, the number of dirty cells in equal parts, which replaces what was; ``count`` of dirty cells, ``flags``,
  ``size``. Runs come before a new size.

A file may be cut off, or of a newer format: what can be read is read, and a note says what cannot.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from math import isfinite
from typing import Any

from qbitsim.history.history import FORMAT, KIND, new_header
from qbitsim.jsontypes import Json

KINDS = ("start", "request", "reply", "error", "event", "step", "write", "nbd", "fault", "look", "end")
_LANES = ("disk", "bitmap", "successor", "job")


class HistoryError(ValueError):
    """A text that is no history at all."""


def dumps(history: Json) -> str:
    """A history as the text of a file."""
    header = {name: value for name, value in history.items() if name not in ("lanes", "moments")}
    values = [header, *({"lane": lane} for lane in history["lanes"]), *history["moments"]]
    return "".join(json.dumps(value) + "\n" for value in values)


def is_history(text: str) -> bool:
    """Whether a text is a history, or the beginning of one."""
    return f'"{KIND}"' in text[:200].partition("\n")[0]


def loads(text: str) -> Json:
    """A history from the text of a file.

    :raises HistoryError: its first line is no header.
    """
    lines = text.splitlines()
    header = _object(lines[0]) if lines else None
    if header is None or header.get("kind") != KIND:
        raise HistoryError("it does not begin with the header of a history")
    lanes: list[Json] = []
    moments: list[Json] = []
    notes = notes_on_format(header.get("format"), FORMAT)
    notes += [note for note in _list(header.get("notes")) if isinstance(note, str)]
    is_cut = not text.endswith("\n")
    if is_cut and len(lines) > 1 and _object(lines[-1]) is None:
        lines.pop()
    notes += _read(lines[1:], lanes, moments)
    if is_cut:
        notes.append("The file is cut off: it ends in the middle of a line.")
    known = new_header(
        str(header.get("title", "")),
        str(header.get("profile", "")),
        header["epoch"] if _is_number(header.get("epoch")) else None,
        notes,
        bits=header.get("bits") is not False,
    )
    return {**known, "lanes": lanes, "moments": moments}


def notes_on_format(version: object, known: int) -> list[str]:
    """What the reader of a file must know of its format, if that is not one of those up to ``known``."""
    if isinstance(version, int) and 1 <= version <= known:
        return []
    return [f"The file has format {version!r}; this qbitsim knows {known}. Some of it may be missing."]


def _read(lines: list[str], lanes: list[Json], moments: list[Json]) -> Iterator[str]:
    """Sort the lines into lanes and moments, and say which could not be read."""
    strange = []
    places: list[int | None] = []  # by the numbers of the file: where a lane stands now, if it could be read
    told: list[int | None] = []  # likewise of the moments
    for number, line in enumerate(lines, 2):
        value = _object(line)
        lane = _lane(value["lane"], places) if value is not None and "lane" in value else None
        if lane is not None:
            places.append(len(lanes))
            lanes.append(lane)
        elif value is not None and is_moment(value, len(places)):
            told.append(len(moments))
            moments.append(_renumbered(value if value["kind"] in KINDS else {**value, "kind": "look"}, places, told))
        else:
            strange.append(number)
            (places if line.startswith('{"lane"') else told).append(None)  # those behind it keep their numbers
    if strange:
        more = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        yield f"Line {strange[0]}{more} could not be read."


def _lane(value: object, places: list[int | None]) -> Json | None:
    """A lane whose numbers are those of the lanes that could be read; None if it cannot."""
    if not isinstance(value, dict) or not is_lane(value):
        return None
    of = value.get("of")
    if of is None:
        return value
    place = places[of] if of < len(places) else None
    return {**value, "of": place} if place is not None else None


def _renumbered(moment: Json, places: list[int | None], told: list[int | None]) -> Json:
    """A moment whose numbers are those of the lanes and moments that could be read, without the changes of others."""
    if "of" in moment:
        of = told[moment["of"]] if moment["of"] < len(told) else None
        moment = {name: of if name == "of" else moment[name] for name in moment if name != "of" or of is not None}
    if "changes" not in moment or None not in places:
        return moment
    changes = {}
    for number, change in moment["changes"].items():
        place = places[int(number)]
        if place is not None:
            held = change.get("bitmap") if change is not None else None
            changes[str(place)] = change if held is None else {**change, "bitmap": places[held]}
    return {**moment, "changes": changes}


def is_lane(value: object) -> bool:
    """Whether it is the description of a lane."""
    if not isinstance(value, dict) or value.get("kind") not in _LANES:
        return False
    unnamed = value["kind"] in ("bitmap", "successor") and value.get("name", "") is None
    if not unnamed and not isinstance(value.get("name"), str):
        return False
    if not all(isinstance(value.get(member), str | None) for member in ("node", "drive", "type")):
        return False
    if value["kind"] == "job":
        return True
    numbers = [value.get("size"), value.get("cell"), value.get("of", 0)]
    return all(map(_is_number, numbers)) and value["cell"] > 0


def is_moment(value: Json, lanes: int) -> bool:
    """Whether it is a moment that names no lanes but the first ``lanes``."""
    changes = value.get("changes", {})
    if not (_is_number(value.get("at")) and isinstance(value.get("kind"), str) and isinstance(value.get("text"), str)):
        return False
    if (
        not isinstance(changes, dict)
        or not _is_number(value.get("of", 0))
        or not isinstance(value.get("machine", ""), str)
    ):
        return False
    return all(_is_number_of(number, lanes) and _is_change(change, lanes) for number, change in changes.items())


def _is_number_of(text: str, lanes: int) -> bool:
    """Whether a text is the number of one of the first ``lanes``, as JSON writes it."""
    return text.isascii() and text.isdecimal() and len(text) < 10 and str(int(text)) == text and int(text) < lanes


def _is_change(change: object, lanes: int) -> bool:
    if change is None:
        return True
    if not isinstance(change, dict):
        return False
    numbers = [change.get(name, 0) for name in ("count", "size", "done", "total")]
    lists = [_list(change.get(name, [])) for name in ("+", "-", "copied", "heat")]
    flags, held = change.get("flags", []), change.get("bitmap")
    return (
        all(map(_is_number, numbers))
        and all(all(map(_is_number, each)) for each in lists)
        and not any(len(each) % 2 for each in lists[:3])
        and (held is None or (_is_number(held) and held < lanes))
        and all(isinstance(change.get(name, ""), str) for name in ("status", "sync", "mode", "node", "target"))
        and isinstance(flags, list)
        and all(isinstance(flag, str) for flag in flags)
        and isinstance(change.get("error"), str | None)
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [None] if value is not None else []


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 62


def _object(line: str) -> Json | None:
    try:
        value = json.loads(line, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def _finite(text: str) -> float | str:
    """A number that JSON can hold again, or its text."""
    number = float(text)
    return number if isfinite(number) else text
