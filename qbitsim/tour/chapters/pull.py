"""Chapter 11: a backup that a program fetches."""

from __future__ import annotations

from qbitsim.tour.chapters.usual import anchored, on_bitmap, transaction
from qbitsim.tour.lesson import Chapter, Finding, Qmp, Question, Step, client_asks, client_reads, guest, shell
from qbitsim.tour.scene import Scene

FULL, OVERLAY = "full.qcow2", "overlay.qcow2"
EXPORT = "backup"
DIRTY = "qemu:dirty-bitmap:bitmap0"
ALLOCATION = "base:allocation"

_OVERLAY_NODE = {
    "driver": "qcow2",
    "node-name": "overlay",
    "file": {"driver": "file", "filename": OVERLAY},
    "backing": "disk0",
}
_BACKUP = {"device": "disk0", "target": "overlay", "sync": "none", "job-id": "job0"}
_ADDRESS = {"type": "unix", "data": {"path": "nbd.sock"}}
_EXPORT = {"type": "nbd", "id": "export0", "node-name": "overlay", "name": EXPORT, "bitmaps": ["bitmap0"]}

CHAPTER = Chapter(
    slug="pull",
    title="A backup that a program fetches",
    setup=(*anchored(), guest("B", 2, 8, 9)),
    files=(FULL, OVERLAY),
    since="5.2",
    lacks="block-export-add",
    steps=(
        Step(
            tell="In all chapters before, QEMU wrote the backup into a file: it pushed. A backup program can also "
            "pull: it reads from QEMU what it wants, over NBD. There is a full backup, and since then the guest has "
            "written cells 2, 8 and 9. But reading takes time, and the guest does not wait. So the moment must be "
            "kept. An empty overlay on top of the disk will do that.",
            before=(shell(f"qemu-img create -f qcow2 {OVERLAY} 1M"),),
            do=(Qmp("blockdev-add", _OVERLAY_NODE),),
            see=Finding(
                "The overlay holds nothing of its own. What is read from it comes from the disk, its backing node.",
                lambda scene: scene.holds(OVERLAY) == [] and scene.refusal is None,
            ),
        ),
        Step(
            tell="Three things at one moment: a new bitmap records from now on, the old one stands still, and a backup "
            'with "sync": "none" copies nothing by itself. It only saves what the guest is about to overwrite.',
            do=(
                transaction(
                    ("block-dirty-bitmap-add", on_bitmap("bitmap1", "disk0")),
                    ("block-dirty-bitmap-disable", on_bitmap("bitmap0", "disk0")),
                    ("blockdev-backup", _BACKUP),
                ),
            ),
            question=Question(
                "Which cells of bitmap1 are dirty now?",
                right="",
                why="It is for the next backup. The list for this one is bitmap0, and nothing is added to it any more.",
                holds=lambda scene: scene.dirty("bitmap1") == [] and scene.dirty("bitmap0") == [2, 8, 9],
            ),
        ),
        Step(
            tell="QEMU is to listen for NBD clients.",
            do=(Qmp("nbd-server-start", {"addr": _ADDRESS}),),
            see=Finding("Anybody may connect now, but there is nothing to be had.", lambda scene: scene.reply == {}),
        ),
        Step(
            tell="The overlay is exported, read-only, and bitmap0 with it.",
            do=(Qmp("block-export-add", _EXPORT),),
            idea='"bitmaps": ["bitmap1"], which still records.',
            see=Finding(
                "As long as the export is there, bitmap0 is busy: nobody can change or remove it.",
                lambda scene: scene.busy("bitmap0") and not scene.busy("bitmap1"),
            ),
        ),
        Step(
            tell="The backup program connects. First it asks for the dirty areas.",
            do=(client_asks(EXPORT, DIRTY),),
            question=Question(
                "Of which cells does it hear?",
                right="2 8 9",
                why="This is the list that a push has inside of QEMU. Here the program gets it, and decides itself.",
                holds=lambda scene: scene.heard == [2, 8, 9],
            ),
        ),
        Step(
            tell="It reads cell 2. Then it is the guest's turn, which overwrites cell 8. Then the program reads 8.",
            before=(client_reads(EXPORT, 2), guest("C", 8)),
            do=(client_reads(EXPORT, 8),),
            question=Question(
                "What does the program get?",
                choices=("B, as the cell was at the moment of the transaction", "C, as it is now"),
                right="a",
                why="Before the guest's C went to the disk, the job saved the B in the overlay. The guest had to wait "
                "for that, a little.",
                holds=lambda scene: scene.fetched == {2: "B", 8: "B"} and scene.disk()[8] == "C",
            ),
            see=(
                Finding("The overlay holds cell 8 now, and nothing else.", lambda scene: scene.holds(OVERLAY) == [8]),
                Finding(
                    "And bitmap1 knows that the next backup has to fetch cell 8.",
                    lambda scene: scene.dirty("bitmap1") == [8],
                ),
            ),
        ),
        Step(
            tell="It reads cell 9, and is done.",
            do=(client_reads(EXPORT, 9),),
            see=Finding(
                "The full backup with these three cells put into it is the disk at the moment of the transaction: "
                "not as it was when the reading began, and not as it is now.",
                lambda scene: scene.patched(FULL) == "AABA..AABBAAA..." and scene.disk() == "AABA..AACBAAA...",
            ),
        ),
        Step(
            tell="Now a mistake. Another program is late: it comes when the job has ended already, and the guest has "
            "gone on. The export is still there.",
            do=(Qmp("block-job-cancel", {"device": "job0"}), Scene.finish, guest("D", 9), client_reads(EXPORT, 9)),
            question=Question(
                "What does it read in cell 9?",
                choices=("B, from the overlay", "D, from the disk", "an error"),
                right="b",
                why="Nobody saves anything in the overlay any more. What it does not hold comes from the disk, as the "
                "disk is now.",
                holds=lambda scene: scene.fetched[9] == "D" and scene.holds(OVERLAY) == [8],
            ),
        ),
        Step(
            tell="It is no better with the allocation, the other thing that clients ask for: it tells of data and "
            "holes, not of what has changed.",
            do=(client_asks(EXPORT, ALLOCATION),),
            see=Finding(
                "Every cell with data, whether it is in the full backup or not; and it is that of the disk as it is "
                "now. There is no error, and no event: only the order tells right from wrong. First the client "
                "leaves, then the export goes, then the job.",
                lambda scene: scene.heard == [0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12] and scene.events == [],
            ),
        ),
        Step(
            tell="The program has its backup and has gone. The export is removed.",
            do=(Qmp("block-export-del", {"id": "export0"}), Scene.finish),
            see=Finding(
                "The old bitmap is free again and can be removed. The new one goes on: it is the list for tomorrow.",
                lambda scene: (
                    not scene.busy("bitmap0")
                    and scene.dirty("bitmap1") == [8, 9]
                    and "BLOCK_EXPORT_DELETED" in [event["event"] for event in scene.events]
                ),
            ),
        ),
    ),
)
