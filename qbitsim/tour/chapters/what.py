"""Chapter 1: what a bitmap is."""

from __future__ import annotations

from typing import Any

from qbitsim.tour.chapters.usual import add, on_bitmap
from qbitsim.tour.lesson import CELL, Chapter, Finding, Qmp, Question, Step, guest


def bitmaps(reply: Any) -> Any:
    """The part of ``query-block`` that shows the bitmaps of the first drive."""
    # Old releases show them beside "inserted".
    return reply[0].get("dirty-bitmaps") or reply[0]["inserted"]["dirty-bitmaps"]


CHAPTER = Chapter(
    slug="bitmap",
    title="What a bitmap is",
    steps=(
        Step(
            tell="A virtual machine has a disk of 1 MiB, drive0. The pictures show it as 16 cells of 64 KiB; the "
            "numbers above them are where each begins. A letter is what the guest wrote there. First the guest "
            "fills nine cells with A.",
            do=(guest("A", 0, 1, 2, 3, 6, 7, 10, 11, 12),),
            see=Finding(
                "A backup program wants a copy of this disk every night. It could read and copy all of it each "
                "time. But most cells are the same as last night. Which ones are not? The disk itself does not "
                "say when a cell was written.",
                lambda scene: scene.disk() == "AAAA..AA..AAA...",
            ),
        ),
        Step(
            tell="QEMU sees every write of the guest, so QEMU can keep a list. This command gives drive0 a dirty "
            "bitmap: one bit for each cell.",
            do=(add("bitmap0"),),
            idea="another node, such as drive7; or a command that QEMU does not have.",
            question=Question(
                "The guest has written nine cells so far. How many bits of the new bitmap are set?",
                choices=("none", "nine, those with data", "all sixteen"),
                right="a",
                why="A new bitmap knows nothing of the past. It records what is written from now on.",
                holds=lambda scene: scene.dirty("bitmap0") == [],
            ),
            see=Finding(
                'The answer {"return": {}} is how QEMU says that it is done. In the picture bitmap0 has a row of '
                "its own, and no cell of it is dirty.",
                lambda scene: scene.reply == {},
            ),
        ),
        Step(
            tell="Now the guest goes on with its work: it overwrites cell 2, and writes cells 8 and 9, new ones.",
            do=(guest("B", 2, 8, 9),),
            question=Question(
                "Which cells of bitmap0 are dirty then?",
                right="2 8 9",
                why="A write sets the bit, whether there was something before or not.",
                holds=lambda scene: scene.dirty("bitmap0") == [2, 8, 9],
            ),
            see=Finding(
                "The marks ^ below a row show which cells have changed since the picture before.",
                lambda scene: scene.disk() == "AABA..AABBAAA...",
            ),
        ),
        Step(
            tell="The guest writes cell 2 once more, with the very same letter.",
            do=(guest("B", 2),),
            question=Question(
                "What does bitmap0 look like then?",
                choices=("as before", "cell 2 counts twice", "cell 2 is clean again"),
                right="a",
                why="A bit says that a cell was written. Not how often, not with what, and not when.",
                holds=lambda scene: scene.dirty("bitmap0") == [2, 8, 9],
            ),
        ),
        Step(
            tell="A client can ask for the state of the bitmap. It does not get the bits, only how many there are.",
            do=(Qmp("query-block", {}, part=bitmaps, about="the part about bitmaps"),),
            question=Question(
                'Three cells of 64 KiB are dirty. What does "count" say?',
                choices=("3", "196608", "1048576"),
                right="b",
                why="It counts bytes: 3 times 65536. How many bytes one bit stands for is its granularity, which is "
                "the next chapter.",
                holds=lambda scene: bitmaps(scene.reply)[0]["count"] == 3 * CELL == 196608,
            ),
        ),
        Step(
            tell="The bitmap can be told to forget. Its bits are dropped; the disk stays what it is.",
            do=(Qmp("block-dirty-bitmap-clear", on_bitmap("bitmap0")),),
            see=Finding(
                "All clean, as if nothing had been written. Nothing warns us: if no backup has the cells 2, 8 and "
                "9, then no later one will get them from this bitmap. A bitmap is a list of changes since a "
                "moment, and somebody must have a copy of the disk as it was at that moment.",
                lambda scene: scene.dirty("bitmap0") == [] and scene.disk() == "AABA..AABBAAA...",
            ),
        ),
    ),
)
