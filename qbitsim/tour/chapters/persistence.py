"""Chapter 10: persistence and a crash."""

from __future__ import annotations

from qbitsim.tour.chapters.usual import anchor, anchored, incremental, on_bitmap
from qbitsim.tour.lesson import Chapter, Finding, Qmp, Question, Step, arrange, guest, shell
from qbitsim.tour.scene import Scene

CHAPTER = Chapter(
    slug="persistence",
    title="Persistence, and a crash",
    since="2.10",
    lacks="persistent bitmaps",
    setup=anchored(bitmap="other"),
    steps=(
        Step(
            tell="Bitmaps live in QEMU's memory. When QEMU ends, they are gone, and the next backup must be a full "
            "one. Unless they are persistent: then they are stored in the qcow2 image of the disk.",
            do=(
                anchor("bitmap0", "anchor.qcow2", persistent=True),
                Scene.finish,
                guest("B", 2, 6),
            ),
            see=Finding(
                "Two bitmaps have recorded the same: bitmap0 is persistent, and the one called other is not.",
                lambda scene: scene.dirty("bitmap0") == [2, 6] == scene.dirty("other"),
            ),
        ),
        Step(
            tell="When are they stored? Let us look at the image with QEMU still running.",
            do=(shell("qemu-img info -U drive0.qcow2"),),
            drives=(),
            question=Question(
                "Is bitmap0 in the image file now?",
                choices=("yes, since it was added", "no"),
                right="b",
                why="It is stored when the image is closed, and not before: at a clean end of QEMU, for example.",
                holds=lambda scene: (
                    "bitmap0" not in scene.output and scene.machine.images.lookup("drive0.qcow2").bitmaps == []
                ),
            ),
        ),
        Step(
            tell="A clean end, and a new start.",
            do=(Qmp("quit", {}), Scene.start),
            question=Question(
                "Which bitmaps does QEMU know now?",
                choices=("both", "bitmap0", "none"),
                right="b",
                why="It was stored and loaded, with its bits, and it goes on recording.",
                holds=lambda scene: scene.dirty("bitmap0") == [2, 6] and scene.bitmap("other") is None,
            ),
        ),
        Step(
            tell="The guest writes cell 9, and flushes its disk. Then somebody says kill -9. This is the image before "
            "anybody starts QEMU again:",
            do=(
                guest("C", 9),
                arrange("the guest flushes its disk", lambda machine: machine.drive("drive0").flush()),
                Scene.crash,
                shell("qemu-img info drive0.qcow2"),
            ),
            drives=(),
            see=Finding(
                'bitmap0 is in it, as it was stored at the clean end; and it is marked "in-use". QEMU set this '
                "mark when it opened the image, and did not come to take it away.",
                lambda scene: "[0]: in-use" in scene.output and "name: bitmap0" in scene.output,
            ),
        ),
        Step(
            tell="Can it be mended while QEMU is away?",
            do=(shell("qemu-img bitmap --clear drive0.qcow2 bitmap0"),),
            drives=(),
            see=Finding(
                "No. qemu-img bitmap --remove would work, but let us see what QEMU makes of it.",
                lambda scene: (
                    "is inconsistent and cannot be used" in scene.output
                    and scene.succeeds("qemu-img bitmap --remove drive0.qcow2 bitmap0")
                ),
            ),
        ),
        Step(
            tell="QEMU is started.",
            do=(Scene.start,),
            question=Question(
                "What is in bitmap0 now?",
                choices=(
                    "cells 2 and 6, as they were stored",
                    "cells 2, 6 and 9",
                    "nothing that can be used",
                ),
                right="c",
                why="What is stored in the image is older than the disk: it lacks cell 9, and to use it would be to "
                "lose that cell. So QEMU finds the mark and calls the bitmap inconsistent.",
                holds=lambda scene: (
                    (bitmap := scene.bitmap("bitmap0")) is not None
                    and bitmap.inconsistent
                    and scene.count("bitmap0") == 0
                ),
            ),
            see=Finding(
                "What was flushed of the disk is all there, the C as well. The knowledge of what changed is lost.",
                lambda scene: scene.disk() == "AABA..BA.CAAA...",
            ),
        ),
        Step(
            tell="A client that has not noticed goes on with its chain.",
            do=(Qmp("drive-backup", incremental("next.qcow2", existing=False)),),
            drives=(),
            question=Question(
                "What does QEMU do?",
                choices=("an empty backup", "a full backup", "it refuses"),
                right="c",
                why="An error is the best that can happen here.",
                holds=lambda scene: scene.refusal == "Bitmap 'bitmap0' is inconsistent and cannot be used",
            ),
            see=Finding(
                "Clear, enable and disable are refused likewise. And the bitmap will not go away by itself: it is "
                "stored in the image, from one start to the next.",
                lambda scene: {*scene.refused(("clear", "enable", "disable"), "bitmap0").values()} == {scene.refusal},
            ),
        ),
        Step(
            tell="The one thing that can be done with it:",
            do=(Qmp("block-dirty-bitmap-remove", on_bitmap("bitmap0")),),
            idea="clear, or add, instead of remove.",
            see=Finding(
                "It is gone, from the image as well.",
                lambda scene: (
                    scene.bitmap("bitmap0") is None and scene.machine.images.lookup("drive0.qcow2").bitmaps == []
                ),
            ),
        ),
        Step(
            tell="And then a new anchor, as in chapter 3: a new bitmap and a full backup, in one transaction.",
            do=(anchor("bitmap0", "anchor.2.qcow2", persistent=True), Scene.finish),
            files=("anchor.2.qcow2",),
            see=Finding(
                "The chain begins anew. A client that wants to be safe looks at its bitmaps before each backup: is "
                'it there, "recording", not "busy", not "inconsistent"? If not, a full backup.',
                lambda scene: scene.dirty("bitmap0") == [] and scene.differing("anchor.2.qcow2") == [],
            ),
        ),
    ),
)
