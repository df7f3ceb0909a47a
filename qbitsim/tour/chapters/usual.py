"""The commands that most chapters give."""

from __future__ import annotations

from qbitsim.jsontypes import Json
from qbitsim.tour.lesson import Act, Qmp, guest
from qbitsim.tour.scene import Scene

WRITTEN = (0, 1, 2, 3, 6, 7, 10, 11, 12)
"""The cells that the guest has filled with A before most chapters begin."""


def on_bitmap(name: str, drive: str = "drive0", **more: object) -> Json:
    """The arguments of a command on a bitmap."""
    return {"node": drive, "name": name, **more}


def add(name: str, **more: object) -> Qmp:
    """The command that adds a bitmap to drive0."""
    return Qmp("block-dirty-bitmap-add", on_bitmap(name, "drive0", **more))


def full(target: str, drive: str = "drive0") -> Json:
    """The arguments of a full backup."""
    return {"device": drive, "sync": "full", "target": target, "format": "qcow2"}


def incremental(target: str, drive: str = "drive0", bitmap: str = "bitmap0", *, existing: bool = True) -> Json:
    """The arguments of an incremental backup, to a file that exists already or to a new one."""
    arguments = {"device": drive, "sync": "incremental", "bitmap": bitmap, "target": target, "format": "qcow2"}
    return arguments | {"mode": "existing"} if existing else arguments


def create(target: str, backing: str) -> str:
    """The command that makes the target of an incremental backup, on top of another backup."""
    return f"qemu-img create -f qcow2 -b {backing} -F qcow2 {target}"


def transaction(*actions: tuple[str, Json], grouped: bool = False) -> Qmp:
    """Several commands at one moment."""
    listed: Json = {"actions": [{"type": name, "data": data} for name, data in actions]}
    return Qmp("transaction", listed | {"properties": {"completion-mode": "grouped"}} if grouped else listed)


def anchor(name: str, target: str, drive: str = "drive0", **more: object) -> Qmp:
    """A new bitmap and a full backup, at one moment."""
    add_bitmap = ("block-dirty-bitmap-add", on_bitmap(name, drive, **more))
    return transaction(add_bitmap, ("drive-backup", full(target, drive)))


def anchored(drive: str = "drive0", bitmap: str = "bitmap0", target: str = "full.qcow2") -> tuple[Act, ...]:
    """A disk with some A, a full backup of it, and a bitmap that records since then."""
    return (guest("A", *WRITTEN, drive=drive), anchor(bitmap, target, drive), Scene.finish)
