"""Recorded scenarios on servers that run."""

from __future__ import annotations

import copy
import json
import time

import pytest

from qbitsim import Machine
from qbitsim.qmp.session import Session
from qbitsim.scenario.player import ScenarioError
from qbitsim.scenario.recorder import Recorder
from qbitsim.scenario.replayer import Replayer, check, first_difference


class Wire:
    """A connection to a machine without a socket; the machine goes on when nothing else is to be read."""

    def __init__(self, machine):
        self.machine = machine
        self.session = Session(machine)
        self.data = self.session.connect()
        self.open = True

    def send(self, data):
        if self.session.ended:
            raise BrokenPipeError
        self.data += self.session.feed(data)

    def receive(self, seconds):
        if not self.data and not self.session.ended:
            self.machine.advance(0.01)
            self.data = self.session.pump()
            if not self.data:
                raise TimeoutError
        data, self.data = self.data, b""
        return data

    def close(self):
        self.open = False


def new_machine():
    machine = Machine()
    machine.add_disk("d", "1M")
    machine.drive("d").write(0, b"A" * 65536)
    machine.images.create("t", "qcow2", 1 << 20)
    return machine


BACKUP = {"job-id": "j", "device": "d", "target": "t", "sync": "full", "mode": "existing", "format": "qcow2"}


def recorded(machine):
    """The client negotiates, sends garbage, backs up, waits for the end, and asks for the jobs."""
    wire, recorder = Wire(machine), Recorder("test")
    conversation = recorder.open(0)
    conversation.received(wire.receive(1), 0)
    for asked in (
        b'{"execute": "qmp_capabilities"}',
        b'{"execute" "x"}',
        json.dumps({"execute": "drive-backup", "arguments": BACKUP}).encode(),
    ):
        conversation.sent(asked, 0)
        wire.send(asked)
        conversation.received(wire.receive(1), 0)
    conversation.received(wire.receive(1), 0)
    conversation.sent(b'{"execute": "query-jobs"}', 0)
    wire.send(b'{"execute": "query-jobs"}')
    conversation.received(wire.receive(1), 0)
    conversation.closed("client")
    return json.loads(json.dumps(recorder.scenario()))


@pytest.fixture(scope="module")
def scenario():
    return recorded(new_machine())


def replay(scenario, machine):
    wires = []

    def connect():
        wires.append(Wire(machine))
        return wires[-1]

    records = Replayer(connect, time, 0.01).replay(scenario)
    assert not any(wire.open for wire in wires)
    return records


def test_the_same_machine_gives_the_same_records(scenario):
    records = replay(scenario, new_machine())
    assert records == scenario["records"]
    assert first_difference(scenario, records, strict=True) is None


def test_a_different_reply_is_shown_with_its_step(scenario):
    machine = new_machine()
    machine.images.remove("t")
    text = first_difference(scenario, replay(scenario, machine))
    assert text is not None
    head, was, now = text.splitlines()
    assert head == f"monitor 0, step 3: {json.dumps({'execute': 'drive-backup', 'arguments': BACKUP})}"
    assert was.startswith("- recorded: {")
    assert "'t': No such file or directory" in now


def test_an_event_that_differs_is_shown_by_itself(scenario):
    machine = new_machine()
    machine.inject_error("d", "read")
    changed = copy.deepcopy(scenario)
    changed["steps"] = [step for step in changed["steps"] if "wait_event" not in step]
    text = first_difference(changed, replay(changed, machine))
    assert text is not None
    assert text.splitlines()[1].startswith("- recorded: {")


def test_an_event_that_does_not_come_ends_the_replay_of_its_monitor(scenario):
    machine = new_machine()
    machine.stall_io("d", "read")
    records = replay(scenario, machine)
    assert records[-1] == {"step": 4, "type": "missing-event", "event": "JOB_STATUS_CHANGE"}
    assert first_difference(scenario, records) is not None


def test_a_server_that_falls_silent_or_hangs_up_is_a_difference(scenario):
    machine = new_machine()
    machine.hold_reply("query-jobs")
    records = replay(scenario, machine)
    assert records[-1] == {"step": 5, "type": "silence"}
    machine = new_machine()
    machine.half_reply("query-jobs")
    records = replay(scenario, machine)
    assert [record["type"] for record in records[-2:]] == ["half-line", "closed"]
    text = first_difference(scenario, records)
    assert text is not None
    assert "half-line" in text


def test_by_step_pauses_and_the_place_of_events_do_not_matter(scenario):
    records = copy.deepcopy(scenario["records"])
    changed = {"type": "event", "event": "JOB_STATUS_CHANGE"}
    paused, running = ({**changed, "data": {"status": status, "id": "j"}} for status in ("paused", "running"))
    place = next(i for i, record in enumerate(records) if record["type"] == "reply" and record["step"] == 3)
    records[place:place] = [paused, running]
    assert first_difference(scenario, records) is None
    text = first_difference(scenario, records, strict=True)
    assert text is not None
    assert '"paused"' in text


def test_by_step_another_version_is_no_difference(scenario):
    records = replay(scenario, new_machine())
    records[0]["greeting"]["QMP"]["version"]["qemu"]["major"] = 11
    assert first_difference(scenario, records) is None
    assert first_difference(scenario, records, strict=True) is not None


def test_a_server_that_hung_up_must_hang_up_again():
    def conversation(machine):
        wire, recorder = Wire(machine), Recorder("test")
        one = recorder.open(0)
        one.received(wire.receive(1), 0)
        for asked in (b'{"execute": "qmp_capabilities"}', b'{"execute": "query-jobs"}'):
            one.sent(asked, 0)
            wire.send(asked)
            one.received(wire.receive(1), 0)
        one.closed("server")
        return recorder.scenario()

    def dropping():
        machine = Machine()
        machine.drop_monitor("query-jobs", before_reply=True)
        return machine

    scenario = conversation(dropping())
    assert first_difference(scenario, replay(scenario, dropping()), strict=True) is None
    assert first_difference(scenario, replay(scenario, Machine())) is not None


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"format": 2}, "it has format 2, and this qbitsim knows formats up to 1"),
        ({"format": "x"}, "it has format 'x', and this qbitsim knows formats up to 1"),
        ({"records": None}, "it has no records to compare with; 'qbitsim record' writes them"),
        ({"steps": None}, "it is no recorded scenario: it has no steps"),
        ({"steps": [{"shell": ["ls"]}]}, "step 0 (shell) cannot be replayed on a server that runs"),
        ({"steps": [{"qmp": {}}]}, "step 0 is on a monitor that was not opened"),
    ],
)
def test_what_cannot_be_replayed_is_refused_before_anything_is_sent(scenario, change, text):
    with pytest.raises(ScenarioError) as caught:
        Replayer(lambda: pytest.fail("connected"), time).replay({**scenario, **change})
    assert str(caught.value) == text


def test_a_record_that_ends_in_the_middle_is_refused(scenario):
    cut = {**scenario, "steps": scenario["steps"][:3], "records": scenario["records"][:3]}
    with pytest.raises(ScenarioError, match=r"^it ends in the middle, after 3 steps: the end of the connection is "):
        check(cut)
