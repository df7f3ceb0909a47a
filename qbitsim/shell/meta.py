"""The commands of the shell itself, which begin with a colon.

Where they act on the machine they are qbitsim's control commands (``x-qbitsim-...``), sent over QMP, so it makes no
difference whether the machine is in this process or behind a socket. A server that does not let itself be controlled
refuses what only control can do; writes go through ``qemu-io`` there, as people let a real guest's disk be written.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qbitsim.errors import QmpError
from qbitsim.injection.declaration import Kind
from qbitsim.injection.faults import KINDS
from qbitsim.jsontypes import Json
from qbitsim.nearest import nearest
from qbitsim.qapi.registry import PREFIX
from qbitsim.shell import timing
from qbitsim.shell.about import about
from qbitsim.shell.line import arguments
from qbitsim.shell.operands import Given, byte, number, size
from qbitsim.shell.script import play_file
from qbitsim.shell.words import LineError, words
from qbitsim.terminal.errors import FAILED, CliError
from qbitsim.terminal.options import FAIL_HELP, parse_capacity, parse_fault

if TYPE_CHECKING:
    from qbitsim.shell.shell import Shell

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
    :raises StoppedError: a line of a file has failed.
    """
    first, *given = words(line)
    name = first.text[1:]
    if name not in METAS:
        meant = nearest(first.text, (f":{each}" for each in METAS))
        raise LineError(f"there is no ':{name}'{meant} (try ':help')", first.start)
    meta = METAS[name]
    if meta.most is not None and len(given) > meta.most:
        raise LineError(f"'{given[meta.most].text}' is too much: write :{name} {meta.usage}", given[meta.most].start)
    if meta.controls and not shell.controlled:
        shell.screen.complain(f":{name} is for a qbitsim that may be controlled: 'qbitsim serve --control'")
        return FAILED
    if meta.changes:
        shell.save_undo_point(line.strip())
    try:
        changed = meta.run(shell, given)
    except (LineError, CliError, QmpError):
        if meta.changes:
            shell.drop_undo_point()
        raise
    if meta.changes and changed is False:
        shell.drop_undo_point()
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
            return [*(f"{name}:" for name in dict.fromkeys([*shell.names.drives(), *shell.names.nodes()])), *KINDS]
        case (":why", 2):
            return shell.names.bitmaps()
        case (":why", 4):
            return [*shell.names.drives(), *shell.names.nodes()]
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


def _why(shell: Shell, given: Given) -> None:
    if len(given) < 2:
        raise CliError(":why needs BITMAP OFFSET, such as ':why bitmap0 1M'")
    asked = {"bitmap": given[0].text, "offset": size(given[1])}
    if len(given) > 2:
        asked["node"] = given[2].text
    shell.screen.wrapped(shell.monitor.execute(f"{PREFIX}why", asked)["text"], 8)


_HOW = """
NAME key=value ... is a command: block-dirty-bitmap-add node=drive0 name=b0 granularity=64k
transaction( ACTION key=value; ACTION key=value ) is several at once; a JSON object is sent as it is.
Tab completes; ':help NAME' says what a command takes."""


# -- disks


def _write(shell: Shell, given: Given) -> None:
    if len(given) < 3:
        raise CliError(":write needs DRIVE OFFSET LENGTH, such as ':write drive0 1M 64k'")
    drive = given[0].text
    offset, length = (size(word) for word in given[1:3])
    pattern = byte(given[3]) if len(given) > 3 else 0x41
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
        for line in [*_faults(shell)] or ["there are no faults"]:
            shell.screen.wrapped(line, 4)
        return
    kind, said = _fault_of(shell, given)
    reply = shell.monitor.execute(f"{PREFIX}{kind.name}", said)
    if kind.handle and not shell.screen.raw:
        shell.screen.say(f"{reply['id']}: '{PREFIX}{kind.ended_by} id={reply['id']}' ends it", "dim")


def _fault_of(shell: Shell, given: Given) -> tuple[Kind, Json]:
    """The kind of fault that is meant, and the arguments of its command."""
    first, *more = given
    kind = KINDS.get(first.text)
    if kind is not None:
        return kind, arguments(more, shell.schema.arguments(f"{PREFIX}{kind.name}"), shell.schema, kind.name)
    if more:
        raise LineError(f"there is no kind of fault '{first.text}': they are {', '.join(KINDS)}", first.start)
    if first.key is not None and ":" not in first.value:
        file, capacity = parse_capacity(first.text)
        return KINDS["limit-capacity"], {"file": file} if capacity is None else {"file": file, "capacity": capacity}
    return parse_fault(first.text)


def _faults(shell: Shell) -> Iterator[str]:
    for each in shell.query(f"{PREFIX}query-faults"):
        waiting = f" ({each['waiting']} waiting)" if each.get("waiting") else ""
        yield f"{each['id']}: {each['text']}{waiting}"
    for each in shell.query(f"{PREFIX}query-capacities"):
        yield f"{each['file']}: room for {each['capacity']} bytes of data; ':fault {each['file']}=none' ends it"


# -- the shell


def _undo(shell: Shell, given: Given) -> None:
    levels = number(given[0], "changes") if given else 1
    if shell.undo.refusal is not None:
        raise CliError(shell.undo.refusal)
    if not len(shell.undo):
        raise CliError("there is nothing to undo")
    if levels > len(shell.undo):
        raise LineError(f"only {len(shell.undo)} can be undone", given[0].start)
    for what in shell.undo.undo(levels):
        shell.screen.say(f"undone: {what}")
    shell.after_change()


def _source(shell: Shell, given: Given) -> None:
    if not given:
        raise CliError(":source needs a FILE")
    play_file(shell, given[0].text)


def _quit(shell: Shell, given: Given) -> None:
    del given
    shell.over = True


METAS = {
    "show": Meta("[DRIVE ...|on|off]", "draw disks, bitmaps and jobs; on: after each change", _show, None),
    "step": Meta("[N]", "let one thing happen that is due, or N", timing.step, 1, controls=True, changes=True),
    "run": Meta("", "let all happen that is due; with --connect, wait for the jobs", timing.run, 0, changes=True),
    "advance": Meta("SECONDS", "let time pass", timing.advance, 1, controls=True, changes=True),
    "write": Meta("DRIVE OFFSET LENGTH [BYTE]", "let the guest write", _write, 4, changes=True),
    "fault": Meta(
        f"[{FAIL_HELP}|FILE=BYTES|KIND NAME=VALUE ...]",
        "let requests fail, or a file be full, or any kind of fault; show the faults", _fault, None,
        controls=True, changes=True,
    ),
    "why": Meta(
        "BITMAP OFFSET [NODE]", "tell why a granule is dirty: what set it, what cleared it, what copied it", _why, 3,
        controls=True,
    ),
    "undo": Meta("[N]", "undo what changed the machine last, or the last N", _undo, 1, controls=True),
    "events": Meta("[on|off|list]", "show events as they come, or do not; list the latest", _events, 1),
    "wait": Meta("EVENT [SECONDS]", "wait until an event comes, for 60 seconds", timing.wait, 2),
    "json": Meta("[on|off]", "show the last reply as it was sent; on: show all so", _json, 1),
    "source": Meta("FILE", "run the lines of a file", _source, 1),
    "help": Meta("[NAME]", "this, or what a command takes", _help, 1),
    "quit": Meta("", "leave; so does Ctrl-D", _quit, 0),
}  # fmt: skip
"""The meta commands, by name."""
