"""Chapter 9: merge, enable, disable."""

from __future__ import annotations

from qbitsim.tour.chapters.usual import anchored, incremental, on_bitmap, transaction
from qbitsim.tour.lesson import CELL, Chapter, Finding, Qmp, Question, Step, guest, guest_bytes
from qbitsim.tour.scene import Scene

BUSY = "Bitmap 'both' is currently in use by another operation and cannot be used"

CHAPTER = Chapter(
    slug="merge",
    title="Merge, enable, disable",
    since="4.0",
    lacks="block-dirty-bitmap-merge, -enable and -disable",
    setup=(*anchored(bitmap="monday"), guest("B", 1, 2)),
    steps=(
        Step(
            tell="So far a bitmap lived from one backup to the next. Some clients rather keep one bitmap for each day. "
            "The one of Monday has recorded two cells since the full backup. It can be told to stop:",
            do=(Qmp("block-dirty-bitmap-disable", on_bitmap("monday")), guest("C", 9)),
            idea="enable it instead, although it is enabled.",
            question=Question(
                "Then the guest writes cell 9. Which cells are dirty in monday?",
                right="1 2",
                why="A disabled bitmap is not recording: it keeps what it has.",
                holds=lambda scene: scene.dirty("monday") == [1, 2],
            ),
            see=Finding(
                "And cell 9 is recorded nowhere now. Between disabling one bitmap and adding the next, a write "
                "was lost: the gap of chapter 6 again.",
                lambda scene: scene.differing("full.qcow2") == [1, 2, 9],
            ),
        ),
        Step(
            tell="We enable it again, and let the guest write cell 9 once more, so that nothing is missing.",
            do=(Qmp("block-dirty-bitmap-enable", on_bitmap("monday")), guest("C", 9)),
            see=Finding("It goes on where it stopped.", lambda scene: scene.dirty("monday") == [1, 2, 9]),
        ),
        Step(
            tell="Now without a gap: one transaction ends Monday and begins Tuesday. Then the guest writes 2 and 7.",
            do=(
                transaction(
                    ("block-dirty-bitmap-disable", on_bitmap("monday")),
                    ("block-dirty-bitmap-add", on_bitmap("tuesday")),
                ),
                guest("D", 2, 7),
            ),
            question=Question(
                "Which cells are dirty in tuesday?",
                right="2 7",
                why="Each write is in exactly one bitmap now. Cell 2 is in both, as it was written on both days.",
                holds=lambda scene: scene.dirty("tuesday") == [2, 7] and scene.dirty("monday") == [1, 2, 9],
            ),
        ),
        Step(
            tell="A backup of all that changed since the full one needs both days. One transaction adds a third "
            "bitmap, disabled, and merges the two into it. Meanwhile tuesday goes on recording.",
            do=(
                transaction(
                    ("block-dirty-bitmap-add", on_bitmap("both", disabled=True)),
                    (
                        "block-dirty-bitmap-merge",
                        {"node": "drive0", "target": "both", "bitmaps": ["monday", "tuesday"]},
                    ),
                ),
            ),
            question=Question(
                "Which cells are dirty in the bitmap called both?",
                right="1 2 7 9",
                why="A cell is dirty if it is dirty in any of them.",
                holds=lambda scene: scene.dirty("both") == [1, 2, 7, 9],
            ),
            see=Finding(
                "The sources are what they were. A merge copies bits, it does not move them.",
                lambda scene: scene.dirty("monday") == [1, 2, 9] and scene.dirty("tuesday") == [2, 7],
            ),
        ),
        Step(
            tell="The backup by the merged bitmap.",
            do=(Qmp("drive-backup", incremental("both.qcow2", bitmap="both", existing=False)),),
            files=("both.qcow2",),
            see=Finding("It is under way, and the bitmap is busy.", lambda scene: scene.busy("both")),
        ),
        Step(
            tell="A client that is not patient merges again, at once. (It says disk0, the name of the disk itself, and "
            "not drive0. Why, is at the end of chapter 8.)",
            do=(Qmp("block-dirty-bitmap-merge", {"node": "disk0", "target": "both", "bitmaps": ["tuesday"]}),),
            question=Question(
                "What does QEMU say?",
                choices=("it merges into the successor", "it waits for the job", "it refuses"),
                right="c",
                why="While a job has a bitmap, nobody else can change it.",
                holds=lambda scene: scene.refusal == BUSY,
            ),
            see=Finding(
                "Clear, enable, disable and remove would be refused with the same words.",
                lambda scene: (
                    {*scene.refused(("clear", "enable", "disable", "remove"), "both", "disk0").values()} == {BUSY}
                ),
            ),
        ),
        Step(
            tell="The job ends.",
            do=(Scene.finish,),
            files=("both.qcow2",),
            see=Finding(
                "The backup holds the four cells, and the bitmap is free again. It is free when the job is over, "
                'with the status "concluded", after which it goes ("null"); a client that comes earlier is refused.',
                lambda scene: (
                    scene.holds("both.qcow2") == [1, 2, 7, 9]
                    and scene.dirty("both") == []
                    and not scene.busy("both")
                    and scene.events[-1]["data"] == {"status": "null", "id": "drive0"}
                ),
            ),
        ),
        Step(
            tell="Bitmaps of different granularity can be merged as well. First we need a fine one that has "
            "seen a write: of 100 bytes, in cell 13.",
            do=(
                transaction(
                    ("block-dirty-bitmap-add", on_bitmap("fine", granularity=4096)),
                    ("block-dirty-bitmap-disable", on_bitmap("tuesday")),
                ),
                guest_bytes("E", 13 * CELL, 100),
            ),
            see=Finding(
                "4 KiB are dirty in fine; tuesday is disabled and has not seen it.",
                lambda scene: scene.count("fine") == 4096 and scene.dirty("tuesday") == [2, 7],
            ),
        ),
        Step(
            tell="Now the fine one is merged into tuesday, whose bits stand for 64 KiB.",
            do=(Qmp("block-dirty-bitmap-merge", {"node": "drive0", "target": "tuesday", "bitmaps": ["fine"]}),),
            question=Question(
                "How much becomes dirty in tuesday?",
                choices=("4 KiB more", "64 KiB more", "nothing: it is refused"),
                right="b",
                why="Bits can become coarser, never finer: what is dirty stays covered.",
                holds=lambda scene: scene.dirty("tuesday") == [2, 7, 13] and scene.count("tuesday") == 3 * CELL,
            ),
            see=Finding(
                "tuesday is disabled still: a merge works on disabled bitmaps, too, and does not enable them.",
                lambda scene: (bitmap := scene.bitmap("tuesday")) is not None and not bitmap.recording,
            ),
        ),
    ),
)
