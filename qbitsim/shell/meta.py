"""The commands of the shell itself, which begin with a colon.

Where they act on the machine they are qbitsim's control commands (``x-qbitsim-...``), sent over QMP, so it makes no
difference whether the machine is in this process or behind a socket. A server that does not let itself be controlled
refuses what only control can do; writes go through ``qemu-io`` there, as people let a real guest's disk be written.
"""

from __future__ import annotations

import errno
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qbitsim.cli.errors import FAILED, CliError
from qbitsim.cli.options import FAIL_HELP, parse_capacity, parse_failure
from qbitsim.errors import QmpError
from qbitsim.qmp.control import PREFIX
from qbitsim.shell.about import about
from qbitsim.shell.schema import nearest
from qbitsim.shell.words import LineError, Word, words
from qbitsim.sizes import parse_size

if TYPE_CHECKING:
    from qbitsim.shell.shell import Shell

Given = list[Word]
"""The words behind the name of a meta command."""

_STEPS_AT_ONCE = 16
_SHORT = 0.3  # seconds for which nobody needs a bar
_LOOKS = 0.1  # seconds between two looks at jobs that go on by themselves
_MOVING = ("created", "running", "waiting", "aborting")
_LISTED = 20


@dataclass(frozen=True, slots=True)
class Meta:
    """A meta command.

    :ivar usage: what stands behind its name; :ivar most: how many words at most, None for any number.
    :ivar controls: whether only a server that lets itself be controlled can do it.
    :ivar changes: whether it can be undone, unless it says False because nothing has happened.
    """

    usage: str
    summary: str
    run: Callable[[Shell, Given], bool | None]
    most: int | None
    controls: bool = False
    changes: bool = False


def run(shell: Shell, line: str) -> int:
    """Do what a meta command says; the exit status.

    :raises LineError: it is none, or has not the words that it takes.
    :raises QmpError: the server has refused it.
    """
    first, *given = words(line)
    name = first.text[1:]
    if name not in METAS:
        raise LineError(f"there is no ':{name}'{nearest(name, METAS)} (try ':help')", first.start)
    meta = METAS[name]
    if meta.most is not None and len(given) > meta.most:
        raise LineError(f"'{given[meta.most].text}' is too much: write :{name} {meta.usage}", given[meta.most].start)
    if meta.controls and not shell.controlled:
        shell.screen.complain(f":{name} is for a qbitsim that may be controlled: 'qbitsim serve --control'")
        return FAILED
    if meta.changes:
        shell.keep(line.strip())
    try:
        changed = meta.run(shell, given)
    except (LineError, CliError, QmpError):
        if meta.changes:
            shell.unchanged()
        raise
    if meta.changes and changed is False:
        shell.unchanged()
    elif meta.changes:
        shell.after_change()
    return 0


def complete(shell: Shell, given: Given) -> Iterable[str]:
    """The ways in which the last word of a meta command may read."""
    if len(given) == 1:
        return [f":{name}" for name in METAS]
    match given[0].text, len(given):
        case ":show", 2:
            return ["on", "off", *shell.names.drives()]
        case (":show", _) | (":write", 2):
            return shell.names.drives()
        case ":fault", 2:
            return [f"{name}:" for name in dict.fromkeys([*shell.names.drives(), *shell.names.nodes()])]
        case (":events", 2):
            return ["on", "off", "list"]
        case (":json", 2):
            return ["on", "off"]
        case (":help", 2):
            return [*(f":{name}" for name in METAS), *dict.fromkeys([*shell.schema.commands, *shell.schema.actions])]
        case (":wait", 2):
            return shell.schema.events
    return []


# -- looking


def _show(shell: Shell, given: Given) -> None:
    if [word.text for word in given] in (["on"], ["off"]):
        shell.drawing = given[0].text == "on"
        if shell.drawing:
            shell.draw(None)
        return
    known = [each["device"] for each in shell.query("query-block")]
    for word in given:
        if word.text not in known:
            raise LineError(f"there is no drive '{word.text}'{nearest(word.text, known)}", word.start)
    shell.draw([word.text for word in given] or None)


def _events(shell: Shell, given: Given) -> None:
    choice = given[0].text if given else "list"
    if choice in ("on", "off"):
        shell.showing_events = choice == "on"
    elif choice == "list":
        for event in list(shell.events)[-_LISTED:]:
            shell.screen.event(event)
        if not shell.events:
            shell.screen.say("there were no events")
    else:
        raise LineError(f"'{choice}' is neither on, off nor list", given[0].start)


def _json(shell: Shell, given: Given) -> None:
    if not given and shell.last is None:
        raise CliError("there was no reply")
    if not given and shell.last is not None:
        shell.screen.message(shell.last)
    elif given[0].text in ("on", "off"):
        shell.screen.raw = given[0].text == "on"
    else:
        raise LineError(f"'{given[0].text}' is neither on nor off", given[0].start)


def _help(shell: Shell, given: Given) -> None:
    if not given:
        beside = 36 if shell.screen.style.width > 2 * 36 else 0
        for name, meta in METAS.items():
            head = f":{name} {meta.usage}".rstrip()
            if len(head) < beside:
                shell.screen.wrapped(f"{head:<{beside}}{meta.summary}", beside)
            else:
                shell.screen.wrapped(head, 4)
                shell.screen.wrapped(f"{' ' * (beside or 4)}{meta.summary}", beside or 4)
        shell.screen.wrapped(_HOW, 0)
        return
    name = given[0].text
    metas = METAS.get(name.removeprefix(":")) if name.startswith(":") else None
    if metas is not None:
        shell.screen.wrapped(f"{name} {metas.usage}".rstrip() + f"\n{metas.summary}", 0)
    elif name in shell.schema.commands or name in shell.schema.actions:
        for line in about(shell.schema, name):
            shell.screen.wrapped(line, len(line) - len(line.lstrip()) + 4)
    else:
        known = [*(f":{each}" for each in METAS), *shell.schema.commands]
        raise LineError(f"nothing is called '{name}'{nearest(name, known)}", given[0].start)


_HOW = """
NAME key=value ... is a command: block-dirty-bitmap-add node=drive0 name=b0 granularity=64k
transaction( ACTION key=value; ACTION key=value ) is several at once; a JSON object is sent as it is.
Tab completes; ':help NAME' says what a command takes."""


# -- time


def _step(shell: Shell, given: Given) -> bool:
    count = _number(given[0], "steps") if given else 1
    return _progress(shell, shell.monitor.execute(f"{PREFIX}step", {"count": count}))


def _advance(shell: Shell, given: Given) -> None:
    if not given:
        raise CliError(":advance needs SECONDS, such as ':advance 0.5'")
    try:
        seconds = float(given[0].text)
    except ValueError:
        raise LineError(f"'{given[0].text}' is no number of seconds", given[0].start) from None
    if not 0 <= seconds <= 1e9:
        raise LineError("time goes forward, by at most 1e9 seconds", given[0].start)
    _progress(shell, shell.monitor.execute(f"{PREFIX}advance", {"seconds": seconds}))


def _progress(shell: Shell, reply: dict[str, int]) -> bool:
    """Say how far the machine has come; whether anything has happened."""
    if shell.screen.raw:
        return reply["steps"] > 0
    steps = reply["steps"]
    text = f"{steps} {'step' if steps == 1 else 'steps'}, t = {reply['now'] / 1e9:g} s"
    machine = shell.machine
    if machine is not None:
        due = len(machine.scheduler.ready())
        deadline = machine.next_deadline
        text += f", {due} due"
        if not due and deadline is not None:
            text += f"; the next thing is due at t = {deadline / 1e9:g} s (':advance')"
    shell.screen.say(text, "dim")
    return steps > 0


def _run(shell: Shell, given: Given) -> bool:
    del given
    if not shell.controlled:
        _watch(shell)
        return True
    steps = 0
    begun = time.monotonic()
    bars = None
    with ExitStack() as stack, deferred_interrupt() as interrupted:
        while shell.screen.terminal and not interrupted():
            done = shell.monitor.execute(f"{PREFIX}step", {"count": _STEPS_AT_ONCE})
            steps += done["steps"]
            if not done["steps"]:
                break
            if bars is None and time.monotonic() > begun + _SHORT:
                bars = stack.enter_context(shell.screen.progress())
            if bars is not None:
                bars(_as_progress(shell))
    if interrupted():
        shell.screen.say(f"interrupted after {steps} steps", "yellow")
        return steps > 0
    done = shell.monitor.execute(f"{PREFIX}run-until-idle")
    return _progress(shell, {**done, "steps": steps + done["steps"]})


@contextmanager
def deferred_interrupt() -> Iterator[Callable[[], bool]]:
    """Let Ctrl-C only be noted, so that a machine stops between two steps; the second one is as always."""
    noted: list[int] = []

    def note(number: int, _: object) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(noted)
    finally:
        signal.signal(signal.SIGINT, before)


def _watch(shell: Shell) -> None:
    """Wait until no job goes on any more."""
    with shell.screen.progress() as bars:
        while any(job["status"] in _MOVING for job in shell.jobs()):
            bars(_as_progress(shell))
            shell.monitor.pump()
            time.sleep(_LOOKS)
    shell.monitor.pump()


def _as_progress(shell: Shell) -> list[dict[str, Any]]:
    return [
        {"id": job["id"], "current-progress": job["progress"][0], "total-progress": job["progress"][1]}
        for job in shell.jobs()
    ]


def _wait(shell: Shell, given: Given) -> None:
    if not given:
        raise CliError(":wait needs an EVENT, such as ':wait BLOCK_JOB_COMPLETED 10'")
    name = given[0].text
    if shell.schema.told and name not in shell.schema.events:
        raise LineError(f"there is no event '{name}'{nearest(name, shell.schema.events)}", given[0].start)
    seconds = _number(given[1], "seconds") if len(given) > 1 else 60
    deadline = time.monotonic() + seconds
    while not any(event["event"] == name for event in shell.unawaited):
        if shell.machine is not None or time.monotonic() >= deadline:
            raise QmpError(f"no {name} came" + ("" if shell.machine is not None else f" in {seconds} seconds"))
        time.sleep(_LOOKS / 10)
        shell.monitor.pump()
    while shell.unawaited.popleft()["event"] != name:
        pass


# -- disks


def _write(shell: Shell, given: Given) -> None:
    if len(given) < 3:
        raise CliError(":write needs DRIVE OFFSET LENGTH, such as ':write drive0 1M 64k'")
    drive = given[0].text
    offset, length = (_size(word) for word in given[1:3])
    pattern = _number(given[3], "byte") if len(given) > 3 else 0x41
    if pattern > 255:
        raise LineError(f"{pattern} is no byte", given[3].start)
    if shell.controlled:
        arguments = {"drive": drive, "offset": offset, "length": length, "pattern": pattern}
        shell.monitor.execute(f"{PREFIX}write", arguments)
        return
    line = f'qemu-io {drive} "write -P {pattern:#x} {offset} {length}"'
    output = shell.monitor.execute("human-monitor-command", {"command-line": line})
    if not shell.screen.raw:
        shell.screen.say(output.strip() or "qemu-io says how it went where the server prints", "dim")


def _fault(shell: Shell, given: Given) -> None:
    if not given:
        for each in shell.query(f"{PREFIX}query-faults"):
            shell.screen.say(f"{each['id']}: {each['text']}")
        return
    text = given[0].text
    if given[0].key is not None and ":" not in given[0].value:
        file, capacity = parse_capacity(text)
        arguments = {"file": file} if capacity is None else {"file": file, "capacity": capacity}
        shell.monitor.execute(f"{PREFIX}limit-capacity", arguments)
        return
    failure = parse_failure(text)
    more = {"offset": failure.offset, "length": failure.length, "once": failure.once or None}
    reply = shell.monitor.execute(
        f"{PREFIX}inject-error",
        {"where": failure.where, "operation": failure.operation, "errno": errno.errorcode[failure.errno]}
        | {key: value for key, value in more.items() if value is not None},
    )
    if not shell.screen.raw:
        shell.screen.say(f"{reply['id']}: '{PREFIX}lift id={reply['id']}' ends it", "dim")


# -- the shell


def _undo(shell: Shell, given: Given) -> None:
    levels = _number(given[0], "levels") if given else 1
    if not len(shell.undo):
        raise CliError("there is nothing to undo")
    if levels > len(shell.undo):
        raise LineError(f"only {len(shell.undo)} can be undone", given[0].start)
    for what in shell.undo.undo(levels):
        shell.screen.say(f"undone: {what}")
    shell.after_change()


def _source(shell: Shell, given: Given) -> None:
    from qbitsim.shell.script import play_file  # noqa: PLC0415 - which runs meta commands

    if not given:
        raise CliError(":source needs a FILE")
    play_file(shell, given[0].text)


def _quit(shell: Shell, given: Given) -> None:
    del given
    shell.over = True


def _size(word: Word) -> int:
    try:
        return int(word.text, 16) if word.text.lower().startswith("0x") else parse_size(word.text)
    except ValueError:
        raise LineError(f"'{word.text}' is no size: write a number of bytes, such as 64k or 1M", word.start) from None


def _number(word: Word, of_what: str) -> int:
    try:
        number = int(word.text, 0)
    except ValueError:
        number = -1
    if number < (0 if of_what == "byte" else 1):
        raise LineError(
            f"'{word.text}' is no number of {of_what}" if of_what != "byte" else f"'{word.text}' is no byte", word.start
        )
    return number


METAS = {
    "show": Meta("[DRIVE ...|on|off]", "draw disks, bitmaps and jobs; on: after each change", _show, None),
    "step": Meta("[N]", "let one thing happen that is due, or N", _step, 1, controls=True, changes=True),
    "run": Meta("", "let all happen that is due; elsewhere, wait for the jobs", _run, 0, changes=True),
    "advance": Meta("SECONDS", "let time pass", _advance, 1, controls=True, changes=True),
    "write": Meta("DRIVE OFFSET LENGTH [BYTE]", "let the guest write", _write, 4, changes=True),
    "fault": Meta(
        f"[{FAIL_HELP}|FILE=BYTES]", "let requests fail, or a file be full; show the faults", _fault, 1,
        controls=True, changes=True,
    ),
    "undo": Meta("[N]", "undo what changed the machine last, or the last N", _undo, 1, controls=True),
    "events": Meta("[on|off|list]", "show events as they come, or do not; list the latest", _events, 1),
    "wait": Meta("EVENT [SECONDS]", "wait until an event comes, for 60 seconds", _wait, 2),
    "json": Meta("[on|off]", "show the last reply as it was sent; on: show all so", _json, 1),
    "source": Meta("FILE", "run the lines of a file", _source, 1),
    "help": Meta("[NAME]", "this, or what a command takes", _help, 1),
    "quit": Meta("", "leave; so does Ctrl-D", _quit, 0),
}  # fmt: skip
"""The meta commands, by name."""
