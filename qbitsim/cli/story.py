"""The story of QEMU's document on dirty bitmaps and incremental backups, in chapters.

Each chapter is a function that acts on a :class:`.Stage`. At the start of each backup the disk is remembered, so that
the last chapter can compare every chain of backups with what it should be.
"""

from __future__ import annotations

import errno

from qbitsim.cli.stage import Stage
from qbitsim.jsontypes import Json
from qbitsim.terminal.picture import human

DISK = "64M"
DRIVES = ("drive0", "drive1")


def tell(stage: Stage) -> bool:
    """Tell the whole story; whether every backup proved right."""
    _opening(stage)
    _full_backup(stage)
    _first_incremental(stage)
    _second_incremental(stage)
    _failure(stage)
    _individual(stage)
    _grouped(stage)
    return _proof(stage)


def _opening(stage: Stage) -> None:
    nothing, part, whole = stage.style.levels
    cell = human((64 << 20) // stage.style.cells)
    stage.say(
        f"A machine as QEMU {stage.machine.profile.name}, with two disks of 64 MiB. In the pictures a cell is {cell}. "
        f"A letter is what the guest wrote there; in a bitmap {nothing} is clean, {part} partly dirty, {whole} dirty."
    )
    for drive in DRIVES:
        stage.machine.add_disk(drive, DISK)
    stage.guest("drive0", "A", (0, 8), (16, 8), (40, 4))
    stage.guest("drive1", "A", (4, 12), (48, 8))
    stage.picture(*DRIVES)


def _full_backup(stage: Stage) -> None:
    stage.chapter(
        "A full backup and a bitmap, at the same moment",
        "One transaction makes the bitmap and starts the full backup, so that nothing is lost between the two. While "
        "the backup copies, the guest goes on: the bitmap records it, and the backup stays what the disk was at its "
        "start.",
    )
    stage.remember("drive0", "drive0.at-full")
    stage.qmp("transaction", {"actions": [_add("drive0", "bitmap0"), _full("drive0", "full_backup.img")]})
    stage.guest("drive0", "B", (18, 4), (52, 2))
    stage.work()
    stage.picture("drive0", files=["full_backup.img"])


def _first_incremental(stage: Stage) -> None:
    stage.chapter(
        "The first incremental backup",
        "Its target is backed by the full backup and gets only what the bitmap says. Meanwhile the bitmap is frozen, "
        "and a successor without a name records what the guest writes.",
    )
    stage.guest("drive0", "C", (4, 2), (33, 1))
    stage.picture("drive0")
    _incremental(stage, "incremental.0.img", "full_backup.img", "drive0.at-incremental.0")
    stage.guest("drive0", "D", (20, 4), (60, 2))
    stage.picture("drive0")
    stage.say("The backup succeeds: the successor takes the bitmap's place.")
    stage.work()
    stage.picture("drive0", files=["full_backup.img", "incremental.0.img"])


def _second_incremental(stage: Stage) -> None:
    stage.chapter("The second one goes on top of the first", "Only the target and its backing file are other ones.")
    _incremental(stage, "incremental.1.img", "incremental.0.img", "drive0.at-incremental.1")
    stage.work()
    stage.picture("drive0", files=["full_backup.img", "incremental.0.img", "incremental.1.img"])


def _failure(stage: Stage) -> None:
    stage.chapter(
        "A backup that fails, and its retry",
        "There is room for 1 MiB where the next target is. The backup fails; the bitmap is merged with its successor, "
        "and holds all that is not in a backup yet.",
    )
    stage.guest("drive0", "E", (8, 6), (46, 1))
    stage.machine.limit_capacity("incremental.2.img", 1 << 20)
    _incremental(stage, "incremental.2.img", "incremental.1.img", None)
    stage.guest("drive0", "F", (28, 2))
    stage.picture("drive0")
    stage.work()
    stage.picture("drive0")
    stage.say("The failed target is deleted, room is made, and the same command is given again.")
    stage.machine.limit_capacity("incremental.2.img", None)
    stage.shell("rm incremental.2.img")
    _incremental(stage, "incremental.2.img", "incremental.1.img", "drive0.at-incremental.2")
    stage.work()
    stage.picture("drive0", files=["incremental.2.img"])


def _individual(stage: Stage) -> None:
    stage.chapter(
        "Two drives in one transaction, each for itself",
        "The second drive gets a full backup and a bitmap, too. Then both are backed up at one moment, and reading "
        "drive1 fails. The other job does not care: its backup is good, and its bitmap is clean.",
    )
    stage.remember("drive1", "drive1.at-full")
    stage.qmp("transaction", {"actions": [_add("drive1", "bitmap1"), _full("drive1", "d1-full.qcow2")]})
    stage.work()
    stage.guest("drive0", "G", (2, 2), (36, 2))
    stage.guest("drive1", "G", (10, 4), (30, 3))
    _create(stage, "d0-incr-1.qcow2", "incremental.2.img")
    _create(stage, "d1-incr-1.qcow2", "d1-full.qcow2")
    stage.machine.inject_error("drive1", "read", errno.EIO, once=True)
    stage.remember("drive0", "drive0.at-d0-incr-1")
    _both(stage, 1)
    stage.picture(*DRIVES)
    stage.say("Each ends as it can.")
    stage.work()
    stage.picture(*DRIVES, files=["d0-incr-1.qcow2"])
    stage.say("d0-incr-1.qcow2 must be kept. d1-incr-1.qcow2 is of no use.")
    stage.shell("rm d1-incr-1.qcow2")


def _grouped(stage: Stage) -> None:
    stage.chapter(
        "The same, all or nothing",
        "With completion-mode=grouped no job reports success before all can. drive1 fails again: the other job is "
        "cancelled, and both bitmaps are as if no backup had been asked for.",
    )
    stage.guest("drive0", "H", (12, 2), (56, 1))
    _create(stage, "d0-incr-2.qcow2", "d0-incr-1.qcow2")
    _create(stage, "d1-incr-2.qcow2", "d1-full.qcow2")
    stage.picture(*DRIVES)
    stage.say("Now the transaction, with the same fault:")
    stage.machine.inject_error("drive1", "read", errno.EIO, once=True)
    _both(stage, 2, grouped=True)
    stage.work()
    stage.picture(*DRIVES)
    stage.say("The disk is well again, and both targets are made anew.")
    stage.shell("rm d0-incr-2.qcow2 d1-incr-2.qcow2")
    _create(stage, "d0-incr-2.qcow2", "d0-incr-1.qcow2")
    _create(stage, "d1-incr-2.qcow2", "d1-full.qcow2")
    for drive in DRIVES:
        stage.remember(drive, f"{drive}.at-d{drive[-1]}-incr-2")
    _both(stage, 2, grouped=True)
    stage.work()
    stage.guest("drive0", "I", (0, 64))
    stage.picture(*DRIVES, files=["d0-incr-2.qcow2", "d1-incr-2.qcow2"])


_CHAINS = (
    ("full_backup.img", "drive0.at-full"),
    ("incremental.0.img", "drive0.at-incremental.0"),
    ("incremental.1.img", "drive0.at-incremental.1"),
    ("incremental.2.img", "drive0.at-incremental.2"),
    ("d0-incr-1.qcow2", "drive0.at-d0-incr-1"),
    ("d0-incr-2.qcow2", "drive0.at-d0-incr-2"),
    ("d1-full.qcow2", "drive1.at-full"),
    ("d1-incr-2.qcow2", "drive1.at-d1-incr-2"),
)
"""The backups that succeeded, and what was remembered at the moment of each."""


def _proof(stage: Stage) -> bool:
    stage.chapter(
        "The proof",
        "Each backup is read through its chain of backing files and compared, byte for byte, with what the disk was "
        "when the backup began. (By now the guest has overwritten all of drive0.)",
    )
    good = [stage.shell(f"qemu-img compare {backup} {moment}") for backup, moment in _CHAINS]
    if all(good):
        stage.say(f"All {len(good)} backups read as their disks did at their moments.")
    else:
        stage.say(f"{good.count(False)} of {len(good)} backups are WRONG. That is a bug of qbitsim.")
    return all(good)


def _create(stage: Stage, name: str, backing: str) -> None:
    stage.shell(f"qemu-img create -f qcow2 {name} -b {backing} -F qcow2")


def _incremental(stage: Stage, target: str, backing: str, moment: str | None) -> None:
    """Make the target and start the backup of drive0; ``moment`` remembers the disk."""
    _create(stage, target, backing)
    if moment is not None:
        stage.remember("drive0", moment)
    stage.qmp(
        "drive-backup",
        {
            "device": "drive0",
            "bitmap": "bitmap0",
            "target": target,
            "format": "qcow2",
            "sync": "incremental",
            "mode": "existing",
        },
    )


def _both(stage: Stage, number: int, *, grouped: bool = False) -> None:
    """One transaction with an incremental backup of each drive."""
    actions = [
        {
            "type": "drive-backup",
            "data": {
                "device": f"drive{which}",
                "bitmap": f"bitmap{which}",
                "format": "qcow2",
                "mode": "existing",
                "sync": "incremental",
                "target": f"d{which}-incr-{number}.qcow2",
            },
        }
        for which in (0, 1)
    ]
    arguments: Json = {"actions": actions}
    if grouped:
        arguments["properties"] = {"completion-mode": "grouped"}
    stage.qmp("transaction", arguments)


def _add(drive: str, bitmap: str) -> Json:
    return {"type": "block-dirty-bitmap-add", "data": {"node": drive, "name": bitmap}}


def _full(drive: str, target: str) -> Json:
    return {
        "type": "drive-backup",
        "data": {"device": drive, "target": target, "sync": "full", "format": "qcow2"},
    }
