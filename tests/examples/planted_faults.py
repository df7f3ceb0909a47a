"""The backup client of this directory against Hypothesis: as it should be, and with each of its three mistakes.

``python tests/examples/planted_faults.py`` writes ``counter_examples.md`` anew.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import ClassVar

from backup_client import BackupClient, BackupError
from hypothesis import HealthCheck, Phase, settings

from qbitsim import Machine, QmpError
from qbitsim.testing.laws import LawBrokenError
from qbitsim.testing.shorten import Move, as_code, play
from qbitsim.testing.stateful import BackupClientMachine, run_as_test

FILE = Path(__file__).with_name("counter_examples.md")

HEAD = """# What Hypothesis finds in a small backup client

The client is `backup_client.py`. Each of its three mistakes can be switched on; this is what Hypothesis then finds.
"""

SETTINGS = settings(
    max_examples=2500,
    stateful_step_count=30,
    derandomize=True,
    database=None,
    deadline=None,
    report_multiple_bugs=False,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


class Honest(BackupClientMachine):
    """The client as it should be."""

    actions = ("full", "incremental")
    failures = (QmpError, BackupError)
    mistakes: ClassVar[dict[str, bool]] = {}

    def client(self, machine: Machine) -> BackupClient:
        return BackupClient(machine, self.drives, **self.mistakes)


class ClearsTheBitmap(Honest):
    """It clears the bitmap in the same transaction as the copy."""

    mistakes: ClassVar = {"clears_bitmap": True}


class TakesAnyJob(Honest):
    """It counts any job's completion as its own."""

    mistakes: ClassVar = {"any_job": True}
    drives: ClassVar = {"drive0": "512K"}
    tidy = False  # that it leaves its job behind is the smaller evil


class CleansUpEarly(Honest):
    """It goes on cleaning up while a second job runs."""

    mistakes: ClassVar = {"cleans_early": True}


FAULTY = {each.__name__: each for each in (ClearsTheBitmap, TakesAnyJob, CleansUpEarly)}


def found(machine: type[Honest], how: settings = SETTINGS) -> LawBrokenError:
    """What Hypothesis finds."""
    try:
        run_as_test(machine, settings=how)
    except LawBrokenError as error:
        return error
    raise AssertionError(f"nothing is found in {machine.__name__}")


def section(machine: type[Honest], moves: list[Move]) -> str:
    """A counter-example as text: its title, the calls, and what comes of them."""
    error = play(machine, moves)
    assert isinstance(error, LawBrokenError)
    story = [*error.__notes__[0].splitlines()[1:], f"LAW BROKEN: {error}"]
    code = as_code(machine.__name__, moves)
    lines = [f"## {machine.__doc__}", "", "```python", *code, "```", "", "```text", *story, "```"]
    return "\n".join([*lines, ""])


def moves_of(text: str) -> dict[str, list[Move]]:
    """The moves in the Python blocks of the document, by the name of the machine."""
    examples: dict[str, list[Move]] = {}
    for block in text.split("```python\n")[1:]:
        name, moves = "", []
        for statement in ast.parse(block.split("```")[0]).body:
            assert isinstance(statement, ast.Assign | ast.Expr)
            call = statement.value
            assert isinstance(call, ast.Call)
            if isinstance(call.func, ast.Name):
                name = call.func.id
            elif isinstance(call.func, ast.Attribute) and call.func.attr != "teardown":
                given = {each.arg: ast.literal_eval(each.value) for each in call.keywords if each.arg}
                moves.append((call.func.attr, given))
        examples[name] = moves
    return examples


def main() -> None:
    """Write the document."""
    sections = [section(each, found(each).__dict__["moves"]) for each in FAULTY.values()]
    FILE.write_text("\n".join([HEAD, *sections]))


if __name__ == "__main__":
    main()
