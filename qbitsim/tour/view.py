"""What a chapter's checks ask of a machine: which cells are dirty, what a file reads as, what has happened.

Cells are numbers from 0; what a disk or a file holds is a text with a letter for each cell, ``.`` where nothing is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from qbitsim.block.node import Node
from qbitsim.errors import QmpError
from qbitsim.history.words import end_of_job
from qbitsim.jsontypes import Json
from qbitsim.machine.machine import Machine
from qbitsim.programs.shell import Shell
from qbitsim.tour.lesson import CELL, CELLS

if TYPE_CHECKING:
    from qbitsim.block.bitmap import DirtyBitmap


class View:
    """A machine as it is looked at.

    :ivar machine: the live one; another one after a restart.
    :ivar reply: what the step's command returned; :ivar refusal: with what words it was refused, or None.
    :ivar output: what the step's last command on image files printed.
    :ivar failed_writes: how many of the step's guest writes failed.
    :ivar heard: the cells of which the last NBD client that asked has heard.
    :ivar fetched: the letters that NBD clients have read, by the numbers of the cells.
    """

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.reply: Any = None
        self.refusal: str | None = None
        self.output = ""
        self.failed_writes = 0
        self.heard: list[int] = []
        self.fetched: dict[int, str] = {}
        self._began = machine.events.end

    # -- bitmaps

    def bitmap(self, name: str, drive: str = "drive0") -> DirtyBitmap | None:
        """The bitmap of that name, on the disk or on a job's filter above it."""
        return next(
            (each for node in levels_of(self.machine, drive) for each in node.bitmaps if each.name == name), None
        )

    def dirty(self, name: str, drive: str = "drive0") -> list[int]:
        """The dirty bits of a bitmap that is there, as numbers; with the usual granularity these are cells."""
        bitmap = self._existing(name, drive)
        return [*_units(bitmap.dirty_ranges, bitmap.granularity)]

    def successor(self, name: str, drive: str = "drive0") -> list[int] | None:
        """The dirty bits of the successor, None if the bitmap has none."""
        successor = self._existing(name, drive).successor
        return None if successor is None else [*_units(successor.dirty_ranges, successor.granularity)]

    def count(self, name: str) -> int:
        """Dirty bytes, as ``query-block`` shows them."""
        return self._existing(name, "drive0").count

    def busy(self, name: str, drive: str = "drive0") -> bool:
        """Whether a job uses the bitmap."""
        return self._existing(name, drive).busy

    def _existing(self, name: str, drive: str) -> DirtyBitmap:
        bitmap = self.bitmap(name, drive)
        assert bitmap is not None, f"there is no bitmap {name}"
        return bitmap

    def refused(self, verbs: Iterable[str], bitmap: str, node: str = "drive0") -> dict[str, str | None]:
        """With what words commands on a bitmap would be refused: ``{"clear": "Bitmap ..."}``; nothing changes."""
        snapshot, words = self.machine.snapshot(), {}
        for verb in verbs:
            target: Json = {"target": bitmap, "bitmaps": []} if verb == "merge" else {"name": bitmap}
            words[verb] = self._refusal(f"block-dirty-bitmap-{verb}", {"node": node, **target})
            self.machine.restore(snapshot)
        return words

    def _refusal(self, name: str, arguments: Json) -> str | None:
        try:
            self.machine.execute(name, arguments)
        except QmpError as error:
            return error.desc
        return None

    # -- disks and files

    def disk(self, drive: str = "drive0") -> str:
        """What the guest would read: the letter at the start of each cell."""
        disk = self.machine.drive(drive)
        return _letters(disk.read(cell * CELL, 1) for cell in range(CELLS))

    def reads(self, file: str) -> str:
        """What a file reads as, through its backing files."""
        return _letters(self.machine.images.read_chain(file, cell * CELL, 1) for cell in range(CELLS))

    def patched(self, file: str) -> str:
        """What a file reads as, with what NBD clients have read put into it."""
        return "".join(self.fetched.get(cell, letter) for cell, letter in enumerate(self.reads(file)))

    def holds(self, file: str) -> list[int]:
        """The cells that a file holds itself."""
        content = self.machine.images.lookup(file).content
        return [*_units(((at * content.cluster_size, content.cluster_size) for at in content.stored_clusters()), CELL)]

    def differing(self, file: str, drive: str = "drive0") -> list[int]:
        """The cells in which a file reads otherwise than a disk."""
        pairs = zip(self.disk(drive), self.reads(file), strict=True)
        return [cell for cell, (one, other) in enumerate(pairs) if one != other]

    def same(self, one: str, other: str) -> bool:
        """Whether two files read alike, byte for byte."""
        return self.machine.images.compare(one, other) is None

    def succeeds(self, command: str) -> bool:
        """Whether a command on image files would succeed; nothing changes."""
        status, _ = Shell(self.machine.images.clone(), self.machine.profile).run(command.split())
        return status == 0

    # -- jobs and events

    def copied(self, job: str = "drive0") -> int | None:
        """How many cells a job has copied; None if there is no such job."""
        found = self.job(job)
        return None if found is None else found["progress"][0] // CELL

    def job(self, identifier: str) -> Json | None:
        """A job, as :func:`qbitsim.machine.state.describe` gives it."""
        return next((job for job in self.machine.state()["jobs"] if job["id"] == identifier), None)

    @property
    def events(self) -> list[Json]:
        """The events of this step."""
        return self.machine.events.read(self._began)

    @property
    def ends(self) -> dict[str, str]:
        """How the jobs ended that ended in this step: ``completed``, ``cancelled``, or the error."""
        ends = [(event["data"], end) for event in self.events if (end := end_of_job(event))]
        return {data["device"]: data.get("error", end) for data, end in ends}


def levels_of(machine: Machine, drive: str) -> Iterator[Node]:
    """The nodes that show a drive's disk, if there is one: the filters of jobs and, last, the one with the data."""
    found = machine.graph.drives.get(drive)
    return found.levels() if found is not None else iter(())


def _units(ranges: Iterable[tuple[int, int]], unit: int) -> Iterator[int]:
    for offset, length in ranges:
        yield from range(offset // unit, -(-(offset + length) // unit))


def _letters(firsts: Iterator[bytes]) -> str:
    return "".join(chr(first[0]) if first != b"\0" else "." for first in firsts)
