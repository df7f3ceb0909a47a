"""Chapter 2: granularity."""

from __future__ import annotations

from qbitsim.tour.chapters.usual import add, incremental
from qbitsim.tour.lesson import CELL, Chapter, Finding, Qmp, Question, Step, guest, guest_bytes
from qbitsim.tour.scene import Scene

KIB = 1024


CHAPTER = Chapter(
    slug="granularity",
    title="Granularity: how much one bit stands for",
    setup=(guest("A", *range(16)), add("bitmap0")),
    steps=(
        Step(
            tell="The disk is full of A, and bitmap0 was added without saying how fine it shall be. On this disk QEMU "
            "takes 64 KiB for each bit. Now the guest writes one single byte at the start of cell 5.",
            do=(guest_bytes("B", 5 * CELL, 1),),
            question=Question(
                "How much does the bitmap call dirty?",
                choices=("1 byte", "512 bytes, a sector", "64 KiB, the whole cell"),
                right="c",
                why="A bit is set or not; there is nothing between. One byte makes 64 KiB dirty, and a backup will "
                "copy 64 KiB.",
                holds=lambda scene: scene.dirty("bitmap0") == [5] and scene.count("bitmap0") == CELL,
            ),
        ),
        Step(
            tell="A disk can have many bitmaps, each with a granularity of its own. Here is a finer one, of 4 KiB.",
            do=(add("fine", granularity=4 * KIB),),
            see=Finding(
                "It is clean: it has not seen the write from before.",
                lambda scene: scene.dirty("fine") == [] and scene.dirty("bitmap0") == [5],
            ),
        ),
        Step(
            tell="And a coarser one, of 256 KiB: one bit for four cells.",
            do=(add("coarse", granularity=256 * KIB),),
            see=Finding("All three will see the next write.", lambda scene: scene.dirty("coarse") == []),
        ),
        Step(
            tell="The guest writes 100 bytes at the start of cell 9.",
            do=(guest_bytes("C", 9 * CELL, 100),),
            question=Question(
                "How much is dirty now in the bitmap called coarse?",
                choices=("100 bytes", "64 KiB", "256 KiB", "1 MiB"),
                right="c",
                why="Cells 8 to 11 share one bit. In fine the same write is 4 KiB, which the picture can only show as "
                "a partly dirty cell.",
                holds=lambda scene: scene.count("coarse") == 256 * KIB and scene.count("fine") == 4 * KIB,
            ),
            see=Finding(
                "Fine bitmaps make small backups, and cost memory: for a disk of 1 TiB a granularity of 64 KiB "
                "takes 2 MiB, one of 4 KiB takes 32 MiB.",
                lambda _: ((1 << 40) // CELL // 8, (1 << 40) // (4 * KIB) // 8) == (2 << 20, 32 << 20),
            ),
        ),
        Step(
            tell="The guest writes 2 bytes: the last one of cell 13 and the first one of cell 14.",
            do=(guest_bytes("D", 14 * CELL - 1, 2),),
            question=Question(
                "Which cells of bitmap0 are dirty now, in all?",
                right="5 9 13 14",
                why="Whatever a write touches becomes dirty. Two bytes across a border are two cells.",
                holds=lambda scene: scene.dirty("bitmap0") == [5, 9, 13, 14],
            ),
        ),
        Step(
            tell="Not every number will do for a granularity.",
            do=(add("odd", granularity=1000),),
            idea="512, 256, 4096 or 2147483648 instead of 1000.",
            question=Question(
                "What will QEMU make of a granularity of 1000?",
                choices=("it takes 1000", "it rounds up to 1024", "it refuses"),
                right="c",
                why="A refused command changes nothing.",
                holds=lambda scene: (
                    scene.refusal == "Granularity must be power of 2 and at least 512" and scene.bitmap("odd") is None
                ),
            ),
        ),
        Step(
            tell="Does a backup by the fine bitmap copy only 4 KiB for each of its bits? Let us see. (Chapter 4 "
            "explains this command.)",
            do=(Qmp("drive-backup", incremental("fine.qcow2", bitmap="fine", existing=False)), Scene.finish),
            files=("fine.qcow2",),
            question=Question(
                "The fine bitmap has 3 bits set: in cells 9, 13 and 14. How much is copied?",
                choices=("12 KiB: 3 times 4 KiB", "192 KiB: 3 cells", "1 MiB"),
                right="b",
                why="A backup job copies whole clusters of at least 64 KiB, however fine the bitmap is.",
                holds=lambda scene: (
                    scene.holds("fine.qcow2") == [9, 13, 14]
                    and scene.machine.images.lookup("fine.qcow2").content.allocated == 192 * KIB
                ),
            ),
            see=Finding(
                "So for such backups a granularity below 64 KiB buys nothing. It helps programs that read the "
                "bitmap themselves.",
                lambda scene: scene.ends == {"drive0": "completed"},
            ),
        ),
    ),
)
