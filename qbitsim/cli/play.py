"""``qbitsim play``: a scenario, a file of commands, or what was said in a log, on a machine of its own."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from qbitsim.cli import logs, scenario
from qbitsim.cli.arguments import apply_settings, has_settings, refuse_settings
from qbitsim.cli.images import ending, image_store
from qbitsim.cli.script import Script
from qbitsim.history.file import dumps, is_history
from qbitsim.history.history import History
from qbitsim.machine.machine import Machine
from qbitsim.profiles import profile
from qbitsim.shell.pasted import is_list_of_commands, is_said
from qbitsim.terminal.errors import FAILED, CliError
from qbitsim.terminal.streams import read, show, write


def run(arguments: argparse.Namespace) -> int:
    """Play ``arguments.file`` and return the exit status.

    :raises CliError: the file cannot be read or is malformed, or the scenario fails.
    """
    name, data = "<stdin>" if arguments.file == "-" else arguments.file, read(arguments.file)
    log = logs.read_log(name, data.decode("utf-8", "replace"))
    if log is not None:
        return logs.play(name, log, arguments)
    logs.refuse_choice(name, arguments)
    if is_history(data.partition(b"\n")[0].decode("utf-8", "replace")):
        raise CliError(f"{name}: this is a history, which is to be looked at: qbitsim report {name}")
    value = _as_scenario(name, data)
    if arguments.against is not None:
        from qbitsim.cli import against  # noqa: PLC0415 - sockets are for those who want them

        if (
            arguments.transcript is not None
            or arguments.history is not None
            or has_settings(arguments)
            or arguments.images
        ):
            raise CliError("--against a server that runs: there is no transcript, and no machine to be set up")
        if value is None:
            raise CliError(f"{name}: it is no scenario in JSON, which --against takes, or it ends in the middle")
        return against.replay(arguments, name, value)
    if value is not None:
        return _play_scenario(arguments, name, value)
    if arguments.transcript is not None:
        raise CliError(f"--transcript is for scenarios, and {name} is a file of commands")
    machine = Machine(arguments.profile, images=image_store(arguments))
    with ending(machine, arguments):
        apply_settings(machine, arguments)
        history = machine.watch(Path(name).stem) if arguments.history is not None else None
        script = Script(machine, name, show, echo=arguments.echo)
        try:
            return script.play(data)
        finally:
            if script.left_out:
                lines = ", ".join(map(str, script.left_out))
                print(f"qbitsim: {name}: what a server has said is left out: line {lines}", file=sys.stderr)
            _save(history, arguments.history)


def _as_scenario(name: str, data: bytes) -> object:
    """The JSON value if the file is a scenario, None if it is a file of commands.

    :raises CliError: it begins, or is named, as a scenario and is no JSON.
    """
    begin = data.lstrip()[:1]
    if begin not in (b"[", b"{"):
        return None
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        if begin == b"{" and not name.endswith(".json"):
            return None
        if isinstance(error, json.JSONDecodeError):
            raise CliError(f"{name}:{error.lineno}:{error.colno}: {error.msg}") from None
        raise CliError(f"{name}: {'nested too deep' if isinstance(error, RecursionError) else 'not UTF-8'}") from None
    if is_list_of_commands(value) or is_said(value):
        return None
    if isinstance(value, list) and is_list_of_commands(value[:1]):
        place = next(place for place, each in enumerate(value) if not is_list_of_commands([each]))
        raise CliError(f"{name}: number {place + 1} of the list of commands is none: {json.dumps(value[place])[:80]}")
    return value if isinstance(value, list) or "steps" in value or "execute" not in value else None


def _play_scenario(arguments: argparse.Namespace, name: str, value: object) -> int:
    refuse_settings(arguments, "a scenario starts its own machine")
    history = History(Path(name).stem) if arguments.history is not None else None
    transcript, fault = scenario.play(name, value, profile(arguments.profile), history, image_store(arguments))
    _save(history, arguments.history)
    if arguments.transcript is None:
        for record in transcript["records"]:
            show(json.dumps(record, ensure_ascii=False))
    else:
        write(arguments.transcript, json.dumps(transcript, indent=1, ensure_ascii=False) + "\n")
    if fault is not None:
        raise CliError(f"{name}: {fault}", FAILED)
    return 0


def _save(history: History | None, file: str) -> None:
    if history is not None:
        write(file, dumps(history.to_json()))
