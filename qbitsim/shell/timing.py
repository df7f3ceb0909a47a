"""The meta commands that let time pass and things happen, or wait until they have happened."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from qbitsim.engine.scheduler import NANOSECONDS
from qbitsim.errors import QmpError
from qbitsim.jsontypes import Json
from qbitsim.nearest import nearest
from qbitsim.qapi.registry import PREFIX
from qbitsim.shell.operands import Given, number
from qbitsim.shell.words import LineError
from qbitsim.terminal.errors import CliError

if TYPE_CHECKING:
    from qbitsim.machine.machine import Machine
    from qbitsim.shell.shell import Shell

_STEPS_AT_ONCE = 16
_SHORT = 0.3  # seconds for which nobody needs a bar
_LOOKS = 0.1  # seconds between two looks at jobs that go on by themselves
_MOVING = ("created", "running", "waiting", "aborting")


def step(shell: Shell, given: Given) -> bool:
    """Let things happen that are due; whether any did."""
    count = number(given[0], "steps") if given else 1
    return _progress(shell, shell.monitor.execute(f"{PREFIX}step", {"count": count}))


def advance(shell: Shell, given: Given) -> None:
    """Let time pass."""
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


def run(shell: Shell, given: Given) -> bool:
    """Let everything happen that is due, or wait for the jobs of a server that goes on by itself."""
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


def _what_moves_it(machine: Machine) -> str:
    """How a machine that does not move by itself is moved, if anything is due."""
    if machine.scheduler.ready():
        return ": nothing moves here by itself, and something is due: ':step' or ':run'"
    if (deadline := machine.next_deadline) is not None:
        return f": no time passes here by itself, and something is due at t = {deadline / NANOSECONDS:g} s: ':advance'"
    return ", and nothing is due"


def _as_progress(shell: Shell) -> list[Json]:
    return [
        {"id": job["id"], "current-progress": job["progress"][0], "total-progress": job["progress"][1]}
        for job in shell.jobs()
    ]


def wait(shell: Shell, given: Given) -> None:
    """Wait for an event; one that nobody has waited for counts, too."""
    if not given:
        raise CliError(":wait needs an EVENT, such as ':wait BLOCK_JOB_COMPLETED 10'")
    name = given[0].text
    if shell.schema.has_types and name not in shell.schema.events:
        raise LineError(f"there is no event '{name}'{nearest(name, shell.schema.events)}", given[0].start)
    seconds = number(given[1], "seconds") if len(given) > 1 else 60
    deadline = time.monotonic() + seconds
    while not any(event["event"] == name for event in shell.unawaited):
        if shell.machine is not None:
            raise QmpError(f"no {name} came{_what_moves_it(shell.machine)}")
        if time.monotonic() >= deadline:
            raise QmpError(f"no {name} came in {seconds} seconds")
        time.sleep(_LOOKS / 10)
        shell.monitor.pump()
    while shell.unawaited.popleft()["event"] != name:
        pass
