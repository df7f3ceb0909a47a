"""Where histories come from: a file is read, whatever it is, and played if it has to be.

* A history, as ``--history`` writes it, is read.
* A scenario with its disks is played on a machine that is watched. If it was recorded with replies, a note says where
  the machine answered otherwise.
* Of a conversation whose disks are not known, or a transcript without the requests, the messages are shown.
* Of a log of libvirt, of ``qemu.qmp`` or of a program that uses it the conversations are shown, and each reply is
  compared with what a machine of the same release answers.
* A file of commands is played as ``qbitsim play`` does it.

What is cut off or of a newer version gets a note, and what can be shown is shown.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from qbitsim.cli import logs, scenario
from qbitsim.cli.arguments import apply_settings, refuse_settings
from qbitsim.cli.script import Script
from qbitsim.history import file as history_file
from qbitsim.history.history import History
from qbitsim.history.records import history_of_records
from qbitsim.history.salvage import salvage
from qbitsim.jsontypes import Json
from qbitsim.logs.telling import history_of_log
from qbitsim.machine.machine import Machine
from qbitsim.profiles import profile
from qbitsim.scenario.recorder import FORMAT
from qbitsim.scenario.replayer import first_difference
from qbitsim.shell.pasted import is_list_of_commands
from qbitsim.terminal.errors import CliError
from qbitsim.terminal.streams import read


def read_history(name: str, arguments: argparse.Namespace) -> Json:
    """The history that a file holds or leads to; ``-`` is standard input.

    :param arguments: the profile, and the machine for a file of commands.
    :raises CliError: the file cannot be read, or nothing of it can be shown.
    """
    data = read(name)
    title = Path(name).stem if name != "-" else "standard input"
    text = data.decode("utf-8", "replace")
    if not text.strip():
        raise CliError(f"{name}: it is empty")
    if history_file.is_history(text):
        refuse_settings(arguments, f"{name}: it is a history, in which all has happened")
        try:
            return history_file.loads(text)
        except history_file.HistoryError as error:
            raise CliError(f"{name}: {error}") from None
    log = logs.read_log(name, text)
    if log is not None:
        refuse_settings(arguments, "a log tells what disks there are")
        return history_of_log(log, logs.chosen(name, log, arguments), title)
    logs.refuse_choice(name, arguments)
    value, note = _json(name, text)
    if value is None:
        return _of_commands(name, title, data, arguments)
    refuse_settings(arguments, "a scenario starts its own machine")
    history = _of_json(name, title, value, arguments)
    history["notes"] = ([note] if note else []) + history["notes"]
    return history


def _json(name: str, text: str) -> tuple[object, str]:
    """The scenario in a text, and a note if it is cut off; None if it is a file of commands.

    :raises CliError: it is JSON, but no scenario.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = salvage(text) if text.lstrip().startswith(("{", "[")) else None
        if _is_scenario(value):
            return value, "The file is cut off. What comes before is shown."
        if name.endswith(".json"):
            raise CliError(f"{name}: it is no JSON, and nothing of it can be read") from None
        return None, ""
    if is_list_of_commands(value):
        return None, ""
    if not _is_scenario(value):
        if isinstance(value, dict) and "execute" in value:
            return None, ""
        raise CliError(f"{name}: it is JSON, but neither a history nor a scenario nor a transcript")
    return value, ""


def _is_scenario(value: object) -> bool:
    if isinstance(value, dict):
        return isinstance(value.get("steps"), list) or isinstance(value.get("records"), list)
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _of_json(name: str, title: str, value: object, arguments: argparse.Namespace) -> Json:
    recording = value if isinstance(value, dict) else {"steps": value}
    title = str(recording.get("name") or recording.get("scenario") or title)
    if isinstance(recording.get("records"), list) and not _knows_disks(recording.get("steps")):
        history = history_of_records(recording, title)
        history["notes"].append("The machine is not known, only what was said: there are no bits to show.")
    else:
        history = _played(name, title, recording, arguments)
    history["notes"][:0] = history_file.notes_on_format(recording.get("format", FORMAT), FORMAT)
    return history


def _knows_disks(steps: object) -> bool:
    """Whether a machine with disks is started."""
    starts = [each.get("start") for each in steps if isinstance(each, dict)] if isinstance(steps, list) else []
    return any(isinstance(start, dict) and (start.get("drives") or start.get("blockdevs")) for start in starts)


def _played(name: str, title: str, value: Json, arguments: argparse.Namespace) -> Json:
    """A scenario, played as far as it goes."""
    watcher = History(title)
    transcript, fault = scenario.play(name, value, profile(arguments.profile), watcher)
    if fault is not None:
        watcher.notes.append(f"The scenario ends early: {fault}")
    if isinstance(value.get("records"), list) and all(isinstance(each, dict) for each in value["records"]):
        difference = first_difference(value, transcript["records"])
        if difference is not None:
            watcher.notes.append(f"This machine did not answer as it was recorded. {difference}")
    return watcher.to_json()


def _of_commands(name: str, title: str, data: bytes, arguments: argparse.Namespace) -> Json:
    """A file of commands, played as far as it goes; a remark in its first line is the title."""
    machine = Machine(arguments.profile)
    apply_settings(machine, arguments)
    first = data.partition(b"\n")[0].decode("utf-8", "replace")
    watcher = machine.watch(first.removeprefix("#").strip() if first.startswith("# ") else title)
    try:
        Script(machine, name, lambda _: None).play(data)  # what the machine says is in the history
    except CliError as error:
        if len(watcher.moments) < 2:
            raise
        watcher.notes.append(f"The play ends early: {error.text}")
    return watcher.to_json()
