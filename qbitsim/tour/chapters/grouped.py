"""Chapter 7: individual against grouped."""

from __future__ import annotations

import errno

from qbitsim.drivers.failing import faults_of
from qbitsim.machine.machine import Machine
from qbitsim.tour.chapters.usual import anchored, create, incremental, transaction
from qbitsim.tour.lesson import CELL, Chapter, Finding, Qmp, Question, Step, arrange, go, guest, shell
from qbitsim.tour.scene import Scene


def _break(machine: Machine) -> None:
    machine.inject_error("drive1", "read", errno.EIO, 12 * CELL, CELL)


def _remove_faults(machine: Machine) -> None:
    faults_of(machine.graph, "drive1").rules.clear()


def _both(number: int, *, grouped: bool = False) -> Qmp:
    return transaction(
        ("drive-backup", incremental(f"data.{number}", "drive0", "bitmap0")),
        ("drive-backup", incremental(f"log.{number}", "drive1", "bitmap1")),
        grouped=grouped,
    )


CHAPTER = Chapter(
    slug="grouped",
    title="Two disks: each for itself, or all or nothing",
    disks=("drive0", "drive1"),
    files=("data.2", "log.2"),
    setup=(
        *anchored("drive0", "bitmap0", "data.full"),
        *anchored("drive1", "bitmap1", "log.full"),
        guest("B", 4, 8),
        guest("B", 1, 12, drive="drive1"),
        arrange("drive1 is slow", lambda machine: machine.delay_io("drive1", "read", 1.0)),
    ),
    steps=(
        Step(
            tell="A machine with two disks: drive0 holds a database, drive1, which is slow, its log. Both have a "
            "full backup and a bitmap. They belong together: a database of today with a log of "
            "yesterday is of no use.",
            do=(
                shell(create("data.1", "data.full")),
                shell(create("log.1", "log.full")),
                arrange("cell 12 of drive1 cannot be read from now on", _break),
            ),
            see=Finding(
                "Next, both are backed up at one moment, in one transaction. And one of them will fail.",
                lambda scene: scene.dirty("bitmap0") == [4, 8] and scene.dirty("bitmap1", "drive1") == [1, 12],
            ),
        ),
        Step(
            tell="Without further words the jobs are started together, and then each is for itself: individual.",
            do=(_both(1), Scene.finish),
            files=("data.1", "log.1"),
            question=Question(
                "Reading drive1 fails. What becomes of the backup of drive0?",
                choices=("it is cancelled", "it succeeds"),
                right="b",
                why="One transaction started both; it does not tie their ends together.",
                holds=lambda scene: scene.ends == {"drive0": "completed", "drive1": "Input/output error"},
            ),
            see=Finding(
                "bitmap0 is clean: data.1 must be kept, for only it has the cells 4 and 8. bitmap1 has kept its "
                "bits. So the client now has two disks that are at different points of their chains, and must "
                "remember that.",
                lambda scene: (
                    scene.dirty("bitmap0") == []
                    and scene.dirty("bitmap1", "drive1") == [1, 12]
                    and scene.differing("data.1") == []
                ),
            ),
        ),
        Step(
            tell="Now all or nothing. The guest writes on, the failed file is deleted, and new files are made. drive1 "
            "is as broken as before.",
            do=(
                guest("C", 5, 9),
                shell("rm log.1"),
                shell(create("data.2", "data.1")),
                shell(create("log.2", "log.full")),
            ),
            files=(),
            see=Finding(
                "This is what the bitmaps are before the attempt.",
                lambda scene: scene.dirty("bitmap0") == [5, 9] and scene.dirty("bitmap1", "drive1") == [1, 12],
            ),
        ),
        Step(
            tell='One more line in the command: "completion-mode" is grouped. We let drive0 come to its end.',
            do=(_both(2, grouped=True), go(2)),
            idea='leave "properties" out, and let the jobs run with r.',
            question=Question(
                "The job of drive0 has copied all that it had to. Is it over?",
                choices=("yes", "no, it waits for the other one"),
                right="b",
                why='It is "waiting": no job of a group succeeds before all can. Its bitmap is busy still.',
                holds=lambda scene: (scene.job("drive0") or {}).get("status") == "waiting" and scene.busy("bitmap0"),
            ),
        ),
        Step(
            tell="Now the job of drive1 comes to cell 12.",
            do=(Scene.finish,),
            question=Question(
                "data.2 is complete, and log.2 is not. Which cells are dirty in bitmap0?",
                right="5 9",
                why="The job of drive0 is cancelled, although it had copied everything. Both bitmaps are as if there "
                "had been no backup at all.",
                holds=lambda scene: scene.dirty("bitmap0") == [5, 9] and scene.dirty("bitmap1", "drive1") == [1, 12],
            ),
            see=Finding(
                "One job ends with an error, the other one with BLOCK_JOB_CANCELLED. Both files must be deleted.",
                lambda scene: scene.ends == {"drive0": "cancelled", "drive1": "Input/output error"},
            ),
        ),
        Step(
            tell="The disk is repaired. The same once more, on new files.",
            before=(
                arrange("cell 12 of drive1 can be read again", _remove_faults),
                shell("rm data.2 log.2"),
                shell(create("data.2", "data.1")),
                shell(create("log.2", "log.full")),
            ),
            do=(_both(2, grouped=True), Scene.finish),
            see=Finding(
                "Both are of one moment, and both bitmaps are clean. Look at how the jobs end: each waits for the "
                "other, then both are completed.",
                lambda scene: (
                    scene.ends == {"drive0": "completed", "drive1": "completed"}
                    and scene.differing("data.2") == []
                    and scene.differing("log.2", "drive1") == []
                ),
            ),
        ),
    ),
)
