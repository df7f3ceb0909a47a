"""The backup client of this directory with one mistake at a time, of kinds that were found in real programs.

``python tests/examples/planted_faults.py`` writes ``counter_examples.md`` anew.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from backup_client import ENDS, BackupClient, BackupError, Disk, Json, bitmaps_of
from hypothesis import settings

from qbitsim import Machine, QmpError
from qbitsim.testing.clients import NEXT_EVENT, Conversation, Sleep, execute
from qbitsim.testing.counter_examples import find
from qbitsim.testing.laws import LawBrokenError
from qbitsim.testing.moves import Move, as_code, play
from qbitsim.testing.stateful import BackupClientMachine

FILE = Path(__file__).with_name("counter_examples.md")

HEAD = """# What Hypothesis finds in a small backup client

The client is `backup_client.py`; `planted_faults.py` has one mistake after the other planted into it. This is what is
found, by the machine as the guide shows it.
"""


class Honest(BackupClientMachine):
    """The client as it should be."""

    actions = ("full", "incremental")
    failures = (QmpError, BackupError)

    def client(self, machine: Machine) -> BackupClient:
        return BackupClient(machine, self.drives)


class IgnoresTheError(BackupClient):
    """It takes every end of a job for a success, whatever error the event tells (abbbi/qmpbackup, issue 10)."""

    def succeeded(self, event: Json) -> bool:
        return event["event"] == "BLOCK_JOB_COMPLETED"


class TakesCancelledForSuccess(BackupClient):
    """It looks for an error, and a cancelled job has none."""

    def succeeded(self, event: Json) -> bool:
        return "error" not in event["data"]


class DropsGrouped(BackupClient):
    """If one disk fails it throws away all files, but does not tell QEMU that the jobs belong together."""

    def copy_changes(self, jobs: dict[str, Json]) -> Conversation:
        good = yield from self.run([*jobs.values()], jobs)
        return good if len(good) == len(jobs) else set()


class AddsTheBitmapAfterwards(BackupClient):
    """It begins to record when the full backup is there, and not when it begins."""

    def copy_all(self, jobs: dict[str, Json]) -> Conversation:
        good = yield from self.run([*jobs.values()], jobs)
        for disk in self.disks:
            data = self.action("block-dirty-bitmap-add", disk, persistent=True)["data"]
            yield execute("block-dirty-bitmap-add", **data)
        return good


class TrustsAnOpenFile(BackupClient):
    """It writes down a full backup before QEMU has closed its file, which a crash in between spoils."""

    def copy_all(self, jobs: dict[str, Json]) -> Conversation:
        good = yield from super().copy_all(jobs)
        for disk in self.disks:
            if disk.drive in good:
                disk.files, disk.bitmap = [f"{disk.drive}-{self.number}"], self.new_bitmap(disk)
        return good


class DoesNotWait(BackupClient):
    """It gives the jobs a minute, and does not ask how they ended."""

    def wait(self, jobs: list[str]) -> Conversation:
        yield Sleep(60)
        return set(jobs)


class ClearsTheBitmap(BackupClient):
    """A new full backup clears the old chain's bitmap in the transaction that begins the copy."""

    def new_bitmap(self, disk: Disk) -> str:
        return disk.bitmap or super().new_bitmap(disk)

    def copy_all(self, jobs: dict[str, Json]) -> Conversation:
        nodes = yield from self.look()
        names = {disk.node: bitmaps_of(nodes[disk.node]) for disk in self.disks}
        bitmaps = [
            self.action("block-dirty-bitmap-clear", disk)
            if self.new_bitmap(disk) in names[disk.node]
            else self.action("block-dirty-bitmap-add", disk, persistent=True)
            for disk in self.disks
        ]
        return (yield from self.run([*bitmaps, *jobs.values()], jobs))


class IgnoresInconsistent(BackupClient):
    """It makes a bitmap anew that QEMU has lost, and goes on with the chain (abbbi/virtnbdbackup, pull request 258)."""

    def is_usable(self, disk: Disk, node: Json) -> bool:
        return bool(disk.files) and node["image"]["virtual-size"] == disk.size

    def copy_changes(self, jobs: dict[str, Json]) -> Conversation:
        nodes = yield from self.look()
        for disk in self.disks:
            bitmap = bitmaps_of(nodes[disk.node]).get(disk.bitmap)
            if bitmap is None or bitmap.get("inconsistent"):
                if bitmap is not None:
                    yield execute("block-dirty-bitmap-remove", node=disk.node, name=disk.bitmap)
                yield execute("block-dirty-bitmap-add", node=disk.node, name=disk.bitmap, persistent=True)
        return (yield from super().copy_changes(jobs))


class ReusesAcrossResize(BackupClient):
    """It goes on with a chain although the disk has got another size since."""

    def is_usable(self, disk: Disk, node: Json) -> bool:
        disk.size = node["image"]["virtual-size"]
        return super().is_usable(disk, node)


class ForgetsADisk(BackupClient):
    """The transaction has the bitmap of the first disk only; those of the others begin a command later."""

    late: Sequence[Disk] = ()

    def copy_all(self, jobs: dict[str, Json]) -> Conversation:
        first, *self.late = self.disks
        bitmap = self.action("block-dirty-bitmap-add", first, persistent=True)
        return (yield from self.run([bitmap, *jobs.values()], jobs))

    def wait(self, jobs: list[str]) -> Conversation:
        for disk in self.late:
            data = self.action("block-dirty-bitmap-add", disk, persistent=True)["data"]
            yield execute("block-dirty-bitmap-add", **data)
        self.late = ()
        return (yield from super().wait(jobs))


class TakesAnyJob(BackupClient):
    """The end of any job counts as the end of the one that is waited for."""

    def wait(self, jobs: list[str]) -> Conversation:
        good = set()
        for job in jobs:
            while (event := (yield NEXT_EVENT))["event"] not in ENDS:
                continue
            if self.succeeded(event):
                good.add(job)
        return good


class CleansUpEarly(BackupClient):
    """After the first failure it cleans up at once, although another job still runs."""

    def wait(self, jobs: list[str]) -> Conversation:
        good: set[str] = set()
        while len(good) < len(jobs):
            event = yield NEXT_EVENT
            if event["event"] in ENDS and event["data"]["device"] in jobs:
                if not self.succeeded(event):
                    break
                good.add(event["data"]["device"])
        return good


class TakesAVanishedJobForSuccess(BackupClient):
    """It asks which jobs there are until its own are none of them, and does not know how they ended."""

    def wait(self, jobs: list[str]) -> Conversation:
        while True:
            alive = {job["id"] for job in (yield execute("query-jobs"))}
            if not alive & set(jobs):
                return set(jobs)
            yield Sleep(0.1)


class NeverGivesUp(BackupClient):
    """It asks again when there is no answer, and does not notice that QEMU has ended (abbbi/qmpbackup, issue 29)."""

    def wait(self, jobs: list[str]) -> Conversation:
        good: set[str] = set()
        running = list(jobs)
        while running:
            try:
                good |= yield from super().wait(running)
                running = []
            except ConnectionError:
                continue
        return good


class IsNeverUnsure(BackupClient):
    """QEMU ends before the end of a job was heard of, and it takes the job for one that has failed."""

    def forget_bitmaps(self) -> None:
        """It does not."""


FAULTY: Mapping[str, type[BackupClient]] = {
    each.__name__: each
    for each in (
        IgnoresTheError,
        TakesCancelledForSuccess,
        DropsGrouped,
        AddsTheBitmapAfterwards,
        DoesNotWait,
        ClearsTheBitmap,
        IgnoresInconsistent,
        ReusesAcrossResize,
        ForgetsADisk,
        TakesAnyJob,
        CleansUpEarly,
        TakesAVanishedJobForSuccess,
        NeverGivesUp,
        IsNeverUnsure,
        TrustsAnOpenFile,
    )
}


def machine_of(client: type[BackupClient], **more: Any) -> type[Honest]:
    """The machine of the guide with a client."""

    def make(self: Honest, machine: Machine) -> BackupClient:
        return client(machine, self.drives)

    return type(f"{client.__name__}Machine", (Honest,), {"client": make, **more})


def section(client: type[BackupClient], moves: Iterable[Move]) -> str:
    """A counter-example as text: its title, the calls, and what comes of them."""
    machine = machine_of(client)
    error = play(machine, list(moves))
    assert isinstance(error, LawBrokenError)
    story = [*error.__notes__[0].splitlines()[1:], f"LAW BROKEN: {error}"]
    code = as_code(machine.__name__, list(moves))
    lines = [f"## {client.__doc__}", "", "```python", *code, "```", "", "```text", *story, "```"]
    return "\n".join([*lines, ""])


def moves_of(text: str) -> dict[str, list[Move]]:
    """The moves in the Python blocks of the document, by the name of the client."""
    examples: dict[str, list[Move]] = {}
    for block in text.split("```python\n")[1:]:
        name, moves = "", []
        for statement in ast.parse(block.split("```")[0]).body:
            assert isinstance(statement, ast.Assign | ast.Expr)
            call = statement.value
            assert isinstance(call, ast.Call)
            if isinstance(call.func, ast.Name):
                name = call.func.id.removesuffix("Machine")
            elif isinstance(call.func, ast.Attribute) and call.func.attr != "teardown":
                given = {each.arg: ast.literal_eval(each.value) for each in call.keywords if each.arg}
                moves.append((call.func.attr, given))
        examples[name] = moves
    return examples


def found(client: type[BackupClient]) -> list[Move]:
    """The shortest of what is found from some seeds."""
    machine = machine_of(client)
    examples = []
    for seed in range(3):
        machine._hypothesis_internal_use_seed = seed  # as @seed does
        error = find(machine, settings=settings(machine.TestCase.settings, database=None))
        assert isinstance(error, LawBrokenError)
        examples.append(error.__dict__["moves"])
    return min(examples, key=len)


def main() -> None:
    """Write the document."""
    FILE.write_text("\n".join([HEAD, *(section(each, found(each)) for each in FAULTY.values())]))


if __name__ == "__main__":
    main()
