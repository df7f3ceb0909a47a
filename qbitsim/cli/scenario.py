"""Scenarios in the format in which real QEMU was recorded: checked, played, and written down.

:mod:`qbitsim.scenario.player` plays them and describes the steps. What is checked here first is their shape, so that a
mistake in a file is named by its step and never met in the middle of a play.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import TypeGuard

from qbitsim.cli.images import end, save
from qbitsim.history.history import History
from qbitsim.images.store import ImageStore
from qbitsim.jsontypes import Json
from qbitsim.profiles import Profile
from qbitsim.scenario.player import Player, ScenarioError
from qbitsim.terminal.errors import CliError

PICKS = (None, "bitmaps", "named-bitmaps", "nodes", "ok", "count")


def _steps_of(value: object, name: str) -> list[Json]:
    """The steps of a scenario, after a check of their shape."""
    steps = value.get("steps") if isinstance(value, dict) else value
    if not isinstance(steps, list):
        raise CliError(f"{name}: 'steps' is no list")
    for index, step in enumerate(steps):
        if not isinstance(step, dict):
            raise CliError(f"{name}: step {index} is no object")
        kind = next((kind for kind in _SHAPES if kind in step), None)
        if kind is None:
            raise CliError(f"{name}: step {index} is of no known kind: it has {', '.join(step) or 'no members'}")
        fits, shape = _SHAPES[kind]
        if not fits(step[kind]):
            raise CliError(f"{name}: step {index}: '{kind}' is not {shape}")
        if step.get("pick") not in PICKS:
            raise CliError(f"{name}: step {index}: unknown 'pick' {step['pick']!r}")
        if "json_pick" in step and not _is_words(step["json_pick"]):
            raise CliError(f"{name}: step {index}: 'json_pick' is not a list of words")
        if not isinstance(step.get("repeat", 1), int):
            raise CliError(f"{name}: step {index}: 'repeat' is no number")
    return steps


def play(
    name: str, value: object, profile: Profile, history: History | None = None, images: ImageStore | None = None
) -> tuple[Json, str | None]:
    """Play a scenario, watched by ``history``; the transcript, and why the play ended early, or None.

    A transcript is ``{"scenario", "group", "qemu", "records"}``; ``qemu`` is the version that the machine's greeting
    gave, None if none was started. An early end stands in ``harness_error``, too.

    :param name: of the file, for messages.
    :param value: the scenario, whole or as a bare list of steps.
    :param images: the files that are there; none if not given.
    :raises CliError: it is no scenario; the text says which step is at fault. Or its files cannot be written.
    """
    steps = _steps_of(value, name)
    player, fault = Player(profile, history, images=images), None
    try:
        player.play(steps)
    except ScenarioError as error:
        fault = str(error)
    if images is not None:
        if player.machine is not None:
            end(player.machine)
        save(images)
    about = value if isinstance(value, dict) else {}
    greeted = any(record["type"] == "greeting" for record in player.records)
    transcript = {
        "scenario": about.get("name"),
        "group": about.get("group"),
        "qemu": ".".join(map(str, profile.version)) if greeted else None,
        "records": player.records,
    }
    if fault is not None:
        transcript["harness_error"] = {"error": fault, "exit": None}
    return transcript, fault


def _is_words(value: object) -> TypeGuard[list[str]]:
    return isinstance(value, list) and bool(value) and all(isinstance(word, str) for word in value)


def _is_objects(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, dict) for item in value)


def _is_start(value: object) -> bool:
    if not isinstance(value, dict):
        return value is True
    drives, arguments = value.get("drives", []), value.get("args", [])
    return (
        _is_objects(drives)
        and _is_objects(value.get("blockdevs", []))
        and all(isinstance(item, (str, int)) for drive in drives for item in drive.values())
        and (arguments == [] or (_is_words(arguments) and _are_devices(arguments)))
    )


def _are_devices(words: list[str]) -> bool:
    """Whether what follows each ``-device`` is a driver with a drive and an id."""
    values = [value for flag, value in pairwise(words) if flag == "-device"]
    return all(re.fullmatch(r"(?=.*,drive=)(?=.*,id=)[^,=]+(,[^,=]+=[^,]*)+", value) for value in values)


def _is_write(value: object) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 4
        and isinstance(value[0], str)
        and all(isinstance(item, (int, str)) for item in value)
    )


def _is_hex(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"(\s*[0-9a-fA-F]{2})*\s*", value) is not None


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and 0 <= value < 1e9


_SHAPES: dict[str, tuple[Callable[[object], bool], str]] = {
    "shell": (_is_words, "a list of words"),
    "start": (_is_start, "true, or an object with 'drives', 'blockdevs' and 'args'"),
    "qmp": (lambda value: value is not None, "a message"),
    "write": (_is_write, "[device, offset, length, pattern]"),
    "io": (lambda value: _is_words(value) and len(value) == 2, "[device, command]"),
    "raw": (lambda value: isinstance(value, str), "a text"),
    "raw_hex": (_is_hex, "bytes as hexadecimal digits"),
    "settle": (lambda _: True, "true"),
    "wait_event": (lambda value: isinstance(value, str), "the name of an event"),
    "sleep": (_is_seconds, "a number of seconds"),
    "reconnect": (lambda _: True, "true"),
    "quit": (lambda _: True, "true"),
    "kill": (lambda value: isinstance(value, int), "the number of a signal"),
    "note": (lambda _: True, "a remark"),
}
"""Kind of step -> whether its value fits, and what it should be, in the order in which the player looks for them."""
