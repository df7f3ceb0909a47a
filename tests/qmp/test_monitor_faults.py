"""Monitors that are slow, or that go away."""

from __future__ import annotations

import contextlib
import json
import socket

import pytest

from qbitsim import Machine
from qbitsim.qmp.session import Session


class Monitor:
    """A client of a session without a socket."""

    def __init__(self, machine):
        self.session = Session(machine)
        self.session.connect()
        self.ask("qmp_capabilities")

    def ask(self, name, /, **arguments):
        """What comes at once, as (event or "reply")."""
        return names(self.session.feed(json.dumps({"execute": name, "arguments": arguments}).encode()))

    def later(self):
        """What comes without asking."""
        return names(self.session.feed(b"") + self.session.pump())


def names(data):
    return [json.loads(line).get("event", "reply") for line in data.splitlines()]


@pytest.fixture
def machine():
    made = Machine()
    made.add_disk("d", "1M")
    return made


def backup(**more):
    return {"job-id": "j", "device": "d", "target": "t", "sync": "full", "mode": "existing", **more}


# -- replies that are held back


def test_a_held_reply_goes_out_when_its_time_has_come(machine):
    monitor = Monitor(machine)
    machine.hold_reply("query-jobs", seconds=2)
    assert monitor.ask("query-jobs") == []
    machine.advance(1.999)
    assert monitor.later() == []
    machine.advance(0.001)
    assert monitor.later() == ["reply"]
    assert monitor.ask("query-jobs") == ["reply"]


def test_a_held_reply_waits_until_it_is_released(machine):
    monitor = Monitor(machine)
    held = machine.hold_reply("query-jobs")
    assert monitor.ask("query-jobs") == []
    machine.advance(1e6)
    assert (monitor.later(), held.waiting) == ([], 1)
    held.release()
    assert (monitor.later(), held.waiting) == (["reply"], 0)


def test_what_is_asked_after_it_waits_and_is_answered_in_order(machine):
    monitor = Monitor(machine)
    held = machine.hold_reply("query-jobs")
    assert monitor.ask("query-jobs") == []
    assert monitor.ask("stop") == []
    assert machine.running
    assert monitor.session.pending == 2
    held.release()
    assert monitor.later() == ["reply", "STOP", "reply"]


def test_a_held_command_has_run_all_the_same_and_its_events_come(machine):
    monitor = Monitor(machine)
    held = machine.hold_reply("stop")
    assert monitor.ask("stop") == ["STOP"]
    assert not machine.running
    machine.cont()
    assert monitor.later() == ["RESUME"]
    held.release()
    assert monitor.later() == ["reply"]


def test_events_behind_a_reply_that_is_stuck_wait_too(machine):
    monitor = Monitor(machine)
    held = machine.hold_reply("stop", events=False)
    assert monitor.ask("stop") == ["STOP"]
    machine.cont()
    assert monitor.later() == []
    held.release()
    assert monitor.later() == ["reply", "RESUME"]


def test_other_monitors_are_not_concerned(machine):
    one, other = Monitor(machine), Monitor(machine)
    machine.hold_reply("query-jobs")
    assert one.ask("query-jobs") == []
    assert other.ask("query-jobs") == ["reply"]


def test_the_second_of_them_can_be_held_and_all_of_them(machine):
    monitor = Monitor(machine)
    machine.hold_reply("query-name", after=1)
    assert [monitor.ask("query-name"), monitor.ask("query-name")] == [["reply"], []]
    every = Monitor(machine)
    held = machine.hold_reply("query-jobs", times=None)
    assert every.ask("query-jobs") == []
    held.lift()
    assert every.later() == []
    held.release()
    assert [every.later(), every.ask("query-jobs")] == [["reply"], ["reply"]]


def test_calls_in_python_have_no_monitor_and_do_not_wait(machine):
    machine.hold_reply("query-jobs")
    assert machine.qmp("query-jobs") == []


# -- monitors that end


def test_half_a_reply_ends_the_connection(machine):
    monitor = Monitor(machine)
    machine.half_reply("stop")
    data = monitor.session.feed(b'{"execute": "stop"}{"execute": "cont"}')
    event, half = data.splitlines()
    assert json.loads(event)["event"] == "STOP"
    assert half == b'{"return'
    assert monitor.session.ended
    assert (monitor.ask("cont"), monitor.later()) == ([], [])
    assert not machine.running


@pytest.mark.parametrize(
    ("given", "seen", "running"),
    [
        ({}, ["STOP", "reply"], False),
        ({"before_reply": True}, ["STOP"], False),
        ({"before_command": True}, [], True),
    ],
)
def test_a_monitor_can_end_after_the_reply_before_it_or_before_the_command(machine, given, seen, running):
    monitor = Monitor(machine)
    machine.drop_monitor("stop", **given)
    assert monitor.ask("stop") == seen
    assert machine.running is running
    assert monitor.session.ended
    assert Monitor(machine).ask("cont")[-1] == "reply"


def test_a_fault_that_was_lifted_does_not_strike(machine):
    monitor = Monitor(machine)
    machine.drop_monitor("query-jobs").lift()
    assert monitor.ask("query-jobs") == ["reply"]


@pytest.mark.parametrize("fault", ["hold_reply", "half_reply", "drop_monitor"])
def test_what_could_never_strike_is_refused_at_once(machine, fault):
    cause = getattr(machine, fault)
    with pytest.raises(ValueError, match=r"^this machine has no command 'frob'$"):
        cause("frob")
    with pytest.raises(ValueError, match=r"0 times never strikes$"):
        cause("query-jobs", times=0)
    with pytest.raises(ValueError, match=r"after -1 commands never strikes$"):
        cause("query-jobs", after=-1)
    assert machine.monitor_faults == []


def test_no_time_is_no_delay(machine):
    with pytest.raises(ValueError, match=r"^a delay of 0 seconds is none$"):
        machine.hold_reply("query-jobs", seconds=0)


# -- machines that are put back


def test_a_machine_that_is_put_back_strikes_again(machine):
    machine.drop_monitor("query-jobs")
    kept = machine.snapshot()
    for _ in range(2):
        monitor = Monitor(machine)
        assert monitor.ask("query-jobs") == ["reply"]
        assert monitor.session.ended
        machine.restore(kept)


def test_no_reply_is_lost_when_a_machine_is_put_back(machine):
    kept = machine.snapshot()
    monitor = Monitor(machine)
    machine.hold_reply("query-jobs", seconds=1)
    assert monitor.ask("query-jobs") == []
    machine.restore(kept)
    assert monitor.later() == ["reply"]


def test_a_monitor_gets_the_events_of_a_machine_that_was_put_back_and_none_twice(machine):
    monitor = Monitor(machine)
    machine.stop()
    assert monitor.later() == ["STOP"]
    kept = machine.snapshot()
    machine.cont()
    machine.stop()
    assert monitor.later() == ["RESUME", "STOP"]
    machine.restore(kept)
    assert monitor.later() == []
    machine.cont()
    assert monitor.later() == ["RESUME"]


# -- jobs of others


def events_of(machine, cursor=0):
    return [
        (each["event"], each["data"].get("status", each["data"].get("error")))
        for each in machine.events.read(cursor)
        if "data" in each
    ]


def test_a_foreign_job_ends_when_it_is_told_to_and_every_monitor_hears_it(machine):
    one, other = Monitor(machine), Monitor(machine)
    job = machine.foreign_job("other")
    machine.advance(1e6)
    assert machine.qmp("query-jobs")[0]["status"] == "running"
    job.finish()
    assert one.later() == other.later()
    assert [name for name, _ in events_of(machine)][-3:] == ["BLOCK_JOB_COMPLETED", *["JOB_STATUS_CHANGE"] * 2]
    [end] = [each["data"] for each in machine.events.read(0) if each["event"] == "BLOCK_JOB_COMPLETED"]
    assert end == {"device": "other", "len": 1 << 20, "offset": 1 << 20, "speed": 0, "type": "backup"}
    assert machine.qmp("query-jobs") == []


def test_a_foreign_job_can_fail_or_be_cancelled(machine):
    machine.foreign_job("a", "stream").fail(28)
    assert ("BLOCK_JOB_COMPLETED", "No space left on device") in events_of(machine)
    machine.foreign_job("b", "commit").cancel()
    assert ("BLOCK_JOB_CANCELLED", None) in events_of(machine)
    machine.foreign_job("c")
    machine.qmp("job-cancel", id="c")
    machine.run_until_idle()
    assert machine.qmp("query-jobs") == []


def test_a_foreign_job_that_is_paused_ends_once_it_is_resumed(machine):
    job = machine.foreign_job("other")
    machine.qmp("job-pause", id="other")
    job.finish()
    assert machine.qmp("query-jobs")[0]["status"] == "paused"
    machine.qmp("job-resume", id="other")
    machine.run_until_idle()
    assert machine.qmp("query-jobs") == []


def test_a_foreign_job_is_refused_as_a_whole(machine):
    with pytest.raises(ValueError, match=r"^no foreign job is of the kind 'frob': choose one of backup, commit, "):
        machine.foreign_job("other", "frob")
    with pytest.raises(ValueError, match=r"^invalid length -1: it must not be negative$"):
        machine.foreign_job("other", length=-1)
    job = machine.foreign_job("other")
    with pytest.raises(ValueError, match=r"^99999 is no errno$"):
        job.fail(99999)
    job.finish()
    with pytest.raises(ValueError, match=r"^the foreign job 'other' has ended already$"):
        job.finish()


def test_a_shutdown_ends_foreign_jobs_too(machine):
    machine.foreign_job("other")
    machine.shut_down()
    assert ("BLOCK_JOB_CANCELLED", None) in events_of(machine)


# -- over a socket


@contextlib.contextmanager
def connected(server, path=None):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(path or server.path)
        with connection.makefile("rwb") as file:
            file.readline()
            file.write(b'{"execute": "qmp_capabilities"}')
            file.flush()
            file.readline()
            yield file


def send(file, name):
    file.write(json.dumps({"execute": name}).encode())
    file.flush()


def test_over_a_socket_half_a_reply_is_followed_by_the_end(machine):
    machine.half_reply("query-jobs")
    with machine.serve() as server, connected(server) as file:
        send(file, "query-jobs")
        assert file.read() == b'{"return'


def test_over_a_socket_a_slow_monitor_follows_the_pacing(machine):
    held = machine.hold_reply("query-jobs", seconds=3600)
    with machine.serve(pacing=1e6) as server, connected(server) as file:
        send(file, "query-jobs")
        assert json.loads(file.readline()) == {"return": []}
    assert held.waiting == 0


def test_over_a_socket_a_client_that_ends_its_side_still_gets_the_held_reply(machine):
    held = machine.hold_reply("query-jobs")
    with machine.serve(pacing="manual") as server, socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(5)
        connection.connect(server.path)
        connection.sendall(b'{"execute": "qmp_capabilities"}{"execute": "query-jobs"}')
        connection.shutdown(socket.SHUT_WR)
        while server.run(lambda _: held.waiting) == 0:
            pass
        server.run(lambda _: held.release())
        with connection.makefile("rb") as file:
            assert len(file.read().splitlines()) == 3


def test_over_a_socket_a_dropped_monitor_leaves_the_others(machine):
    machine.drop_monitor("query-jobs", before_reply=True)
    with machine.serve() as server, connected(server) as one, connected(server, server.add_monitor()) as other:
        send(one, "query-jobs")
        assert one.read() == b""
        send(other, "query-jobs")
        assert json.loads(other.readline()) == {"return": []}
