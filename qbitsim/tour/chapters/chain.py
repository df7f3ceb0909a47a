"""Chapter 4: incremental chains."""

from __future__ import annotations

from qbitsim.tour.chapters.usual import anchored, create, incremental
from qbitsim.tour.lesson import Chapter, Finding, Qmp, Question, Step, guest, shell
from qbitsim.tour.scene import Scene

FULL, MONDAY, TUESDAY = FILES = ("full.qcow2", "monday.qcow2", "tuesday.qcow2")

CHAPTER = Chapter(
    slug="chain",
    title="Incremental backups, and the chain that they make",
    setup=(*anchored(), guest("B", 5, 11)),
    files=FILES,
    steps=(
        Step(
            tell="There is a full backup, and two cells have changed since. The next backup shall hold only these. "
            "First its file is made, on top of the full backup: what it does not hold itself is read from there.",
            do=(shell(create(MONDAY, FULL)), shell("cp drive0.qcow2 photo.monday")),
            see=Finding(
                "An empty file that reads like full.qcow2. (The second command is the tour's photograph of the "
                "disk, for the proof.)",
                lambda scene: scene.holds(MONDAY) == [] and scene.same(MONDAY, FULL),
            ),
        ),
        Step(
            tell='The backup: "sync" says incremental, "bitmap" says which cells, and "mode" says that the file is '
            "there already.",
            do=(Qmp("drive-backup", incremental(MONDAY)),),
            idea="a bitmap that is not there; or full instead of incremental, and what QEMU then says of the bitmap.",
            question=Question(
                "The job has only just begun. What has become of bitmap0?",
                choices=(
                    "it is clean: the job has taken its bits",
                    "it is as it was, and records the guest's writes",
                    "it is busy: it stands still, and a second bitmap records",
                ),
                right="c",
                why="The job works through the bits of bitmap0, so they must not change. QEMU puts an unnamed bitmap "
                "beside it, the successor, which records the guest's writes from now on.",
                holds=lambda scene: (
                    scene.busy("bitmap0") and scene.dirty("bitmap0") == [5, 11] and scene.successor("bitmap0") == []
                ),
            ),
        ),
        Step(
            tell="The guest writes cell 3 while the job is at work.",
            do=(guest("C", 3),),
            question=Question(
                "Who records it?",
                choices=("bitmap0", "the successor", "nobody"),
                right="b",
                why="bitmap0 is the list of what goes into this backup. Cell 3 will be for the next one.",
                holds=lambda scene: scene.successor("bitmap0") == [3] and scene.dirty("bitmap0") == [5, 11],
            ),
        ),
        Step(
            tell="The job goes on to its end.",
            do=(Scene.finish, shell("qemu-img compare monday.qcow2 photo.monday")),
            question=Question(
                "Which cells are dirty in bitmap0 after the success?",
                right="3",
                why="The two old bits are dropped, for their cells are in the backup. The successor takes the place "
                "and the name of bitmap0.",
                holds=lambda scene: (
                    scene.dirty("bitmap0") == [3] and scene.successor("bitmap0") is None and not scene.busy("bitmap0")
                ),
            ),
            see=Finding(
                "monday.qcow2 holds two cells, and with full.qcow2 below it reads as the disk did when the backup "
                "began: without the C.",
                lambda scene: (
                    scene.holds(MONDAY) == [5, 11]
                    and scene.same(MONDAY, "photo.monday")
                    and "C" not in scene.reads(MONDAY)
                ),
            ),
        ),
        Step(
            tell="The next day. The guest writes cells 5 and 14, and the second file is made, on top of the first.",
            do=(guest("D", 5, 14), shell(create(TUESDAY, MONDAY)), shell("cp drive0.qcow2 photo.tuesday")),
            see=Finding(
                "Since Monday's backup began, cells 3, 5 and 14 were written.",
                lambda scene: scene.dirty("bitmap0") == [3, 5, 14] == scene.differing(MONDAY),
            ),
        ),
        Step(
            tell="The same command as the day before, with another target.",
            do=(
                Qmp("drive-backup", incremental(TUESDAY)),
                Scene.finish,
                shell("qemu-img compare tuesday.qcow2 photo.tuesday"),
            ),
            see=Finding(
                "A chain of three files. Look down a column of the picture: the lowest file that holds a cell is "
                "the newest, and it is what tuesday.qcow2 reads as. To restore, use the newest file, and keep all "
                "the others beside it.",
                lambda scene: scene.same(TUESDAY, "photo.tuesday") and scene.dirty("bitmap0") == [],
            ),
        ),
        Step(
            tell="Somebody needs space and deletes the backup of Monday. After all, there is a newer one.",
            do=(shell("rm monday.qcow2"), shell("qemu-img compare tuesday.qcow2 photo.tuesday")),
            question=Question(
                "What can still be restored?",
                choices=("Tuesday and the full backup", "the full backup only", "nothing"),
                right="b",
                why="tuesday.qcow2 is only what changed after Monday. Without the file below, it cannot be read. A "
                "chain is as good as its weakest link.",
                holds=lambda scene: "Could not open" in scene.output and scene.reads(FULL) == "AAAA..AA..AAA...",
            ),
        ),
    ),
)
