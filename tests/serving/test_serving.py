"""A machine behind a socket, in the process of the test."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import stat
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qbitsim import Machine, QmpError
from qbitsim.qmp.journal import Journal
from qbitsim.serving.threads import LoopThread


class Client:
    """A client that blocks."""

    def __init__(self, server, path=None):
        if path is not None or server.address.startswith("unix:"):
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(path or server.path)
        else:
            self.socket = socket.create_connection(("127.0.0.1", server.port))
        self.socket.settimeout(5)
        self.file = self.socket.makefile("rwb")
        self.events = []
        assert "QMP" in self.read()
        assert self.ask("qmp_capabilities") == {}

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.file.close()
        self.socket.close()

    def read(self):
        line = self.file.readline()
        return json.loads(line) if line else None

    def ask(self, command, /, **arguments):
        """What the reply returns, or the text of the error; events go to `events`."""
        arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
        self.file.write(json.dumps({"execute": command, "arguments": arguments}).encode())
        self.file.flush()
        while "event" in (message := self.read()):
            self.events.append(message["event"])
        return message["return"] if "return" in message else message["error"]["desc"]

    def event(self):
        return self.read()["event"]


def another(server):
    """A client on a monitor of its own."""
    return Client(server, server.add_monitor())


def machine_with_data(**options):
    machine = Machine(**options)
    machine.add_disk("drive0", "16M")
    machine.drive("drive0").write(0, b"x" * (4 << 20))
    return machine


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "qbitsim"]


BACKUP = {"device": "drive0", "target": "t.img", "sync": "full", "format": "qcow2"}
SLOW = {**BACKUP, "speed": 1 << 16, "auto-dismiss": False}


def test_a_client_that_blocks_talks_to_a_machine_in_a_thread():
    with machine_with_data().serve() as server, Client(server) as client:
        assert client.ask("query-version")["qemu"]["major"] == 10
        assert client.ask("query-hats") == "The command query-hats has not been found"
        assert len(threads()) == 1
    assert threads() == []


def test_the_socket_lies_in_a_directory_of_this_user_and_both_are_gone_at_the_end():
    with Machine().serve() as server:
        path = server.path
        directory = os.path.dirname(path)
        assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
        assert server.address == f"unix:{path}"
        assert repr(server) == f"<ThreadServer of QEMU 10.0 at unix:{path}, realtime>"
    assert not os.path.exists(directory)
    with pytest.raises(RuntimeError, match="does not listen on a path"):
        _ = server.path


def test_a_temporary_directory_with_a_long_name_does_not_matter(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 90)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    with Machine().serve() as server, Client(server) as client:
        assert client.ask("query-jobs") == []


def test_a_server_listens_where_it_is_told_to(tmp_path):
    path = tmp_path / "qmp"
    with Machine().serve(path) as server, Client(server) as client:
        assert server.path == str(path)
        assert client.ask("query-jobs") == []
    assert not path.exists()
    with Machine().serve(port=0) as server, Client(server) as client:
        assert server.address == f"tcp:127.0.0.1:{server.port}"
        assert client.ask("query-jobs") == []
        with pytest.raises(RuntimeError, match="does not listen on a path"):
            _ = server.path


def test_what_cannot_be_served_is_refused_at_the_call_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="unknown pacing 'slow': choose manual, immediate, realtime or realtime:"):
        Machine().serve(pacing="slow")
    with pytest.raises(ValueError, match="on a path or on a port, not on both"):
        Machine().serve(tmp_path / "qmp", port=0)
    machine = Machine()
    machine.journal = journal = Journal()
    with pytest.raises(OSError, match="cannot listen on"), machine.serve(tmp_path / "no" / "qmp"):
        pass
    assert machine.journal is journal
    assert threads() == []


def test_the_test_drives_the_machine_and_the_clients_hear_of_it():
    with machine_with_data().serve(pacing="manual") as server, Client(server) as client:
        assert server.run(lambda machine: machine.qmp("drive-backup", **BACKUP)) == {}
        assert [client.event() for _ in range(4)] == ["JOB_STATUS_CHANGE"] * 4
        assert server.run(lambda machine: machine.until("BLOCK_JOB_COMPLETED"))["data"]["offset"] == 16 << 20
        assert [client.event() for _ in range(3)] == ["JOB_STATUS_CHANGE"] * 2 + ["BLOCK_JOB_COMPLETED"]


def test_what_the_function_raises_comes_back_and_the_server_goes_on():
    with Machine().serve() as server, Client(server) as client:
        with pytest.raises(QmpError, match="Cannot find device"):
            server.run(lambda machine: machine.qmp("block-dirty-bitmap-add", node="hat", name="b"))
        with pytest.raises(KeyError):
            server.run(lambda machine: machine.drive("hat"))
        assert client.ask("query-jobs") == []


def test_the_thread_of_the_servers_does_not_wait_for_itself():
    with Machine().serve() as one, Machine().serve() as two:
        with pytest.raises(RuntimeError, match="cannot wait for itself"):
            one.run(lambda _: two.run(repr))
        assert two.run(lambda machine: machine.clock()) >= 0


def test_the_machine_is_the_tests_again_when_the_server_has_ended():
    machine = machine_with_data()
    with machine.serve(pacing="manual") as server, Client(server) as client:
        client.ask("drive-backup", **BACKUP)
    with pytest.raises(RuntimeError, match="the server does not run: it does in the body of its 'with'"):
        server.run(repr)
    assert server.look(lambda given: given) is machine
    assert machine.until("BLOCK_JOB_COMPLETED")["data"]["device"] == "drive0"


def test_one_machine_can_be_served_again():
    machine = Machine()
    for _ in range(3):
        with machine.serve() as server, Client(server) as client:
            assert client.ask("query-jobs") == []


def test_with_manual_pacing_nothing_happens_by_itself():
    with machine_with_data().serve(pacing="manual") as server, Client(server) as client:
        client.ask("drive-backup", **BACKUP)
        before = client.ask("query-jobs")
        time.sleep(0.05)
        assert client.ask("query-jobs") == before
        assert server.run(lambda machine: machine.step())
        assert client.ask("query-jobs") != before
        assert server.run(lambda machine: machine.clock()) == 0


def test_with_immediate_pacing_a_slow_job_is_over_before_the_next_command_whoever_sends_it():
    with machine_with_data().serve(pacing="immediate") as server, Client(server) as one, another(server) as two:
        start = time.monotonic()
        assert one.ask("drive-backup", **SLOW) == {}
        assert [job["status"] for job in two.ask("query-jobs")] == ["concluded"]
        assert server.run(lambda machine: machine.clock()) > 32 * 10**9
        assert time.monotonic() - start < 32
        assert server.run(lambda machine: machine.jobs.jobs[0].status) == "concluded"


def test_with_immediate_pacing_the_reply_comes_before_the_end_of_the_job():
    with machine_with_data().serve(pacing="immediate") as server, Client(server) as client:
        client.ask("drive-backup", **BACKUP)
        assert "BLOCK_JOB_COMPLETED" not in client.events
        client.ask("query-jobs")
        assert client.events[-3:] == ["BLOCK_JOB_COMPLETED", "JOB_STATUS_CHANGE", "JOB_STATUS_CHANGE"]


def test_with_immediate_pacing_every_client_gets_its_turn():
    with Machine().serve(pacing="immediate") as server, Client(server) as one, another(server) as two:
        one.file.write(b'{"execute": "query-jobs"}' * 500)
        one.file.flush()
        assert two.ask("query-jobs") == []
        assert [one.read() for _ in range(500)] == [{"return": []}] * 500


def test_a_machine_that_is_immediate_is_served_so():
    with machine_with_data(pacing="immediate").serve() as server:
        assert server.pacing == "immediate"
    with machine_with_data().serve() as server:
        assert server.pacing == "realtime"


def test_in_realtime_a_factor_makes_hours_pass_in_moments():
    with machine_with_data().serve(pacing=1000) as server, Client(server) as client:
        start = time.monotonic()
        client.ask("drive-backup", **SLOW)
        while client.event() != "BLOCK_JOB_COMPLETED":
            pass
        assert server.run(lambda machine: machine.clock()) > 32 * 10**9
        assert time.monotonic() - start < 32


def test_in_realtime_time_goes_on_from_where_the_test_has_moved_it():
    with Machine().serve() as server:
        kept = server.run(lambda machine: machine.snapshot())
        server.run(lambda machine: machine.advance(1000))
        time.sleep(0.02)
        later = server.run(lambda machine: machine.clock())
        assert 1000 * 10**9 + 15_000_000 <= later < 1010 * 10**9
        server.run(lambda machine: machine.restore(kept))
        assert server.run(lambda machine: machine.clock()) < 10 * 10**9


def test_hundreds_of_machines_are_served_by_one_thread():
    machines = [Machine() for _ in range(300)]
    servers = [machine.serve().__enter__() for machine in machines]
    assert len(threads()) == 1
    assert len({server.path for server in servers}) == 300
    for server in servers[::50]:
        with Client(server) as client:
            assert client.ask("query-jobs") == []
    for server in servers:
        server.__exit__(None, None, None)
    assert threads() == []


def test_servers_can_have_a_thread_of_their_own():
    with LoopThread() as thread, Machine().serve(thread=thread) as one, Machine().serve(thread=thread) as two:
        with Machine().serve() as three:
            assert len(threads()) == 2
            assert one.run(lambda _: three.run(lambda machine: machine.clock())) >= 0
        assert os.path.dirname(one.path) == os.path.dirname(two.path)
        assert len(threads()) == 1
    assert threads() == []
    with pytest.raises(RuntimeError, match="the thread of the servers has ended"), Machine().serve(thread=thread):
        pass


def test_when_the_body_raises_everything_is_cleaned_up():
    paths = []
    with pytest.raises(TypeError), Machine().serve() as server:
        raise TypeError(paths.append(server.path))
    assert not os.path.exists(os.path.dirname(paths[0]))
    assert threads() == []


def test_a_client_that_hangs_on_hears_the_end():
    with machine_with_data().serve() as server:
        hanging, half = Client(server), another(server)
        half.file.write(b'{"execute":')
        half.file.flush()
    assert [hanging.read(), half.read()] == [None, None]
    hanging.__exit__()
    half.__exit__()


def test_after_quit_the_machine_can_still_be_looked_at():
    with machine_with_data().serve() as server, Client(server) as client:
        client.ask("quit")
        assert client.read() is None
        assert server.run(lambda machine: machine.closing)


def broken_machine():
    """A machine with a bug: it fails in `query-jobs`."""
    machine = Machine()
    machine.jobs.jobs.append(None)
    return machine


def provoke(server):
    """Let the bug strike; the client reads nothing but the end."""
    with Client(server) as client:
        client.file.write(b'{"execute": "query-jobs"}')
        client.file.flush()
        assert client.read() is None


def test_a_bug_of_the_machine_is_raised_at_the_end():
    with pytest.raises(AttributeError, match="NoneType"), broken_machine().serve() as server:
        provoke(server)
    assert threads() == []


def test_a_bug_of_the_machine_explains_the_error_that_it_has_caused():
    with pytest.raises(AttributeError) as caught, broken_machine().serve() as server, Client(server) as client:
        client.ask("query-jobs")
    assert isinstance(caught.value.__context__, TypeError)


def look_at_broken(server):
    provoke(server)
    server.run(lambda machine: machine.clock())


def test_a_bug_of_the_machine_comes_to_light_in_run_and_is_not_raised_twice():
    with pytest.raises(AttributeError) as caught, broken_machine().serve() as server:
        look_at_broken(server)
    assert caught.value.__context__ is None


def test_a_bug_does_not_hide_that_a_test_is_being_left_for_good():
    with pytest.raises(KeyboardInterrupt) as caught, broken_machine().serve() as server:
        raise KeyboardInterrupt(provoke(server))
    assert "the machine that was served had a bug: AttributeError" in caught.value.__notes__[0]


def test_the_journal_has_what_clients_and_the_test_have_said():
    machine = Machine()
    machine.journal = journal = Journal()
    with machine.serve() as server, Client(server) as client:
        assert machine.journal is None
        client.ask("query-jobs")
        server.run(lambda given: given.qmp("query-jobs"))
        client.ask("stop")
    assert machine.journal is journal
    assert journal.lines(machine.events) == [
        'monitor 1 -> {"execute": "qmp_capabilities", "arguments": {}}',
        'monitor 1 <- {"return": {}}',
        'monitor 1 -> {"execute": "query-jobs", "arguments": {}}',
        'monitor 1 <- {"return": []}',
        '-> {"execute": "query-jobs", "arguments": {}}',
        '<- {"return": []}',
        'monitor 1 -> {"execute": "stop", "arguments": {}}',
        journal.lines(machine.events)[-2],
        'monitor 1 <- {"return": {}}',
    ]
    assert journal.lines(machine.events)[-2].endswith(" STOP")


async def ask_async(path, *requests):
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        await reader.readline()
        replies = []
        for request in ({"execute": "qmp_capabilities"}, *requests):
            writer.write(json.dumps(request).encode())
            while "event" in (message := json.loads(await reader.readline())):
                pass
            replies.append(message)
        return replies[1:]
    finally:
        writer.close()
        await writer.wait_closed()


def test_a_machine_is_served_in_an_asyncio_program():
    async def main():
        async with machine_with_data().serve_async(pacing="immediate") as server:
            path = server.path
            requests = [{"execute": "drive-backup", "arguments": SLOW}, {"execute": "query-jobs"}]
            replies = await ask_async(path, *requests)
            assert [job["status"] for job in replies[1]["return"]] == ["concluded"]
            assert await server.run(lambda machine: machine.clock()) > 32 * 10**9
            with pytest.raises(KeyError):
                await server.run(lambda machine: machine.drive("hat"))
        assert not os.path.exists(os.path.dirname(path))
        with pytest.raises(RuntimeError, match="the server does not run"):
            await server.run(repr)

    asyncio.run(main())
    assert threads() == []


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda server: server.run(lambda machine: machine.step()), "write 'await server.run(...)'"),
        (lambda server: server.add_monitor(), "write 'await server.add_monitor(...)'"),
    ],
)
def test_a_forgotten_await_ends_the_server_at_once_instead_of_letting_its_clients_wait(call, text):
    async def main():
        async with machine_with_data().serve_async(pacing="manual") as server:
            reader, writer = await asyncio.open_unix_connection(server.path)
            await reader.readline()
            call(server)
            assert await reader.read() == b""
            writer.close()

    with pytest.raises(RuntimeError, match=re.escape(text)):
        asyncio.run(main())


def test_what_an_asyncio_server_runs_can_be_a_task_and_may_be_given_up():
    async def main():
        async with machine_with_data().serve_async(pacing="manual") as server:
            task = asyncio.create_task(server.run(lambda machine: machine.clock()))
            assert await task == 0
            assert await asyncio.gather(server.run(repr), server.run(repr)) == [repr(server._machine)] * 2
            server.run(repr).close()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(server.run(lambda _: (_ for _ in ()).throw(TimeoutError)), 1)

    asyncio.run(main())


def test_what_a_server_runs_is_no_coroutine():
    async def wrong(machine):
        raise AssertionError(machine)

    text = r"^run\(\) takes a plain function: nothing would await what an 'async def' returns$"
    with machine_with_data().serve() as server, pytest.raises(TypeError, match=text):
        server.run(wrong)


def test_in_an_asyncio_program_too_a_bug_is_raised_at_the_end():
    async def main():
        with pytest.raises(AttributeError) as caught:
            async with broken_machine().serve_async() as server:
                await ask_async(server.path, {"execute": "query-jobs"})
        assert isinstance(caught.value.__context__, ValueError)  # of the client, which read nothing

    asyncio.run(main())


def test_in_an_asyncio_program_too_an_address_that_cannot_be_had_leaves_nothing(tmp_path):
    async def main():
        with pytest.raises(OSError, match="cannot listen on"):
            async with Machine().serve_async(tmp_path / "no" / "qmp"):
                pass

    asyncio.run(main())


COMMANDS = st.sampled_from(
    [
        ("block-dirty-bitmap-add", {"node": "drive0", "name": "b0"}),
        ("block-dirty-bitmap-remove", {"node": "drive0", "name": "b0"}),
        ("drive-backup", BACKUP),
        ("drive-backup", {**SLOW, "job-id": "slow", "target": "slow.img"}),
        ("job-dismiss", {"id": "slow"}),
        ("query-block", {}),
        ("human-monitor-command", {"command-line": 'qemu-io drive0 "write -P 7 0 64k"'}),
        ("stop", {}),
        ("cont", {}),
    ]
)


def in_process(machine, commands):
    for name, arguments in commands:
        try:
            yield machine.qmp(name, **arguments)
        except QmpError as error:
            yield error.desc


@settings(max_examples=15)
@given(commands=st.lists(COMMANDS, max_size=8))
def test_a_machine_is_the_same_in_process_in_a_thread_and_over_a_socket(commands):
    here, there, far = (machine_with_data(pacing="immediate") for _ in range(3))
    replies = list(in_process(here, commands))
    with there.serve() as server:
        assert server.run(lambda machine: list(in_process(machine, commands))) == replies
    with far.serve() as server, Client(server) as client:
        assert [client.ask(name, **arguments) for name, arguments in commands] == replies
        server.run(repr)  # waits until all is finished
    assert here == there
    assert here == far


# -- several monitors


def test_a_second_client_waits_and_a_second_monitor_does_not():
    with Machine().serve() as server, another(server) as elsewhere:
        first = Client(server)
        waiting = socket.socket(socket.AF_UNIX)
        waiting.connect(server.path)
        waiting.settimeout(0.1)
        with pytest.raises(TimeoutError):
            waiting.recv(1)
        assert elsewhere.ask("query-jobs") == []
        first.__exit__()
        waiting.settimeout(5)
        assert b'"QMP"' in waiting.recv(4096)
        waiting.close()


def test_more_monitors_can_be_had_while_it_runs_and_end_with_it(tmp_path):
    with Machine().serve() as server:
        path = server.add_monitor(tmp_path / "more")
        assert path == str(tmp_path / "more")
        with Client(server, path) as client:
            assert client.ask("query-jobs") == []
        with pytest.raises(OSError, match="a server is listening there"):
            server.add_monitor(path)
    assert not os.path.exists(path)
    with pytest.raises(RuntimeError, match="the server does not run"):
        server.add_monitor()


def test_more_monitors_in_an_asyncio_program():
    async def main():
        machine = Machine()
        server = machine.serve_async()
        with pytest.raises(RuntimeError, match="the server does not run"):
            await server.add_monitor()
        async with server:
            for path in (server.path, await server.add_monitor()):
                reader, writer = await asyncio.open_unix_connection(path)
                assert b"QMP" in await reader.readline()
                writer.close()

    asyncio.run(main())


def test_a_guest_write_to_a_drained_disk_is_answered_when_another_monitor_has_finalized_the_job():
    machine = machine_with_data()
    with machine.serve() as server, Client(server) as asking, another(server) as other:
        other.ask("drive-mirror", **{**BACKUP, "job-id": "j", "auto-finalize": False})
        while other.ask("query-jobs")[0]["status"] != "ready":
            pass
        other.ask("job-complete", id="j")
        while other.ask("query-jobs")[0]["status"] != "pending":
            pass
        line = {"command-line": 'qemu-io drive0 "write -q -P 7 0 64k"'}
        asking.file.write(json.dumps({"execute": "human-monitor-command", "arguments": line}).encode())
        asking.file.flush()
        while not server.run(lambda machine: machine.graph.waiting.count):
            pass
        assert other.ask("query-jobs")[0]["status"] == "pending"
        assert other.ask("job-finalize", id="j") == {}
        while "event" in (message := asking.read()):
            pass
        assert message == {"return": ""}
    assert machine.drive("drive0").read(0, 1) == b"\x07"
