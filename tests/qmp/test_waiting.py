"""A monitor whose command waits for another monitor: a guest's request to a disk that a finished mirror keeps drained.

In QEMU no monitor is served meanwhile (measured on 7.2, 10.0 and 11.1), so that nobody can end it and there is nothing
to compare with.
"""

from __future__ import annotations

import json

import pytest

from qbitsim.machine.machine import Machine
from qbitsim.qmp.journal import Journal
from qbitsim.qmp.session import Session

CLUSTER = 65536


class Monitor:
    """A client of a session without a socket."""

    def __init__(self, machine, *, waits=True, journal=None):
        self.session = Session(machine, waits=waits, journal=journal, name="m")
        self.session.connect()
        self.ask("qmp_capabilities")

    def ask(self, name, /, identifier=None, **arguments):
        """What comes at once: names of events, and replies."""
        more = {} if identifier is None else {"id": identifier}
        return messages(self.session.feed(json.dumps({"execute": name, "arguments": arguments, **more}).encode()))

    def qemu_io(self, command, **more):
        return self.ask("human-monitor-command", **{"command-line": f'qemu-io drive0 "{command}"'}, **more)

    def later(self):
        """What comes without asking."""
        return messages(self.session.feed(b"") + self.session.pump())


def messages(data):
    return [message.get("event", message) for message in map(json.loads, data.splitlines())]


@pytest.fixture
def machine():
    """With a mirror that waits for ``job-finalize``, and tasks that wait for nobody."""
    machine = Machine()
    machine.add_disk("drive0", 16 * CLUSTER, node_name="top")
    machine.images.create("t.qcow2", "qcow2", 16 * CLUSTER)
    machine.add_node({"driver": "qcow2", "node-name": "t", "file": {"driver": "file", "filename": "t.qcow2"}})
    machine.qmp("blockdev-mirror", device="drive0", target="t", sync="full", job_id="j", auto_finalize=False)
    machine.run_until_idle()
    machine.qmp("job-complete", id="j")
    machine.run_until_idle()
    return machine


OVER = ["BLOCK_JOB_COMPLETED", "JOB_STATUS_CHANGE", "JOB_STATUS_CHANGE"]
DONE = {"return": ""}


def byte_at(machine, offset):
    return machine.drive("drive0").read(offset, 1)


def test_the_reply_comes_when_another_monitor_has_finalized_the_job(machine):
    asking, other = Monitor(machine), Monitor(machine)
    assert asking.qemu_io("write -P 1 0 64k", identifier=7) == []
    assert (asking.session.pending, asking.session.ready) == (1, False)
    assert other.ask("query-jobs")[0]["return"][0]["status"] == "pending"
    assert asking.later() == []
    assert other.ask("job-finalize", id="j") == [*OVER, {"return": {}}]
    assert asking.later() == [*OVER, {"return": "", "id": 7}]
    assert (machine.drive("drive0").node.name, byte_at(machine, 0)) == ("t", b"\1")


def test_what_is_asked_after_it_waits_too_and_events_go_on(machine):
    asking, other = Monitor(machine), Monitor(machine)
    assert asking.qemu_io("write -q 0 64k") == []
    assert asking.ask("query-name") == []
    other.ask("stop")
    assert asking.later() == ["STOP"]
    other.ask("job-cancel", id="j")
    assert asking.later() == ["JOB_STATUS_CHANGE", "BLOCK_JOB_CANCELLED", *OVER[1:], DONE, {"return": {}}]


def test_requests_are_made_in_the_order_in_which_they_came(machine):
    monitors = [Monitor(machine) for _ in range(3)]
    for number in (2, 0, 1):
        assert monitors[number].qemu_io(f"write -q -P {number + 1} {number * 32}k 64k") == []
    Monitor(machine).ask("job-finalize", id="j")
    for monitor in monitors:
        assert monitor.later() == [*OVER, DONE]
    assert [byte_at(machine, CLUSTER // 2 * place) for place in range(4)] == [b"\1", b"\2", b"\2", b"\3"]


def test_a_request_that_fails_says_so_then(machine):
    asking = Monitor(machine)
    assert asking.qemu_io("write 1M 64k") == []
    machine.qmp("job-finalize", id="j")
    assert asking.later() == [*OVER, DONE]
    assert machine.take_stdout() == "write failed: Input/output error\n"


def test_the_request_of_a_client_that_has_gone_is_made_all_the_same(machine):
    Monitor(machine).qemu_io("write -q -P 1 0 64k")
    machine.qmp("job-finalize", id="j")
    assert byte_at(machine, 0) == b"\1"


def test_a_session_that_does_not_wait_refuses(machine):
    asking = Monitor(machine, waits=False)
    [reply] = asking.qemu_io("flush", identifier=1)
    assert reply["error"]["desc"].startswith(
        "qbitsim does not wait for ever: 'drive0' is drained until mirror job 'j' is "
    )
    assert reply["id"] == 1
    assert asking.ask("query-name") == [{"return": {}}]


def test_who_reads_no_events_is_refused_too(machine):
    session = Session(machine, negotiated=True, waits=True)
    reply = session.ask({"execute": "human-monitor-command", "arguments": {"command-line": 'qemu-io drive0 "flush"'}})
    assert reply["error"]["desc"].startswith(
        "qbitsim does not wait for ever: 'drive0' is drained until mirror job 'j' is "
    )


def test_at_the_end_of_the_machine_nothing_is_made_and_nothing_said(machine):
    asking, other = Monitor(machine), Monitor(machine)
    asking.qemu_io("write -q -P 1 0 64k")
    assert other.ask("quit")[-1] == {"return": {}}
    assert asking.later()[0] == "SHUTDOWN"
    assert not asking.session.pending
    assert machine.images.lookup("drive0.qcow2").content.read(0, 1) == b"\0"


def test_a_machine_that_is_put_back_is_asked_anew(machine):
    before = machine.snapshot()
    asking = Monitor(machine)
    asking.qemu_io("write -q -P 1 0 64k")
    machine.restore(before)
    assert asking.later() == []
    machine.qmp("job-finalize", id="j")
    assert asking.later() == [*OVER, DONE]
    assert byte_at(machine, 0) == b"\1"


def test_a_request_that_waits_is_no_part_of_a_snapshot(machine):
    asking = Monitor(machine)
    asking.qemu_io("write -q -P 1 0 64k")
    during = machine.snapshot()
    machine.qmp("job-finalize", id="j")
    assert asking.later()[-1] == DONE
    machine.restore(during)
    machine.qmp("job-finalize", id="j")
    assert byte_at(machine, 0) == b"\0"


def test_it_waits_again_if_the_disk_is_drained_again(machine):
    asking = Monitor(machine)
    asking.qemu_io("write -q -P 1 0 64k")
    node = machine.drive("drive0").node
    machine.graph.waiting.resume(node)  # as when its drained section has ended and another one has begun at once
    machine.scheduler.run_bottom_halves()
    assert (asking.later(), machine.graph.waiting.count) == ([], 1)
    machine.qmp("job-finalize", id="j")
    assert asking.later()[-1] == DONE


def test_a_reply_that_comes_late_can_be_held_besides(machine):
    asking = Monitor(machine)
    held = machine.hold_reply("human-monitor-command")
    asking.qemu_io("write -q 0 64k")
    machine.qmp("job-finalize", id="j")
    assert asking.later() == OVER
    held.release()
    assert asking.later() == [DONE]


def test_the_journal_has_the_request_when_it_came_and_the_reply_when_it_was_made(machine):
    journal = Journal()
    asking = Monitor(machine, journal=journal)
    asking.qemu_io("flush")
    journal.note(machine.events, "test", "->", "job-finalize")
    machine.qmp("job-finalize", id="j")
    asking.later()
    lines = journal.lines(machine.events)
    assert ["qemu-io" in lines[-6], "job-finalize" in lines[-5], '""' in lines[-1]] == [True, True, True]
