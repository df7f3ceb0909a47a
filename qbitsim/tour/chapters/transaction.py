"""Chapter 6: why a transaction."""

from __future__ import annotations

from qbitsim.machine.machine import Machine
from qbitsim.tour.chapters.usual import WRITTEN, add, anchor, create, full, incremental, on_bitmap, transaction
from qbitsim.tour.lesson import CELL, Chapter, Finding, Qmp, Question, Step, arrange, guest, shell
from qbitsim.tour.scene import Scene

FULL, NEXT, NEW = "full.qcow2", "next.qcow2", "new.qcow2"


def _limit(machine: Machine) -> None:
    for name in ("again.qcow2", "third.qcow2"):
        machine.limit_capacity(name, CELL)


CHAPTER = Chapter(
    slug="transaction",
    title="Why a transaction",
    setup=(guest("A", *WRITTEN),),
    steps=(
        Step(
            tell="Chapter 3 added the bitmap and started the full backup in one transaction. Must that be? Let us do "
            "one after the other. First the full backup.",
            do=(Qmp("drive-backup", full(FULL)), Scene.finish),
            files=(FULL,),
            see=Finding("It is a good one.", lambda scene: scene.differing(FULL) == []),
        ),
        Step(
            tell="The client takes a moment to send its next command. In this moment the guest writes cell 4. Then the "
            "bitmap is added.",
            before=(guest("B", 4),),
            do=(add("bitmap0"),),
            files=(FULL,),
            question=Question(
                "Which cells are dirty?",
                right="",
                why="The bitmap did not see the write to cell 4. The full backup has not got it, either.",
                holds=lambda scene: scene.dirty("bitmap0") == [] and scene.differing(FULL) == [4],
            ),
        ),
        Step(
            tell="Nobody has noticed anything. The guest writes cell 9, and there is an incremental backup.",
            before=(guest("C", 9), shell("cp drive0.qcow2 photograph"), shell(create(NEXT, FULL))),
            do=(
                Qmp("drive-backup", incremental(NEXT)),
                Scene.finish,
                shell("qemu-img compare next.qcow2 photograph"),
            ),
            files=(FULL, NEXT),
            see=Finding(
                "Every command succeeded, and no event told of an error. But the backup is wrong: cell 4 is "
                "missing, in this one and in every later one, until the guest happens to write that cell again. "
                "You would learn of it when you restore.",
                lambda scene: (
                    scene.ends == {"drive0": "completed"}
                    and scene.differing(NEXT) == [4]
                    and "mismatch" in scene.output
                ),
            ),
        ),
        Step(
            tell="We start again, with another bitmap and another full backup, and now both are in one transaction: "
            "between its actions the guest cannot write. The moment after, it writes cell 4.",
            do=(anchor("bitmap1", NEW), guest("D", 4), Scene.finish),
            files=(NEW,),
            see=Finding(
                "Now cell 4 is not in the backup, but in the bitmap. The law holds. (Adding the bitmap first and "
                "starting the backup later would be safe, too; what is written in between would be copied twice.)",
                lambda scene: scene.dirty("bitmap1") == [4] == scene.differing(NEW),
            ),
        ),
        Step(
            tell="The second reason for transactions: all or nothing. Here the second action names a disk that is not "
            "there.",
            do=(
                transaction(
                    ("block-dirty-bitmap-add", on_bitmap("bitmap2")),
                    ("drive-backup", full("x.qcow2", "drive9")),
                ),
            ),
            idea="a second action that can be done; or the same bitmap twice.",
            question=Question(
                "Is there a bitmap2 afterwards?",
                choices=("yes, its action came first and succeeded", "no"),
                right="b",
                why="When an action is refused, those before it are undone.",
                holds=lambda scene: scene.bitmap("bitmap2") is None and scene.refusal is not None,
            ),
        ),
        Step(
            tell="Undone is what a transaction STARTS. What its jobs do later is another matter, and here is a trap. "
            "To begin a new chain, a client clears the bitmap and starts a full backup, in one transaction. But there "
            "is hardly any room for the new target.",
            before=(arrange("room for one cell in again.qcow2 and in third.qcow2", _limit),),
            do=(
                transaction(
                    ("block-dirty-bitmap-clear", on_bitmap("bitmap1")),
                    ("drive-backup", full("again.qcow2")),
                ),
                Scene.finish,
            ),
            files=(NEW, "again.qcow2"),
            question=Question(
                "The transaction succeeds; the backup then fails. Cell 4 was dirty before. Is it still?",
                choices=("yes, a failure keeps the bits", "no"),
                right="b",
                why="A failed backup gives back the bits that it took itself. It did not use this bitmap: the clear "
                "did, and that succeeded.",
                holds=lambda scene: scene.dirty("bitmap1") == [] and "drive0" in scene.ends,
            ),
            see=Finding(
                "The new backup is broken, and the old chain cannot be continued: it lacks cell 4, and no bitmap "
                "says so. After such a failure only another full backup helps.",
                lambda scene: scene.differing(NEW) == [4] and scene.ends == {"drive0": "No space left on device"},
            ),
        ),
        Step(
            tell="The safe way, for QEMU 4.2 and newer: give the bitmap to the full backup. Then it is cleared only if "
            "the backup succeeds. The guest has written cell 15; the target is as small as before.",
            since="4.2",
            before=(guest("E", 15),),
            do=(
                Qmp("drive-backup", full("third.qcow2") | {"bitmap": "bitmap1", "bitmap-mode": "on-success"}),
                Scene.finish,
            ),
            files=("third.qcow2",),
            question=Question(
                "Which cells are dirty after this failure?",
                right="15",
                why="The job had the bitmap, and gives it back.",
                holds=lambda scene: (
                    scene.dirty("bitmap1") == [15] and scene.ends == {"drive0": "No space left on device"}
                ),
            ),
        ),
    ),
)
