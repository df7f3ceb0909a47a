"""Clients of a machine's NBD server: what they are among jobs, guests, snapshots, commands and faults."""

from __future__ import annotations

import errno
import re

import pytest
from nbd_talk import MB, Talk, option, request, served, simple, structured

from qbitsim import Machine, QmpError
from qbitsim.engine.policies import Replay
from qbitsim.errors import NbdError, NeverError
from qbitsim.files.faults import StalledError
from qbitsim.nbd.faults import COMMANDS, OPTIONS
from qbitsim.nbd.protocol import Command, ExportFlag, Mode
from qbitsim.nbd.session import MAXIMUM_IN_FLIGHT, MAXIMUM_UNANSWERED

READ, WRITE = Command.READ, Command.WRITE


def events(machine):
    return [
        (event["event"], event["data"]) for event in machine.events.read(0) if event["event"].startswith("BLOCK_EX")
    ]


# -- a client in the process


@pytest.mark.parametrize("mode", list(Mode))
def test_a_client_in_the_process_reads_and_writes(mode):
    machine = served()
    with machine.connect_nbd("disk", mode=mode) as client:
        assert (client.size, client.read_only, client.connected) == (16 * MB, False, True)
        client.write(3, b"abc", fua=True)
        client.write_zeroes(MB, 65536, no_hole=True)
        client.trim(2 * MB, 65536)
        client.cache(0, 512)
        client.flush()
        assert client.read(0, 8) == b"\0\0\0abc\0\0"
        assert client.read(MB, 2) == b"\0\0"
    assert not client.connected
    assert machine.exports.connections == []


@pytest.mark.parametrize("mode", [Mode.STRUCTURED, Mode.EXTENDED])
def test_a_client_in_the_process_asks_for_extents(mode):
    machine = served(bitmaps=["b0"])
    with machine.connect_nbd("disk", ["qemu:dirty-bitmap:b0", "base:allocation"], mode=mode) as client:
        assert client.extents("qemu:dirty-bitmap:b0") == [(0, MB, 0), (MB, 65536, 1), (MB + 65536, 15 * MB - 65536, 0)]
        assert client.block_status(MB, 1024, one=True)["base:allocation"] == [(1024, 0)]


def test_what_the_server_refuses_is_raised_with_its_text():
    machine = served(writable=False)
    with pytest.raises(NbdError, match=r"^\[Errno 2\] export 'nope' not present$"):
        machine.connect_nbd("nope")
    with pytest.raises(NbdError, match="knows no context 'qemu:dirty-bitmap:zz' of 'disk'"):
        machine.connect_nbd("disk", ["qemu:dirty-bitmap:zz"])
    assert machine.exports.connections == []
    client = machine.connect_nbd("disk")
    with pytest.raises(NbdError, match=r"^\[Errno 22\] Export is read-only$"):
        client.write(0, b"x")
    assert client.read(MB, 1) == b"A"
    assert client.flags & ExportFlag.READ_ONLY


def test_an_export_without_a_monitor_starts_the_server_and_one_that_is_taken_is_refused():
    machine = served()
    assert machine.exports.running
    with pytest.raises(QmpError, match=r"^Block export id 'drive0' is already in use$"):
        machine.export_nbd("drive0")
    with pytest.raises(QmpError, match=r"^NBD server already running$"):
        machine.qmp("nbd-server-start", addr={"type": "unix", "data": {"path": "nbd.sock"}})


def test_writethrough_flushes_behind_each_write():
    machine = Machine()
    machine.add_disk("drive0", "1M")
    machine.export_nbd("drive0", writable=True, writethrough=True)
    machine.inject_error("drive0", "flush", "EIO")
    with pytest.raises(NbdError, match="writing to file failed"):
        machine.connect_nbd("drive0").write(0, b"x")


# -- requests are tasks


def test_requests_are_tasks_of_which_the_policy_chooses():
    machine = served()
    client, other = machine.connect_nbd("disk"), machine.connect_nbd("disk")
    machine.scheduler.policy = Replay([1, 0])
    first, second = client.start("write", 0, 1, 0, b"1"), other.start("read", 0, 1)
    third = client.start("read", 0, 1)
    assert [task.label for task in machine.scheduler.ready()] == [
        *("NBD write disk 0+1", "NBD read disk 0+1", "NBD read disk 0+1")
    ]
    machine.run_until_idle()
    assert second.result() == b"\0"
    assert (first.done, third.result()) == (True, b"1")


def test_a_delay_holds_a_request_and_a_stall_until_it_is_released():
    machine = served()
    machine.delay_io("drive0", "read", 2.0, offset=0)
    client = machine.connect_nbd("disk")
    slow, quick = client.start("read", 0, 1), client.start("read", MB, 1)
    machine.run_until_idle()
    assert (slow.done, quick.done) == (False, True)
    machine.advance(2.0)
    assert slow.result() == b"\0"
    stall = machine.stall_io("drive0", "write")
    held = client.start("write", 0, 1, 0, b"x")
    with pytest.raises(NeverError, match="there is no answer"):
        client.wait(held)
    assert stall.waiting == 1
    stall.release()
    client.wait(held)
    assert machine.drive("drive0").read(0, 1) == b"x"


def test_a_drained_section_waits_for_requests_in_flight():
    machine = served()
    client = machine.connect_nbd("disk")
    pending = client.start("write", 0, 1, 0, b"x")
    machine.graph.drain_all()
    assert pending.done
    machine.stall_io("drive0", "read")
    client.start("read", 0, 1)
    machine.run_until_idle()
    with pytest.raises(StalledError):
        machine.graph.drain_all()
    with pytest.raises(StalledError):
        machine.qmp("nbd-server-stop")
    assert client.connected


def test_a_client_has_sixteen_requests_in_flight_and_the_rest_waits_unread():
    machine = served()
    talk = structured(machine)
    talk.session.receive(request(READ, 0, 1) * 20)
    assert len(machine.scheduler.ready()) == MAXIMUM_IN_FLIGHT
    assert not talk.session.wants_data
    machine.run_until_idle()
    assert talk.session.wants_data
    assert talk.hear().count(b"\x66\x8e\x33\xef") == 20


def test_a_client_that_does_not_read_holds_bounded_memory():
    machine = served()
    talk = structured(machine)
    for _ in range(100):
        talk.session.receive(request(READ, 0, 16 * MB, 4))
        machine.run_until_idle()
        talk.session.clog(clogged=True)  # as a transport does that cannot send
    held = sum(map(len, talk.session.take()))
    assert held <= MAXIMUM_UNANSWERED + 32 * MB
    assert not talk.session.wants_data
    talk.session.clog(clogged=False)
    assert machine.scheduler.ready()


# -- the end of a connection


def test_an_export_with_a_client_is_removed_by_force_and_goes_when_the_client_has():
    machine = served(bitmaps=["b0"])
    client = machine.connect_nbd("disk")
    with pytest.raises(QmpError, match=r"^export 'drive0' still in use$"):
        machine.qmp("block-export-del", id="drive0")
    assert client.read(MB, 1) == b"A"
    machine.qmp("block-export-del", id="drive0", mode="hard")
    assert not client.connected
    assert machine.qmp("query-block-exports")[0]["shutting-down"]
    with pytest.raises(QmpError, match=r"^Export 'drive0' is already shutting down$"):
        machine.qmp("block-export-del", id="drive0")
    with pytest.raises(NbdError, match="not present"):
        machine.connect_nbd("disk")
    machine.run_until_idle()
    assert events(machine) == [("BLOCK_EXPORT_DELETED", {"id": "drive0"})]
    assert machine.qmp("query-block-exports") == []
    assert not machine.graph.find_bitmap("node0", "b0").busy
    with pytest.raises(ConnectionResetError):
        client.read(0, 1)


def test_what_a_client_had_in_flight_is_carried_out_although_nobody_is_told():
    machine = served()
    client = machine.connect_nbd("disk")
    pending = client.start("write", 0, 1, 0, b"x")
    machine.qmp("block-export-del", id="drive0", mode="hard")
    assert isinstance(pending.error, ConnectionResetError)
    machine.run_until_idle()
    assert machine.drive("drive0").read(0, 1) == b"x"
    assert events(machine) == [("BLOCK_EXPORT_DELETED", {"id": "drive0"})]


def test_stopping_the_server_cuts_everybody_off_at_once():
    machine = served()
    clients = [machine.connect_nbd("disk") for _ in range(3)]
    half = Talk(machine)
    clients[0].start("write", 0, 1, 0, b"x")
    machine.qmp("nbd-server-stop")
    assert not any(client.connected for client in clients)
    assert half.session.ended
    assert machine.exports.connections == []
    assert events(machine) == [("BLOCK_EXPORT_DELETED", {"id": "drive0"})]
    assert machine.drive("drive0").read(0, 1) == b"x"


def test_ejecting_the_medium_takes_the_export_and_its_clients():
    machine = Machine()
    machine.add_disk("drive0", "1M")
    machine.qmp("nbd-server-start", addr={"type": "unix", "data": {"path": "nbd.sock"}})
    machine.qmp("nbd-server-add", device="drive0")
    client = machine.connect_nbd("drive0")
    machine.qmp("eject", device="drive0")
    machine.run_until_idle()
    assert not client.connected
    assert events(machine) == [("BLOCK_EXPORT_DELETED", {"id": "drive0"})]


def test_clients_are_no_part_of_a_snapshot():
    machine = served()
    client = machine.connect_nbd("disk")
    client.start("write", 0, 1, 0, b"x")
    snapshot = machine.snapshot()
    machine.run_until_idle()
    machine.restore(snapshot)
    assert not client.connected
    assert machine.exports.connections == []
    assert machine.drive("drive0").read(0, 1) == b"\0"
    machine.run_until_idle()  # what was in flight in the snapshot is carried out, and nobody is told
    assert machine.drive("drive0").read(0, 1) == b"x"
    machine.qmp("block-export-del", id="drive0")


@pytest.mark.parametrize("crash", [False, True])
def test_clients_do_not_survive_the_process(crash):
    machine = served()
    client = machine.connect_nbd("disk")
    machine.restart(crash=crash)
    assert not client.connected
    assert machine.exports.connections == []
    assert not machine.exports.running


def test_a_client_that_leaves_within_a_message_leaves_nothing():
    machine = served()
    for cut in range(1, len(option(8)) + 4):
        talk = Talk(machine, flags=None)
        talk.say((b"\0\0\0\3" + option(8))[:cut])
        talk.session.hang_up()
    assert machine.exports.connections == []


# -- faults


def test_an_answer_is_dropped_halved_spoiled_or_held():
    machine = served()
    machine.drop_nbd_client("disk", "read")
    with pytest.raises(ConnectionResetError):
        machine.connect_nbd("disk").read(0, 1)
    machine.half_nbd_answer("disk", "write")
    client = machine.connect_nbd("disk")
    with pytest.raises(ConnectionResetError):
        client.write(0, b"x")
    assert machine.drive("drive0").read(0, 1) == b"x"
    machine.wrong_nbd_magic()
    with pytest.raises(NbdError, match="wrong magic number") as caught:
        machine.connect_nbd("disk").flush()
    assert caught.value.errno == errno.EPROTO
    held = machine.hold_nbd_answer("disk", "read")
    client = machine.connect_nbd("disk")
    first, second = client.start("read", 0, 1), client.start("read", MB, 1)
    machine.run_until_idle()
    assert (first.done, second.done, held.waiting) == (False, True, 1)
    held.release()
    assert first.result() == b"x"


def test_answers_and_reads_may_take_their_time():
    machine = served()
    machine.hold_nbd_answer("disk", "flush", 3.0)
    slow = machine.slow_nbd_reads(2.0, times=1)
    client = machine.connect_nbd("disk")
    client.read(0, 1)
    assert machine.clock() == 2 * 10**9
    client.flush()
    client.read(0, 1)
    assert machine.clock() == 5 * 10**9
    assert slow.text == "NBD clients: a read takes 2 s, no more"


def test_an_option_is_refused_in_the_words_of_the_test():
    machine = served()
    machine.refuse_nbd_option("go", "not today")
    with pytest.raises(NbdError, match=r"^\[Errno 1\] not today$"):
        machine.connect_nbd("disk")
    machine.refuse_nbd_option("extended-headers", times=2)
    assert machine.connect_nbd("disk").session.mode is Mode.STRUCTURED


def test_a_fault_that_never_strikes_is_refused():
    machine = served()
    for begin, text in (
        (
            lambda: machine.drop_nbd_client("disk", "frob"),
            f"unknown request 'frob': choose one of {', '.join(COMMANDS)}",
        ),
        (lambda: machine.refuse_nbd_option("frob"), f"unknown option 'frob': choose one of {', '.join(OPTIONS)}"),
        (lambda: machine.slow_nbd_reads(0), "a delay of 0 seconds is none"),
        (lambda: machine.half_nbd_answer(times=0), "a fault 0 times never strikes"),
        (lambda: machine.wrong_nbd_magic(after=-1), "a fault after -1 commands never strikes"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
            begin()
    assert machine.exports.faults == machine.exports.refused_options == []


def test_faults_are_control_commands_too():
    machine = Machine(control=True)
    machine.add_disk("drive0", "1M")
    machine.export_nbd("drive0")
    name = machine.qmp("x-qbitsim-hold-nbd-answer", export="drive0", request="read")["id"]
    pending = machine.connect_nbd("drive0").start("read", 0, 1)
    machine.run_until_idle()
    assert machine.qmp("x-qbitsim-query-faults") == [
        {"id": name, "text": "NBD clients of 'drive0': the answer to read is held back, no more", "waiting": 1}
    ]
    machine.qmp("x-qbitsim-release", id=name)
    assert pending.result() == b"\0"


@pytest.mark.parametrize(
    ("command", "arguments", "error"),
    [
        ("drop-nbd-client", {"export": "drive0", "request": "read"}, "hung up"),
        ("half-nbd-answer", {"export": "drive0"}, "hung up"),
        ("wrong-nbd-magic", {"request": "read"}, "wrong magic number"),
        ("hold-nbd-answer", {"seconds": 3.0}, None),
        ("slow-nbd-reads", {"seconds": 3.0}, None),
        ("refuse-nbd-option", {"option": "go", "message": "not today"}, "not today"),
    ],
)
def test_each_fault_is_a_control_command(command, arguments, error):
    machine = Machine(control=True)
    machine.add_disk("drive0", "1M")
    machine.export_nbd("drive0")
    name = machine.qmp(f"x-qbitsim-{command}", **arguments)["id"]
    assert [fault["id"] for fault in machine.qmp("x-qbitsim-query-faults")] == [name]
    if error is None:
        machine.connect_nbd("drive0").read(0, 1)
        assert machine.clock() == 3 * 10**9
    else:
        with pytest.raises(OSError, match=error):
            machine.connect_nbd("drive0").read(0, 1)


def test_a_client_without_a_fault_hears_all_of_it():
    machine = served()
    machine.drop_nbd_client("other")
    machine.drop_nbd_client("disk", "trim", after=1)
    assert Talk(machine).go().say(request(WRITE, 0, 1, 0, b"x"), request(Command.TRIM, 0, 512)) == simple() * 2


def test_requests_rest_while_a_job_keeps_the_disk_drained():
    machine = served()
    machine.images.create("copy.qcow2", "qcow2", 16 * MB)
    machine.qmp("drive-mirror", device="drive0", target="copy.qcow2", sync="full", mode="existing", auto_finalize=False)
    machine.until("BLOCK_JOB_READY")
    machine.qmp("job-complete", id="drive0")
    machine.until(job="drive0", status="pending")
    client = machine.connect_nbd("disk")
    pending = client.start("write", 0, 1, 0, b"x")
    gone = machine.connect_nbd("disk")
    gone.start("write", 1, 1, 0, b"y")
    machine.run_until_idle()
    assert not pending.done
    gone.close()
    assert len(machine.exports.connections) == 1
    machine.qmp("job-finalize", id="drive0")
    machine.run_until_idle()
    client.wait(pending)
    assert machine.drive("drive0").read(0, 2) == b"x\0"


def test_places_and_lengths_are_sizes_as_elsewhere():
    machine = Machine()
    machine.add_disk("drive0", "1M")
    machine.export_nbd("drive0", writable=True)
    with machine.connect_nbd("drive0", ["base:allocation"]) as client:
        client.write("64k", b"x")
        client.write_zeroes("128k", "1k")
        assert client.read("65535", 2) == b"\0x"
        assert client.block_status(0, "1M") == client.block_status(0, 1 << 20)
        with pytest.raises(ValueError, match="invalid length '64q'"):
            client.read(0, "64q")
        with pytest.raises(ValueError, match="invalid offset -1"):
            client.read(-1, 1)
        with pytest.raises(ValueError, match="unknown command 'reed'; did you mean 'read'"):
            client.start("reed")
