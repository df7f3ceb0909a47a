"""The story of the document, act by act, for any stage.

An act says the document's examples to a machine of the profile 2.5 and compares what comes back with what the document
prints. It does not know whether the machine is in this process or behind a socket.
"""

from __future__ import annotations

from typing import Any, Protocol

import document

MIB = 1 << 20
DISK = 64 * MIB
CLUSTER = 65536

DEFAULT_ADD, FINE_ADD, REMOVE, CLEAR = range(4)
NEW_CHAIN, NEW_ANCHOR, FIRST, SECOND, FAILING, NO_SPACE, RETRY, DONE = range(4, 12)
PARTIAL, PARTIAL_ACCEPTED, PARTIAL_DONE, PARTIAL_ERROR, PARTIAL_FAILED = range(12, 17)
GROUPED, GROUPED_ACCEPTED, GROUPED_ERROR, GROUPED_FAILED, GROUPED_CANCELLED = range(17, 22)


class Stage(Protocol):
    """A machine with drive0 and drive1, 64 MiB of qcow2 each, and its images."""

    def say(self, message: dict[str, Any]) -> dict[str, Any]:
        """Send a QMP message; return the reply without an id."""

    def settle(self) -> list[dict[str, Any]]:
        """Let the jobs end; return the events since the last call, without timestamps."""

    def shell(self, argv: list[str]) -> str:
        """Run a command on the images: qemu-img, rm, mkdir, cp; return what it prints."""

    def limit(self, image: str, capacity: int | None) -> None:
        """Let no more than ``capacity`` bytes be allocated in an image; None lifts the limit."""

    def break_reads(self, image: str, offset: int) -> None:
        """Let reads of the byte at ``offset`` of an image fail with EIO, always."""


def bitmaps(stage: Stage, drive: str) -> list[dict[str, Any]]:
    """What query-block shows of a drive's bitmaps."""
    for entry in stage.say({"execute": "query-block"})["return"]:
        if entry["device"] == drive:
            found: list[dict[str, Any]] = entry.get("dirty-bitmaps", [])
            return found
    raise AssertionError(f"no drive {drive}")


def shown(name: str, count: int, granularity: int = CLUSTER, status: str = "active") -> dict[str, Any]:
    """A bitmap as QEMU 2.5 shows it; ``count`` in bytes."""
    return {"name": name, "count": count, "granularity": granularity, "status": status}


def accept(stage: Stage, number: int) -> None:
    """Say an example that must be accepted."""
    assert stage.say(document.example(number)) == {"return": {}}


def write(stage: Stage, drive: str, offset: int, length: int, pattern: int) -> None:
    """A guest write, and a flush: another process does not see the tables of what was not flushed."""
    for command in (f"write -P {pattern} {offset} {length}", "flush"):
        line = f'qemu-io {drive} "{command}"'
        reply = stage.say({"execute": "human-monitor-command", "arguments": {"command-line": line}})
        assert reply == {"return": ""}


def assert_same_content(stage: Stage, one: str, other: str) -> None:
    """Two chains of images read the same."""
    assert stage.shell(["qemu-img", "compare", "-U", one, other]) == "Images are identical.\n"


def completed(drive: str) -> dict[str, Any]:
    """The event of a backup that went well."""
    data = {"device": drive, "type": "backup", "speed": 0, "len": DISK, "offset": DISK}
    return {"event": "BLOCK_JOB_COMPLETED", "data": data}


def basic_usage(stage: Stage) -> None:
    """Creation, deletion and resetting."""
    accept(stage, DEFAULT_ADD)
    assert bitmaps(stage, "drive0") == [shown("bitmap0", 0)]
    write(stage, "drive0", 0, 1, 1)
    assert bitmaps(stage, "drive0") == [shown("bitmap0", CLUSTER)]
    accept(stage, CLEAR)
    assert bitmaps(stage, "drive0") == [shown("bitmap0", 0)]
    accept(stage, REMOVE)
    assert bitmaps(stage, "drive0") == []
    accept(stage, FINE_ADD)
    write(stage, "drive0", 0, 1, 2)
    assert bitmaps(stage, "drive0") == [shown("bitmap0", 32768, 32768)]
    accept(stage, REMOVE)
    assert stage.settle() == []


def full_backups(stage: Stage) -> None:
    """A new incremental backup chain, and a new anchor point of it."""
    for directory in ("/path", "/path/to"):
        stage.shell(["mkdir", directory])
    write(stage, "drive0", 0, 5 * MIB, 3)
    accept(stage, NEW_CHAIN)
    assert stage.settle() == [completed("drive0")]
    assert_same_content(stage, "drive0.qcow2", "/path/to/full_backup.img")
    write(stage, "drive0", MIB, CLUSTER, 4)
    assert bitmaps(stage, "drive0") == [shown("bitmap0", CLUSTER)]
    accept(stage, NEW_ANCHOR)
    assert stage.settle() == [completed("drive0")]
    assert bitmaps(stage, "drive0") == [shown("bitmap0", 0)]
    assert_same_content(stage, "drive0.qcow2", "/path/to/new_full_backup.img")
    # The document goes on with the file's name alone, as if in its directory.
    stage.shell(["cp", "/path/to/new_full_backup.img", "full_backup.img"])


def incremental_backups(stage: Stage) -> None:
    """The first and the second incremental backup; continues :func:`full_backups`."""
    create_first, create_second = document.SHELL_LINES[:2]
    write(stage, "drive0", 2 * MIB, 3 * CLUSTER, 5)
    stage.shell(create_first)
    accept(stage, FIRST)
    assert stage.settle() == [completed("drive0")]
    assert bitmaps(stage, "drive0") == [shown("bitmap0", 0)]
    assert_same_content(stage, "drive0.qcow2", "incremental.0.img")
    stage.shell(["cp", "drive0.qcow2", "moment.0.img"])
    write(stage, "drive0", 60 * MIB, CLUSTER, 6)
    stage.shell(create_second)
    accept(stage, SECOND)
    assert stage.settle() == [completed("drive0")]
    assert_same_content(stage, "drive0.qcow2", "incremental.1.img")
    assert_same_content(stage, "moment.0.img", "incremental.0.img")


def failure_and_retry(stage: Stage) -> None:
    """A target without space, and the retry; continues :func:`full_backups`.

    A slip of the document: it backs up drive0, and its two events speak of drive1.
    """
    create, remove, create_again = document.SHELL_LINES[2:5]
    write(stage, "drive0", 0, CLUSTER, 7)
    stage.shell(create)
    stage.limit("incremental.0.img", 0)
    accept(stage, FAILING)
    error = {"device": "drive0", "operation": "write", "action": "report"}
    assert stage.settle() == [
        {"event": "BLOCK_JOB_ERROR", "data": error},
        document.event(NO_SPACE, device="drive0"),
    ]
    assert bitmaps(stage, "drive0") == [shown("bitmap0", CLUSTER)]
    stage.shell(remove)
    stage.limit("incremental.0.img", None)
    stage.shell(create_again)
    accept(stage, RETRY)
    assert stage.settle() == [document.event(DONE, device="drive0")]
    assert bitmaps(stage, "drive0") == [shown("bitmap0", 0)]
    assert_same_content(stage, "drive0.qcow2", "incremental.0.img")


def prepare_two_drives(stage: Stage) -> None:
    """bitmap0 on drive0, bitmap1 on drive1, a full backup of each, and targets for the next increments."""
    for number in "01":
        node, bitmap, full = f"drive{number}", f"bitmap{number}", f"d{number}-full.qcow2"
        arguments = {"node": node, "name": bitmap}
        assert stage.say({"execute": "block-dirty-bitmap-add", "arguments": arguments}) == {"return": {}}
        backup = {"device": node, "target": full, "sync": "full", "format": "qcow2"}
        assert stage.say({"execute": "drive-backup", "arguments": backup}) == {"return": {}}
        assert stage.settle() == [completed(node)]
        stage.shell(["qemu-img", "create", "-f", "qcow2", f"d{number}-incr-1.qcow2", "-b", full, "-F", "qcow2"])


def partial_failure(stage: Stage) -> None:
    """Two backups in one transaction, of which the second fails and the first does not care."""
    prepare_two_drives(stage)
    write(stage, "drive0", 0, CLUSTER, 8)
    write(stage, "drive1", 0, CLUSTER, 9)
    stage.break_reads("drive1.qcow2", 0)
    assert stage.say(document.example(PARTIAL)) == document.example(PARTIAL_ACCEPTED)
    assert stage.settle() == [
        document.event(PARTIAL_DONE),
        document.event(PARTIAL_ERROR),
        document.event(PARTIAL_FAILED),
    ]
    assert bitmaps(stage, "drive0") == [shown("bitmap0", 0)]
    assert bitmaps(stage, "drive1") == [shown("bitmap1", CLUSTER)]
    assert_same_content(stage, "drive0.qcow2", "d0-incr-1.qcow2")


def grouped_failure(stage: Stage) -> None:
    """The same as a group: the failure cancels the other backup, and both bitmaps are as if nothing had been asked.

    The document says "highlighting a failure for drive2", and means drive1. That drive0 shows an offset of 16 MiB
    tells how far it was: what is dirty of it lies around there.
    """
    prepare_two_drives(stage)
    write(stage, "drive0", 16 * MIB - 3 * CLUSTER, 5 * CLUSTER, 8)
    write(stage, "drive1", 0, CLUSTER, 9)
    stage.break_reads("drive1.qcow2", 0)
    assert stage.say(document.example(GROUPED)) == document.example(GROUPED_ACCEPTED)
    assert stage.settle() == [
        document.event(GROUPED_ERROR),
        document.event(GROUPED_FAILED),
        document.event(GROUPED_CANCELLED),
    ]
    assert bitmaps(stage, "drive0") == [shown("bitmap0", 5 * CLUSTER)]
    assert bitmaps(stage, "drive1") == [shown("bitmap1", CLUSTER)]
