"""Commands that are about the machine itself."""

from __future__ import annotations

import pytest

from qbitsim.machine.machine import Machine
from qbitsim.profiles import PROFILES


def test_the_version_is_that_of_the_profile() -> None:
    assert Machine("7.2").qmp("query-version") == {
        "qemu": {"major": 7, "minor": 2, "micro": 22},
        "package": "Debian 1:7.2+dfsg-7+deb12u18+b3",
    }
    assert Machine("10.0").qmp("query-version")["qemu"]["major"] == 10
    assert Machine("2.5").qmp("query-version")["qemu"] == {"major": 2, "minor": 5, "micro": 0}


def test_stop_and_cont_are_told_by_events_without_data_and_only_when_something_changes() -> None:
    machine = Machine()
    for command in ("cont", "stop", "stop", "cont"):
        assert machine.qmp(command) == {}
    assert [(each["event"], "data" in each) for each in machine.events.read(0)] == [("STOP", False), ("RESUME", False)]


@pytest.mark.parametrize(("version", "extra"), [("10.0", {}), ("7.2", {"singlestep": False})])
def test_the_status_is_running_paused_or_prelaunch(version: str, extra: dict[str, bool]) -> None:
    machine = Machine(version)
    assert machine.qmp("query-status") == {"running": True, "status": "running", **extra}
    machine.qmp("stop")
    assert machine.qmp("query-status") == {"running": False, "status": "paused", **extra}
    assert Machine(version, running=False).qmp("query-status") == {"running": False, "status": "prelaunch", **extra}


@pytest.mark.parametrize("version", PROFILES)
def test_query_commands_lists_what_can_be_executed(version: str) -> None:
    machine = Machine(version)
    names = [each["name"] for each in machine.qmp("query-commands")]
    assert len(names) == len(set(names))
    assert all(machine.find(name) for name in names)
    assert {"block-dirty-bitmap-add", "drive-backup", "transaction", "quit"} <= set(names)
    assert "abort" not in names


def test_commands_come_with_their_releases() -> None:
    assert Machine("7.2").find("block-job-change") is None
    assert Machine("10.0").find("block-job-change") is not None
    for name in ("block-dirty-bitmap-merge", "block-dirty-bitmap-enable", "query-jobs", "job-cancel"):
        assert Machine("2.5").find(name) is None


def test_the_schema_describes_every_command() -> None:
    machine = Machine()
    commands = {each["name"] for each in machine.qmp("query-qmp-schema") if each["meta-type"] == "command"}
    assert commands == {each["name"] for each in machine.qmp("query-commands")}


def test_quit_cancels_the_jobs_tells_of_it_and_keeps_the_bits() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1M")
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="b", persistent=True)
    machine.drive("drive0").write(0, b"x")
    machine.qmp("drive-backup", device="drive0", target="t", sync="incremental", bitmap="b", auto_finalize=False)
    machine.run_until_idle()
    cursor = machine.events.end
    assert machine.qmp("quit") == {}
    names = [each["event"] for each in machine.events.read(cursor) if each["event"] != "JOB_STATUS_CHANGE"]
    assert names == ["SHUTDOWN", "BLOCK_JOB_CANCELLED"]
    assert machine.events.read(cursor)[0]["data"] == {"guest": False, "reason": "host-qmp-quit"}
    (stored,) = machine.images.lookup("drive0.qcow2").bitmaps
    assert (stored.name, stored.in_use, list(stored.bits.indices())) == ("b", False, [0])


def test_guests_write_discard_zero_and_read_through_the_human_monitor() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1M", discard=True)
    machine.drive("drive0").write(0, b"x" * (1 << 20))

    def io(command: str) -> str:
        answer = machine.qmp("human-monitor-command", command_line=f'qemu-io drive0 "{command}"')
        assert answer == ""
        return machine.take_stdout()

    assert io("write -P 0x41 0 64k").startswith("wrote 65536/65536 bytes at offset 0\n")
    assert machine.drive("drive0").read(0, 65536) == b"A" * 65536
    io("write -z 64k 64k")
    io("discard 128k 64k")
    assert machine.drive("drive0").read(65536, 131072) == bytes(131072)
    assert "Pattern verification failed" in io("read -P 0x42 0 64k")
    assert "Pattern verification failed" not in io("read -P 0x41 0 64k")
