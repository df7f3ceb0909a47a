"""The story of QEMU's document on dirty bitmaps and incremental backups, in chapters.

Each chapter is a function that acts on a :class:`.DemoMachine`. At the start of each backup the disk is remembered, so
that the last chapter can compare every chain of backups with what it should be.
"""

from __future__ import annotations

import errno

from qbitsim.cli.demo_machine import DemoMachine
from qbitsim.jsontypes import Json
from qbitsim.terminal.picture import human

DISK = "64M"
DRIVES = ("drive0", "drive1")


def play(demo: DemoMachine) -> bool:
    """Play the whole story; whether every backup proved right."""
    _opening(demo)
    _full_backup(demo)
    _first_incremental(demo)
    _second_incremental(demo)
    _failure(demo)
    _individual(demo)
    _grouped(demo)
    return _proof(demo)


def _opening(demo: DemoMachine) -> None:
    nothing, part, whole = demo.style.levels
    cell = human((64 << 20) // demo.style.cells)
    demo.say(
        f"A machine as QEMU {demo.machine.profile.name}, with two disks of 64 MiB. In the pictures a cell is {cell}. "
        f"A letter is what the guest wrote there; in a bitmap {nothing} is clean, {part} partly dirty, {whole} dirty."
    )
    for drive in DRIVES:
        demo.machine.add_disk(drive, DISK)
    demo.guest("drive0", "A", (0, 8), (16, 8), (40, 4))
    demo.guest("drive1", "A", (4, 12), (48, 8))
    demo.picture(*DRIVES)


def _full_backup(demo: DemoMachine) -> None:
    demo.chapter(
        "A full backup and a bitmap, at the same moment",
        "One transaction makes the bitmap and starts the full backup, so that nothing is lost between the two. While "
        "the backup copies, the guest goes on: the bitmap records it, and the backup stays what the disk was at its "
        "start.",
    )
    demo.remember("drive0", "drive0.at-full")
    demo.qmp("transaction", {"actions": [_add("drive0", "bitmap0"), _full("drive0", "full_backup.img")]})
    demo.guest("drive0", "B", (18, 4), (52, 2))
    demo.work()
    demo.picture("drive0", files=["full_backup.img"])


def _first_incremental(demo: DemoMachine) -> None:
    demo.chapter(
        "The first incremental backup",
        "Its target is backed by the full backup and gets only what the bitmap says. Meanwhile the bitmap is busy, "
        "and a successor without a name records what the guest writes.",
    )
    demo.guest("drive0", "C", (4, 2), (33, 1))
    demo.picture("drive0")
    _incremental(demo, "incremental.0.img", "full_backup.img", "drive0.at-incremental.0")
    demo.guest("drive0", "D", (20, 4), (60, 2))
    demo.picture("drive0")
    demo.say("The backup succeeds: the successor takes the bitmap's place.")
    demo.work()
    demo.picture("drive0", files=["full_backup.img", "incremental.0.img"])


def _second_incremental(demo: DemoMachine) -> None:
    demo.chapter("The second one goes on top of the first", "Only the target and its backing file are other ones.")
    _incremental(demo, "incremental.1.img", "incremental.0.img", "drive0.at-incremental.1")
    demo.work()
    demo.picture("drive0", files=["full_backup.img", "incremental.0.img", "incremental.1.img"])


def _failure(demo: DemoMachine) -> None:
    demo.chapter(
        "A backup that fails, and its retry",
        "There is room for 1 MiB where the next target is. The backup fails; the bitmap is merged with its successor, "
        "and holds all that is not in a backup yet.",
    )
    demo.guest("drive0", "E", (8, 6), (46, 1))
    demo.machine.limit_capacity("incremental.2.img", 1 << 20)
    _incremental(demo, "incremental.2.img", "incremental.1.img", None)
    demo.guest("drive0", "F", (28, 2))
    demo.picture("drive0")
    demo.work()
    demo.picture("drive0")
    demo.say("The failed target is deleted, room is made, and the same command is given again.")
    demo.machine.limit_capacity("incremental.2.img", None)
    demo.shell("rm incremental.2.img")
    _incremental(demo, "incremental.2.img", "incremental.1.img", "drive0.at-incremental.2")
    demo.work()
    demo.picture("drive0", files=["incremental.2.img"])


def _individual(demo: DemoMachine) -> None:
    demo.chapter(
        "Two drives in one transaction, each for itself",
        "The second drive gets a full backup and a bitmap, too. Then both are backed up at one moment, and reading "
        "drive1 fails. The other job does not care: its backup is good, and its bitmap is clean.",
    )
    demo.remember("drive1", "drive1.at-full")
    demo.qmp("transaction", {"actions": [_add("drive1", "bitmap1"), _full("drive1", "d1-full.qcow2")]})
    demo.work()
    demo.guest("drive0", "G", (2, 2), (36, 2))
    demo.guest("drive1", "G", (10, 4), (30, 3))
    _create(demo, "d0-incr-1.qcow2", "incremental.2.img")
    _create(demo, "d1-incr-1.qcow2", "d1-full.qcow2")
    demo.machine.inject_error("drive1", "read", errno.EIO, once=True)
    demo.remember("drive0", "drive0.at-d0-incr-1")
    _both(demo, 1)
    demo.picture(*DRIVES)
    demo.say("Each ends as it can.")
    demo.work()
    demo.picture(*DRIVES, files=["d0-incr-1.qcow2"])
    demo.say("d0-incr-1.qcow2 must be kept. d1-incr-1.qcow2 is of no use.")
    demo.shell("rm d1-incr-1.qcow2")


def _grouped(demo: DemoMachine) -> None:
    demo.chapter(
        "The same, all or nothing",
        "With completion-mode=grouped no job reports success before all can. drive1 fails again: the other job is "
        "cancelled, and both bitmaps are as if no backup had been asked for.",
    )
    demo.guest("drive0", "H", (12, 2), (56, 1))
    _create_second_targets(demo)
    demo.picture(*DRIVES)
    demo.say("Now the transaction, with the same fault:")
    demo.machine.inject_error("drive1", "read", errno.EIO, once=True)
    _both(demo, 2, grouped=True)
    demo.work()
    demo.picture(*DRIVES)
    demo.say("The disk is well again, and both targets are made anew.")
    demo.shell("rm d0-incr-2.qcow2 d1-incr-2.qcow2")
    _create_second_targets(demo)
    for drive in DRIVES:
        demo.remember(drive, f"{drive}.at-d{drive[-1]}-incr-2")
    _both(demo, 2, grouped=True)
    demo.work()
    demo.guest("drive0", "I", (0, 64))
    demo.picture(*DRIVES, files=["d0-incr-2.qcow2", "d1-incr-2.qcow2"])


def _create_second_targets(demo: DemoMachine) -> None:
    _create(demo, "d0-incr-2.qcow2", "d0-incr-1.qcow2")
    _create(demo, "d1-incr-2.qcow2", "d1-full.qcow2")


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


def _proof(demo: DemoMachine) -> bool:
    demo.chapter(
        "The proof",
        "Each backup is read through its chain of backing files and compared, byte for byte, with what the disk was "
        "when the backup began. (By now the guest has overwritten all of drive0.)",
    )
    good = [demo.shell(f"qemu-img compare {backup} {moment}") for backup, moment in _CHAINS]
    if all(good):
        demo.say(f"All {len(good)} backups read as their disks did at their moments.")
    else:
        demo.say(f"{good.count(False)} of {len(good)} backups are WRONG. That is a bug of qbitsim.")
    return all(good)


def _create(demo: DemoMachine, name: str, backing: str) -> None:
    demo.shell(f"qemu-img create -f qcow2 {name} -b {backing} -F qcow2")


def _incremental(demo: DemoMachine, target: str, backing: str, moment: str | None) -> None:
    """Make the target and start the backup of drive0; ``moment`` remembers the disk."""
    _create(demo, target, backing)
    if moment is not None:
        demo.remember("drive0", moment)
    demo.qmp("drive-backup", _backup(0, target))


def _both(demo: DemoMachine, number: int, *, grouped: bool = False) -> None:
    """One transaction with an incremental backup of each drive."""
    backups = [{"type": "drive-backup", "data": _backup(drive, f"d{drive}-incr-{number}.qcow2")} for drive in (0, 1)]
    mode: Json = {"properties": {"completion-mode": "grouped"}} if grouped else {}
    demo.qmp("transaction", {"actions": backups, **mode})


def _backup(drive: int, target: str) -> Json:
    """The arguments of an incremental backup to a target that is there."""
    place = {"device": f"drive{drive}", "bitmap": f"bitmap{drive}", "target": target}
    return {**place, "format": "qcow2", "sync": "incremental", "mode": "existing"}


def _add(drive: str, bitmap: str) -> Json:
    return {"type": "block-dirty-bitmap-add", "data": {"node": drive, "name": bitmap}}


def _full(drive: str, target: str) -> Json:
    return {"type": "drive-backup", "data": {"device": drive, "target": target, "sync": "full", "format": "qcow2"}}
