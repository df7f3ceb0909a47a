"""``qbitsim hunt``: a campaign of Hypothesis against a backup client, its progress and what it has found."""

from __future__ import annotations

import argparse
import re
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from qbitsim.terminal.errors import FAILED, CliError
from qbitsim.terminal.streams import show

if find_spec("hypothesis") is None:
    raise CliError("a hunt needs Hypothesis: pip install 'qbitsim[hunt]'")

from qbitsim.testing.hunt import Campaign, Failure, machine_at
from qbitsim.testing.moves import as_code, play
from qbitsim.testing.seen import summary
from qbitsim.testing.stateful import BackupClientMachine

_SECONDS_BETWEEN_LINES = 30
"""Where progress is not written over, because it is no terminal."""


def run(arguments: argparse.Namespace) -> int:
    """Hunt, and return the exit status: 1 if something was found, or if an action of the client never succeeded.

    :raises CliError: there is no such class, or a worker has died.
    """
    sys.path.insert(0, str(Path.cwd()))
    try:
        machine = machine_at(arguments.machine)
    except (ImportError, ValueError) as error:
        raise CliError(str(error)) from None
    folder = Path(arguments.output)
    progress = Progress(arguments.minutes * 60)
    campaign = Campaign(arguments.machine, workers=arguments.workers, seed=arguments.seed)
    try:
        for told in campaign.rounds_until(progress.end):
            if told.failure is not None:
                progress.clear()
                _tell(machine, told.failure, len(campaign.failures), folder)
            progress.show(campaign)
            if len(campaign.failures) == arguments.failures:
                break
    except RuntimeError as error:
        raise CliError(str(error), FAILED) from None
    except KeyboardInterrupt:
        pass  # what was found so far is told
    finally:
        campaign.close()
    progress.clear()
    show(progress.line(campaign))
    show(f"actions of the client: {campaign.total.outcomes.counts()}")
    for line in summary(campaign.total.counts, machine.weighted.moves):
        show(line)
    in_vain = [f"nothing was tested with it: {line}" for line in campaign.total.outcomes.in_vain()]
    if not campaign.total.runs:
        in_vain.append("nothing was tested: no round of runs has ended in this time")
    for line in in_vain:
        show(line)
    return FAILED if campaign.failures or in_vain else 0


class Progress:
    """A line that says how far it is.

    :ivar end: when it is over, as :func:`time.monotonic` says.
    """

    def __init__(self, seconds: float) -> None:
        self._began = time.monotonic()
        self.end = self._began + seconds
        self._over_written = sys.stderr.isatty()
        self._next = 0.0
        self._width = 0

    def line(self, campaign: Campaign) -> str:
        """``0:31 of 5:00: 400 runs, 21,000 moves, 680 a second; 2 failures, 14 seen again``."""
        now = time.monotonic()
        total, found = campaign.total, len(campaign.failures)
        failures = f"{found or 'no'} failure{'' if found == 1 else 's'}"
        again = f", {total.again:,} seen again" if total.again else ""
        pace = total.moves / max(now - self._began, 0.001)
        return (
            f"{_clock(min(now, self.end) - self._began)} of {_clock(self.end - self._began)}: {total.runs:,} runs, "
            f"{total.moves:,} moves, {pace:,.0f} a second; {failures}{again}"
        )

    def show(self, campaign: Campaign) -> None:
        """Say it, if it is time."""
        now = time.monotonic()
        if self._over_written:
            line = self.line(campaign)
            sys.stderr.write(f"\r{line.ljust(self._width)}")
            self._width = len(line)
        elif now >= self._next:
            self._next = now + _SECONDS_BETWEEN_LINES
            sys.stderr.write(f"{self.line(campaign)}\n")
        sys.stderr.flush()

    def clear(self) -> None:
        """Make room for another line."""
        if self._over_written:
            sys.stderr.write(f"\r{' ' * self._width}\r")
            sys.stderr.flush()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02}"


def _tell(machine: type[BackupClientMachine], failure: Failure, number: int, folder: Path) -> None:
    """Print a failure, and write its files."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{machine.__name__}-{number}"
    story = "\n".join([failure.text, *failure.notes])
    show(f"failure {number} (seed {failure.seed}): {story}\n")
    (folder / f"{stem}.txt").write_text(f"{story}\n")
    if not failure.moves:
        return
    (folder / f"test_{_snake(stem)}.py").write_text(as_test(machine, failure, number))
    page = folder / f"{stem}.html"
    report(machine, failure, page)
    show(f"  {page}, and the test {folder / f'test_{_snake(stem)}.py'} (python -m pytest)\n")


def as_test(machine: type[BackupClientMachine], failure: Failure, number: int) -> str:
    """A test to paste, which fails as long as the failure is there."""
    lines = [
        f'"""{failure.text}"""',
        "",
        f"from {machine.__module__} import {machine.__qualname__.split('.')[0]}",
        "",
        "",
        f"def test_{_snake(machine.__name__)}_{number}():",
        *(f"    {line}" for line in as_code(machine.__qualname__, failure.moves)),
    ]
    return "\n".join([*lines, ""])


def report(machine: type[BackupClientMachine], failure: Failure, page: Path) -> None:
    """Write a page of all that happens."""
    states: list[BackupClientMachine] = []

    def watched() -> BackupClientMachine:
        state = machine()
        state.machine.watch()
        states.append(state)
        return state

    play(watched, failure.moves)
    states[0].machine.report(failure.text).save(page)


def _snake(name: str) -> str:
    """``MyClient-1`` as ``my_client_1``."""
    return re.sub(r"\W+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)).lower()
