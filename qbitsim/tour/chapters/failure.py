"""Chapter 5: what a failure leaves."""

from __future__ import annotations

from qbitsim.tour.chapters.usual import anchored, create, incremental
from qbitsim.tour.lesson import CELL, Chapter, Finding, Qmp, Question, Step, arrange, go, guest, shell
from qbitsim.tour.scene import Scene

FULL, NEXT = "full.qcow2", "next.qcow2"

CHAPTER = Chapter(
    slug="failure",
    title="What a failure leaves",
    setup=(*anchored(), guest("B", 5, 11, 14)),
    files=(NEXT,),
    steps=(
        Step(
            tell="A full backup exists, and cells 5, 11 and 14 have changed since. But where the next backup is to go, "
            "there is hardly any space left.",
            do=(
                shell(create(NEXT, FULL)),
                arrange("room for one cell only in next.qcow2", lambda machine: machine.limit_capacity(NEXT, CELL)),
            ),
            see=Finding("Three cells will not fit.", lambda scene: scene.dirty("bitmap0") == [5, 11, 14]),
        ),
        Step(
            tell="The backup is started. Its first cell is copied, and meanwhile the guest writes cell 2.",
            do=(Qmp("drive-backup", incremental(NEXT)), go(1), guest("C", 2)),
            idea='one member more, "on-target-error": "stop"; then r, and see in which state the job is.',
            question=Question(
                "What is the reply to the command?",
                choices=('{"return": {}}', "an error: No space left on device"),
                right="a",
                why="QEMU cannot know yet. Nobody who only looks at the reply will ever learn of the failure.",
                holds=lambda scene: scene.reply == {} and scene.holds(NEXT) == [5],
            ),
        ),
        Step(
            tell="The job goes on, and the file is full.",
            do=(Scene.finish,),
            question=Question(
                "Cell 5 was copied, 11 and 14 were not, and the guest has written cell 2. Which cells are dirty after "
                "the failure?",
                right="2 5 11 14",
                why="All that is not in a good backup. The bits of bitmap0 and those of its successor are put together "
                "again; no dirty bit is lost. Cell 5 as well: the file that has it is not good for anything.",
                holds=lambda scene: scene.dirty("bitmap0") == [2, 5, 11, 14] and scene.successor("bitmap0") is None,
            ),
            see=Finding(
                "Read the events: BLOCK_JOB_ERROR, and then BLOCK_JOB_COMPLETED. That a job is COMPLETED means "
                'that it is over. Only if there is no "error" in it, there is a backup.',
                lambda scene: scene.ends == {"drive0": "No space left on device"},
            ),
        ),
        Step(
            tell="The broken file must go: it looks like a backup and is none. Then room is made, and the file is made "
            "anew.",
            do=(
                shell("rm next.qcow2"),
                arrange("there is room again", lambda machine: machine.limit_capacity(NEXT, None)),
                shell(create(NEXT, FULL)),
                shell("cp drive0.qcow2 photograph"),
            ),
            see=Finding("The bitmap has waited.", lambda scene: scene.dirty("bitmap0") == [2, 5, 11, 14]),
        ),
        Step(
            tell="The very same command again.",
            do=(Qmp("drive-backup", incremental(NEXT)), Scene.finish, shell("qemu-img compare next.qcow2 photograph")),
            question=Question(
                "Which cells will next.qcow2 hold?",
                right="2 5 11 14",
                why="It holds all changes since the full backup, those during the failed attempt as well.",
                holds=lambda scene: scene.holds(NEXT) == [2, 5, 11, 14] and scene.same(NEXT, "photograph"),
            ),
            see=Finding(
                "So a failure costs time, and nothing else. Success drops the bits, failure keeps them.",
                lambda scene: scene.dirty("bitmap0") == [] and scene.ends == {"drive0": "completed"},
            ),
        ),
        Step(
            tell="What if somebody cancels a backup? The guest writes cells 8 and 9, and another one is begun.",
            before=(guest("D", 8, 9),),
            do=(Qmp("drive-backup", incremental("other.qcow2", existing=False)), guest("E", 15)),
            files=("other.qcow2",),
            see=Finding(
                '(Without "mode" QEMU makes the file, and it is not on top of any other. For a chain that is '
                "rarely what you want.)",
                lambda scene: (
                    scene.busy("bitmap0")
                    and scene.machine.images.lookup("other.qcow2").backing is None
                    and scene.successor("bitmap0") == [15]
                ),
            ),
        ),
        Step(
            tell="It is cancelled. (What the job has already asked for will still be copied.)",
            do=(Qmp("block-job-cancel", {"device": "drive0"}), Scene.finish),
            files=("other.qcow2",),
            question=Question(
                "Which cells are dirty then?",
                right="8 9 15",
                why="For the bitmap a cancelled backup is like a failed one, however much was copied.",
                holds=lambda scene: scene.dirty("bitmap0") == [8, 9, 15],
            ),
            see=Finding(
                "The event is another one, BLOCK_JOB_CANCELLED, without an error.",
                lambda scene: scene.ends == {"drive0": "cancelled"},
            ),
        ),
    ),
)
