"""What the recorded scenarios cannot show of the human monitor: dates, later releases, what is not emulated."""

from __future__ import annotations

import pytest

from qbitsim.commands.hmp.offered import COMMANDS
from qbitsim.commands.hmp.sizes import read_size
from qbitsim.errors import UnsupportedError
from qbitsim.machine.machine import Machine
from qbitsim.profiles import PROFILES, QEMU_7_2, QEMU_10_0, Profile, release
from qbitsim.qemu_img.snapshot_table import snapshot_table
from qbitsim.qemu_io.numbers import SizeError

QEMU_11_1 = release("11.1.3", like=QEMU_10_0)
SNAPSHOT = {
    "id": "2",
    "name": "before",
    "vm-state-size": 1106,
    "date-sec": 1795861257,
    "date-nsec": 0,
    "vm-clock-sec": 3725,
    "vm-clock-nsec": 7_000_000,
}


def say(machine: Machine, line: str) -> str:
    reply: str = machine.qmp("human-monitor-command", command_line=line)
    return reply.replace("\r\n", "\n")


def test_every_command_is_one_of_some_release() -> None:
    known = frozenset().union(*(profile.hmp_commands for profile in PROFILES.values()))
    assert set(COMMANDS) <= known


@pytest.mark.parametrize(
    ("profile", "head", "row"),
    [
        (
            QEMU_7_2,
            "ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT",
            "2         before           1.08 KiB 2026-11-28 10:20:57 01:02:05.007           ",
        ),
        (
            QEMU_10_0,
            "ID      TAG               VM_SIZE                DATE        VM_CLOCK     ICOUNT",
            "2       before           1.08 KiB 2026-11-28 10:20:57  0001:02:05.007         --",
        ),
    ],
)
def test_snapshots_are_listed_in_columns(profile: Profile, head: str, row: str) -> None:
    assert snapshot_table([SNAPSHOT], profile) == f"{head}\n{row}\n"


def test_snapshots_that_some_disks_have_are_listed_apart() -> None:
    machine = Machine("10.0")
    machine.add_disk("one", "1M")
    machine.add_disk("two", "1M")
    for disk, name in (("one", "both"), ("two", "both"), ("two", "alone")):
        say(machine, f"snapshot_blkdev_internal {disk} {name}")
    lines = say(machine, "info snapshots").splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["List", "of"],
        ["ID", "TAG"],
        ["--", "both"],
        [],
        ["List", "of"],
        ["ID", "TAG"],
        ["2", "alone"],
    ]
    assert lines[4] == "List of partial (non-loadable) snapshots on 'two':"
    assert say(machine, "delvm both") == ""
    assert say(machine, "info snapshots").splitlines()[1] == "None"


@pytest.mark.parametrize(("version", "size"), [("7.2", "765 B"), ("10.0", "1.08 KiB"), ("11.1", "1.08 KiB")])
def test_a_snapshot_of_the_machine_shows_the_size_of_its_state(version: str, size: str) -> None:
    machine = Machine(version, epoch=1795861257, running=False)
    machine.add_disk("drive0", "1M")
    assert say(machine, "savevm s") == ""
    assert say(machine, "info snapshots").splitlines()[2].split(None, 2)[2].startswith(f"{size} 2026-11-28 10:20:57")


def test_a_snapshot_without_a_name_is_called_after_the_time() -> None:
    machine = Machine("10.0", epoch=1795861257)
    machine.add_disk("drive0", "1M")
    assert say(machine, "savevm") == ""
    assert say(machine, "loadvm vm-20261128102057") == ""


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("commit nodev", "Device 'nodev' not found\n"),
        ("drive_del nodev", "Device 'nodev' not found\n"),
        ("drive_add 0 if=bogus", "unsupported bus type 'bogus'\n"),
        ("info snapshots", "no block device can store vmstate for snapshot\n"),
    ],
)
def test_later_releases_put_error_before_every_refusal(line: str, text: str) -> None:
    assert say(Machine(QEMU_10_0), line) == text
    assert say(Machine(QEMU_11_1), line) == f"Error: {text}"


def test_later_releases_print_statistics_as_a_table() -> None:
    machine = Machine(QEMU_11_1)
    machine.add_disk("drive0", "1M")
    assert say(machine, "info blockstats") == (
        "drive0: idle_time_ns=0\n"
        "                          bytes       operations            total_time_ns     merged\n"
        "Read:                         0                0                        0          0\n"
        "Write:                        0                0                        0          0\n"
        "Flush:                                         0                        0\n"
    )


def test_statistics_count_what_guests_do() -> None:
    machine = Machine(QEMU_10_0)
    machine.add_disk("drive0", "1M").write(0, b"x" * 512)
    assert say(machine, "info blockstats").startswith(
        "drive0: rd_bytes=0 wr_bytes=512 rd_operations=0 wr_operations=1 "
    )


def test_a_later_commit_pauses_jobs_once() -> None:
    paused = {}
    for profile in (QEMU_10_0, QEMU_11_1):
        machine = Machine(profile)
        machine.add_disk("drive0", "1M")
        machine.add_disk("other", "1M")
        machine.add_disk("target", "1M")
        machine.qmp("blockdev-backup", device="other", target="target", sync="none", job_id="job")
        seen = machine.events.end
        assert "Operation not supported" in say(machine, "commit drive0")
        paused[profile.name] = sum(
            event["event"] == "JOB_STATUS_CHANGE" and event["data"]["status"] == "paused"
            for event in machine.events.read(seen)
        )
    assert paused == {"10.0": 0, "11.1": 1}


@pytest.mark.parametrize("line", ["help", "help screendump", "?", "change vnc password x"])
def test_what_is_not_emulated_says_so(line: str) -> None:
    machine = Machine("10.0")
    with pytest.raises(UnsupportedError, match=r"^qbitsim does not emulate"):
        say(machine, line)


@pytest.mark.parametrize(
    ("text", "size", "end"),
    [("2", 2 << 20, 1), ("2Mx", 2 << 20, 2), ("0x10", 16 << 20, 4), ("0xB", 11 << 20, 3), ("  1.5k x", 1536, 6)],
)
def test_sizes_are_mebibytes_unless_they_say_otherwise(text: str, size: int, end: int) -> None:
    assert read_size(text, 0, strict=True) == (size, end)


@pytest.mark.parametrize("text", ["", "x", "-1", "M", "8E", "0x80000000000", "18446744073709551616"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(SizeError):
        read_size(text, 0, strict=True)


def test_a_refused_change_keeps_the_drive_as_it_was() -> None:
    machine = Machine("10.0")
    machine.add_disk("drive0", "1M")
    before = machine.state()
    assert say(machine, "change drive0 nosuch.qcow2").startswith("Error: Could not open 'nosuch.qcow2'")
    assert say(machine, "change drive0 drive0.qcow2 qcow2 bogus") == "Error: invalid parameter value: bogus\n"
    assert machine.state() == before
