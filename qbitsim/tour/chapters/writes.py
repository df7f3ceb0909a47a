"""Chapter 8: writes during a backup, and copy-before-write."""

from __future__ import annotations

from qbitsim.tour.chapters.usual import add, anchor, full
from qbitsim.tour.lesson import CELL, Chapter, Finding, Qmp, Question, Step, arrange, go, guest, shell
from qbitsim.tour.scene import Scene

FULL, SMALL = "full.qcow2", "small.qcow2"

CHAPTER = Chapter(
    slug="writes",
    title="Writes during a backup: copy before write",
    setup=(guest("A", 0, 1, 2, 3, 6, 7, 11, 13),),
    steps=(
        Step(
            tell="A backup takes hours, and the guest does not stop. Still the copy shall be the disk as it was at one "
            "moment. How? We begin, take a photograph of that moment, and let the job copy its first four cells.",
            before=(shell("cp drive0.qcow2 photograph"),),
            do=(anchor("bitmap0", FULL), go(4)),
            files=(FULL,),
            see=Finding("Cells 0 to 3 are copied.", lambda scene: scene.holds(FULL) == [0, 1, 2, 3]),
        ),
        Step(
            tell="The guest writes B to cell 1, which is copied already.",
            do=(guest("B", 1),),
            files=(FULL,),
            question=Question(
                "What will the backup have in cell 1?",
                choices=("A", "B"),
                right="a",
                why="The old A is safe in the file, the job does not come back to it. The bitmap records that the disk "
                "is different now.",
                holds=lambda scene: scene.reads(FULL)[1] == "A" and scene.dirty("bitmap0") == [1],
            ),
        ),
        Step(
            tell="Now the guest writes B to cell 11. The job has not been there yet.",
            do=(guest("B", 11),),
            files=(FULL,),
            question=Question(
                "What will the backup have in cell 11?",
                choices=("A, for that was there when it began", "B, for that is there when the job comes by"),
                right="a",
                why="Look at the file: A is there already! The guest's write had to wait until the old data was "
                "copied. That is copy-before-write. The job's bar has moved, and it will not copy cell 11 again.",
                holds=lambda scene: (
                    scene.holds(FULL) == [0, 1, 2, 3, 11] and scene.reads(FULL)[11] == "A" and scene.disk()[11] == "B"
                ),
            ),
        ),
        Step(
            tell="And cell 14, which was never written before.",
            do=(guest("B", 14), Scene.finish, shell("qemu-img compare full.qcow2 photograph")),
            files=(FULL,),
            question=Question(
                "Which cells are dirty at the end?",
                right="1 11 14",
                why="All that the guest wrote since the start, whether the job had been there or not.",
                holds=lambda scene: scene.dirty("bitmap0") == [1, 11, 14] == scene.differing(FULL),
            ),
            see=Finding(
                "The backup is the disk at the moment of the transaction, to the byte, and the next incremental "
                "backup will bring the three cells.",
                lambda scene: scene.same(FULL, "photograph") and scene.ends == {"drive0": "completed"},
            ),
        ),
        Step(
            tell="That has a price. While a backup runs, the guest's writes are as slow as the backup's target; and "
            "worse can happen. Another full backup; its target takes four cells, and then it is full.",
            before=(
                arrange("room for four cells in small.qcow2", lambda machine: machine.limit_capacity(SMALL, 4 * CELL)),
            ),
            do=(Qmp("drive-backup", full(SMALL)), go(4), guest("C", 13)),
            files=(SMALL,),
            question=Question(
                "The guest writes C to cell 13, but the old A cannot be saved. What happens?",
                choices=("the backup fails at once", "the guest's write fails", "the A is lost for the backup"),
                right="b",
                why="QEMU protects the backup, and the program in the guest gets an error, though its own disk is "
                "well.",
                holds=lambda scene: (
                    scene.failed_writes == 1 and scene.disk()[13] == "A" and scene.job("drive0") is not None
                ),
            ),
            see=Finding(
                "The cell is not dirty: the filter refused the write before it came to the disk.",
                lambda scene: scene.dirty("bitmap0") == [1, 11, 14],
            ),
        ),
        Step(
            tell="The job itself fails when it comes to its next cell.",
            do=(Scene.finish, guest("C", 13)),
            files=(SMALL,),
            see=Finding(
                "Only then the guest can write again. So watch the room of your targets.",
                lambda scene: (
                    scene.ends == {"drive0": "No space left on device"}
                    and scene.disk()[13] == "C"
                    and scene.dirty("bitmap0") == [1, 11, 13, 14]
                ),
            ),
        ),
        Step(
            tell="We make room, and begin once more.",
            since="4.2",
            before=(
                shell("rm small.qcow2"),
                arrange("there is room again", lambda machine: machine.limit_capacity(SMALL, None)),
            ),
            do=(Qmp("drive-backup", full(SMALL)), go(4)),
            files=(SMALL,),
            see=Finding(
                "Copy-before-write is done by a filter: a node that QEMU puts above the disk, for as long as the "
                "job runs. A trap comes with it.",
                lambda scene: scene.machine.drive("drive0").node.is_filter,
            ),
        ),
        Step(
            tell='During the backup a client adds a bitmap to "drive0". Then the guest writes cell 7.',
            since="4.2",
            do=(add("bitmap1"), guest("D", 7)),
            idea="disk0 instead of drive0; and look where the bitmap is then.",
            files=(SMALL,),
            see=Finding(
                '"drive0" means the topmost node of the disk, and that is the filter now. There the new bitmap '
                "is, and there it records.",
                lambda scene: scene.dirty("bitmap1") == [7] and 7 in scene.dirty("bitmap0"),
            ),
        ),
        Step(
            tell="The job comes to its end.",
            since="4.2",
            do=(Scene.finish,),
            question=Question(
                "Which cells are dirty in bitmap1?",
                choices=("cell 7", "none", "there is no bitmap1 any more"),
                right="c",
                why="The filter went, and its bitmaps with it; no event tells of it. Use the name of the disk's own "
                "node, here disk0, and not that of the drive, or add bitmaps while no job runs.",
                holds=lambda scene: scene.bitmap("bitmap1") is None and scene.ends == {"drive0": "completed"},
            ),
        ),
    ),
)
