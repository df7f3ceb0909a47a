"""Chapter 3: a full backup and an anchor."""

from __future__ import annotations

from qbitsim.tour.chapters.usual import WRITTEN, anchor
from qbitsim.tour.lesson import Chapter, Finding, Question, Step, go, guest, shell
from qbitsim.tour.scene import Scene

FULL = "full.qcow2"

CHAPTER = Chapter(
    slug="full",
    title="A full backup, the anchor of all that follows",
    setup=(guest("A", *WRITTEN),),
    files=(FULL,),
    steps=(
        Step(
            tell="A bitmap is a list of changes since some moment. To be of use it needs an anchor: a copy of the "
            "whole disk as it was at that very moment. We want both at once, a bitmap and a full backup. For the proof "
            "later on, the tour keeps a copy of the disk as it is now.",
            do=(shell("cp drive0.qcow2 photograph"),),
            see=Finding(
                "(QEMU cannot copy a running disk like that. The tour can, because its time stands still.)",
                lambda scene: scene.same("drive0.qcow2", "photograph"),
            ),
        ),
        Step(
            tell="A transaction does several things at one moment, with no write of the guest between them. This one "
            "adds the bitmap and starts the backup.",
            do=(anchor("bitmap0", FULL),),
            idea="leave one of the two actions out; or swap them.",
            question=Question(
                'When the reply {"return": {}} comes, what is finished?',
                choices=("the backup", "nothing but the start of it"),
                right="b",
                why="A backup is a job. The reply says that it has begun; it goes on in the background, and how it "
                "ended comes later, as an event.",
                holds=lambda scene: scene.reply == {} and scene.copied() == 0 and scene.holds(FULL) == [],
            ),
            see=(
                Finding(
                    'In the picture the job is a bar. It has the id "drive0", after the disk. The last row is the file '
                    "that it copies to, empty so far.",
                    lambda scene: scene.job("drive0") is not None,
                ),
                Finding(
                    "(JOB_STATUS_CHANGE events, which QEMU sends since 2.12, tell the stations of a job's life. A "
                    "short pause at its start is QEMU's own, while it puts things in order; a client need not mind.)",
                    lambda scene: (
                        [event["data"]["status"] for event in scene.events]
                        in (["created", "running", "paused", "running"], [])
                    ),
                ),
            ),
        ),
        Step(
            tell="In this tour the job moves only when we let it. It copies its first piece:",
            do=(go(4),),
            see=Finding(
                "Four cells are in the file. The guest knows nothing of this and could go on writing; what happens "
                "then is chapter 8.",
                lambda scene: scene.holds(FULL) == [0, 1, 2, 3] and scene.dirty("bitmap0") == [],
            ),
        ),
        Step(
            tell="And now to its end.",
            do=(Scene.finish, shell("qemu-img compare full.qcow2 photograph")),
            see=Finding(
                "BLOCK_JOB_COMPLETED without an error: only now there is a backup. It reads as the disk did at the "
                "moment of the transaction.",
                lambda scene: scene.ends == {"drive0": "completed"} and scene.same(FULL, "photograph"),
            ),
        ),
        Step(
            tell="A day goes by. The guest changes cell 11 and uses cell 5 for the first time.",
            do=(guest("B", 5, 11),),
            question=Question(
                "In which cells do the disk and full.qcow2 differ?",
                right="5 11",
                why="Exactly in those that bitmap0 calls dirty.",
                holds=lambda scene: scene.differing(FULL) == [5, 11] == scene.dirty("bitmap0"),
            ),
            see=Finding(
                "This is the law of incremental backup: the last good backup, plus the dirty cells, is the disk. "
                "All the rest of the tour is about keeping it true.",
                lambda scene: set(scene.differing(FULL)) <= set(scene.dirty("bitmap0")),
            ),
        ),
    ),
)
