from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
from typing import ClassVar

import pytest
from wire_fake import FakeMachine

from qbitsim import Machine
from qbitsim.serving import monitor_socket
from qbitsim.serving import server as server_module
from qbitsim.serving.server import Server
from qbitsim.serving.sockets import SpareDescriptor
from qbitsim.serving.stdio import attach_stdio


class Client:
    """A QMP client that only knows lines."""

    opened: ClassVar[list[asyncio.StreamWriter]] = []

    @classmethod
    async def connect(cls, path, *, negotiate=True):
        client = cls()
        client.reader, client.writer = await asyncio.open_unix_connection(path, limit=1 << 24)
        cls.opened.append(client.writer)
        assert "QMP" in await client.read()
        if negotiate:
            assert await client.ask("qmp_capabilities") == {"return": {}}
        return client

    def send(self, command, /, **arguments):
        self.writer.write(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")

    async def read(self):
        line = await asyncio.wait_for(self.reader.readline(), 20)
        return json.loads(line) if line else None

    async def ask(self, command, /, **arguments):
        self.send(command, **arguments)
        return await self.read()

    async def event(self):
        return (await self.read())["event"]


def run_closing(main):
    """Run a coroutine and close the clients that it made."""

    async def run():
        try:
            await main
        finally:
            while Client.opened:
                writer = Client.opened.pop()
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    asyncio.run(run())


@pytest.fixture
def serve(tmp_path):
    """Run a test against a server with monitors at three paths; `quit` is sent at the end if the test has not."""

    def run(test, machine=None):
        machine = machine or FakeMachine()
        paths = [str(tmp_path / f"qmp{number}.sock") for number in range(4)]

        async def main():
            server = Server(machine, trim_events=True)
            for path in paths:
                await server.listen_unix(path)
            running = asyncio.create_task(server.run())
            await test(machine, *paths[:3])
            if not running.done():
                await (await Client.connect(paths[3])).ask("quit")
            await asyncio.wait_for(running, 20)
            assert not any(map(os.path.exists, paths))

        run_closing(main())

    return run


def test_every_monitor_gets_every_event(serve):
    async def test(machine, path, second, third):
        one, two = await Client.connect(path), await Client.connect(second)
        silent = await Client.connect(third, negotiate=False)
        one.send("emit", name="HELLO")
        assert [await one.event(), await one.read(), await two.event()] == ["HELLO", {"return": {}}, "HELLO"]
        assert await silent.ask("qmp_capabilities") == {"return": {}}
        assert machine.events.read(machine.events.end) == []

    serve(test)


def test_garbage_half_messages_and_vanished_clients_disturb_nobody(serve):
    async def test(machine, path, second, _):
        good, bad = await Client.connect(path), await Client.connect(second)
        bad.writer.write(b'{"execute": "ec\xff\x00}}}]')
        await bad.read()
        bad.writer.write(b'{"execute":')
        bad.writer.transport.abort()
        assert await good.ask("echo", x=1) == {"return": {"x": 1}}

    serve(test)


def test_work_goes_on_between_commands_and_does_not_block_other_clients(serve):
    async def test(machine, path, second, _):
        one, two = await Client.connect(path), await Client.connect(second)
        one.send("work", steps=1_000_000)
        assert await one.read() == {"return": {}}
        assert await two.ask("echo") == {"return": {}}
        assert machine.work > 0
        assert [await one.event(), await two.event()] == ["DONE", "DONE"]

    serve(test)


def test_virtual_time_follows_the_wall_clock_and_deadlines_are_met_to_the_nanosecond(serve):
    async def test(machine, path, *_):
        client = await Client.connect(path)
        before = asyncio.get_running_loop().time()
        assert await client.ask("sleep", ns=300_000_000) == {"return": {}}
        deadline = machine.next_deadline
        await asyncio.sleep(0.02)
        await client.ask("echo")
        assert deadline - 285_000_000 < machine.now < deadline
        event = await client.read()
        assert event["event"] == "AWAKE"
        assert 0.29 < asyncio.get_running_loop().time() - before < 3
        stamp = event["timestamp"]
        assert stamp["seconds"] * 10**6 + stamp["microseconds"] == deadline // 1000
        await asyncio.sleep(0.02)
        await client.ask("echo")
        assert machine.now >= deadline + 15_000_000

    serve(test)


def test_a_client_that_does_not_read_is_not_read_from(serve):
    async def test(machine, path, second, _):
        good = await Client.connect(path)
        slow = await Client.connect(second)
        slow.writer.transport.pause_reading()
        for _ in range(400):
            slow.send("echo", x="x" * 65536)
        await asyncio.sleep(0.1)
        assert await good.ask("echo") == {"return": {}}
        assert machine.executed.count("echo") < 300
        slow.writer.transport.resume_reading()
        for _ in range(400):
            assert len((await slow.read())["return"]["x"]) == 65536

    serve(test)


def test_a_client_that_ends_its_side_gets_all_answers_then_the_end(serve):
    async def test(machine, path, *_):
        client = await Client.connect(path)
        client.send("echo", n=1)
        client.send("echo", n=2)
        client.writer.write_eof()
        assert [await client.read() for _ in range(3)] == [{"return": {"n": 1}}, {"return": {"n": 2}}, None]

    serve(test)


def test_after_quit_everybody_gets_what_is_due_and_then_the_end(serve):
    async def test(machine, path, second, _):
        one, two = await Client.connect(path), await Client.connect(second)
        one.send("quit")
        one.send("echo")
        assert [await one.event(), await one.read(), await one.read()] == ["SHUTDOWN", {"return": {}}, None]
        assert [await two.event(), await two.read()] == ["SHUTDOWN", None]
        assert machine.executed == ["quit"]
        await asyncio.sleep(0.05)

    serve(test)


def test_a_bug_of_the_machine_ends_the_server_and_is_raised(tmp_path):
    async def main():
        machine = FakeMachine()
        server = Server(machine)
        await server.listen_unix(str(tmp_path / "s"))
        running = asyncio.create_task(server.run())
        client = await Client.connect(str(tmp_path / "s"))
        client.send("sleep")  # the fake needs an argument
        assert await client.read() is None
        with pytest.raises(KeyError):
            await running

    run_closing(main())


def test_only_a_dead_socket_is_replaced(tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)

    async def main():
        server = Server(FakeMachine())
        await server.listen_unix(path)
        with pytest.raises(OSError, match=r"cannot listen on .*: a server is listening there"):
            await Server(FakeMachine()).listen_unix(path)
        assert await (await Client.connect(path)).ask("echo") == {"return": {}}
        server.stop()
        await server.run()

    run_closing(main())
    assert not os.path.exists(path)


def test_a_path_that_cannot_be_a_socket_is_refused_and_kept(tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")

    async def listen(path):
        await Server(FakeMachine()).listen_unix(path)

    with pytest.raises(OSError, match="it exists and is not a socket"):
        asyncio.run(listen(str(file)))
    assert file.read_text() == "mine"
    with pytest.raises(OSError, match=r"cannot listen on .*No such file"):
        asyncio.run(listen(str(tmp_path / "no" / "s")))
    with pytest.raises(OSError, match=r"cannot listen on .*too long"):
        asyncio.run(listen(str(tmp_path / ("x" * 200))))


def test_tcp_chooses_a_port_and_refuses_one_in_use():
    async def main():
        server = Server(FakeMachine())
        port = await server.listen_tcp("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert "QMP" in json.loads(await reader.readline())
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: "):
            await Server(FakeMachine()).listen_tcp("127.0.0.1", port)
        server.stop()
        await server.run()
        assert await reader.readline() == b""
        writer.close()

    run_closing(main())


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_stdio_is_served_until_its_end(tmp_path, kind):
    text = b'{"execute":"qmp_capabilities"}{"execute":"echo"}'

    async def main():
        server = Server(FakeMachine())
        if kind == "pipe":
            (source, feed), (result, sink) = os.pipe(), os.pipe()
            os.write(feed, text)
            os.close(feed)
            opened = [os.fdopen(source, "rb"), os.fdopen(sink, "wb"), os.fdopen(result, "rb")]
        else:
            (tmp_path / "in").write_bytes(text)
            paths = (tmp_path / "in", "rb"), (tmp_path / "out", "wb"), (tmp_path / "out", "rb")
            opened = [path.open(mode) for path, mode in paths]
        await attach_stdio(server, opened[0], opened[1])
        await asyncio.wait_for(server.run(), 3)
        lines = opened[2].read().splitlines()
        assert lines[1:] == [b'{"return": {}}'] * 2
        for each in opened:
            each.close()

    run_closing(main())


# -- one client at a time; as measured on QEMU 7.2, 10.0 and 11.1


async def silent(client):
    """Nothing comes from there."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(client.reader.readline(), 0.1)


async def wait_at(path, text=b'{"execute":"qmp_capabilities"}{"execute":"echo"}'):
    """A client that has connected and sent, and was not greeted."""
    client = Client()
    client.reader, client.writer = await asyncio.open_unix_connection(path)
    Client.opened.append(client.writer)
    client.writer.write(text)
    return client


def test_the_second_client_of_a_monitor_is_greeted_when_the_first_has_left(serve):
    async def test(machine, path, other, _):
        first, elsewhere = await Client.connect(path), await Client.connect(other)
        second = await wait_at(path)
        await silent(second)
        await elsewhere.ask("emit", name="HELLO")
        assert await first.event() == "HELLO"
        assert machine.executed == ["emit"]
        first.writer.close()
        assert "QMP" in await second.read()
        assert [await second.read(), await second.read()] == [{"return": {}}] * 2
        elsewhere.send("emit", name="AGAIN")
        assert await second.event() == "AGAIN"

    serve(test)


def test_they_come_in_the_order_in_which_they_connected(serve):
    async def test(machine, path, *_):
        first = await Client.connect(path)
        waiting = [await wait_at(path), await wait_at(path)]
        first.writer.close()
        assert "QMP" in await waiting[0].read()
        await silent(waiting[1])
        waiting[0].writer.close()
        assert "QMP" in await waiting[1].read()

    serve(test)


def test_what_a_client_sent_that_left_before_its_turn_is_not_read(serve):
    async def test(machine, path, *_):
        first = await Client.connect(path)
        impatient = await wait_at(path)
        impatient.writer.close()
        await impatient.writer.wait_closed()
        first.writer.close()
        assert await (await Client.connect(path)).ask("echo", n=1) == {"return": {"n": 1}}
        assert machine.executed == ["echo"]

    serve(test)


def test_a_client_that_ended_its_side_before_its_turn_is_answered(serve):
    async def test(machine, path, *_):
        first = await Client.connect(path)
        half = await wait_at(path)
        half.writer.write_eof()
        first.writer.close()
        assert "QMP" in await half.read()
        assert [await half.read() for _ in range(3)] == [{"return": {}}, {"return": {}}, None]

    serve(test)


def test_who_waits_at_quit_is_hung_up_on(serve):
    async def test(machine, path, *_):
        first, waiting = await Client.connect(path), await wait_at(path)
        first.send("quit")
        assert [await first.event(), await first.read(), await first.read()] == ["SHUTDOWN", {"return": {}}, None]
        with contextlib.suppress(ConnectionResetError):
            assert await waiting.reader.read() == b""
        assert machine.executed == ["quit"]

    serve(test)


def test_all_addresses_of_a_host_are_one_monitor():
    async def main():
        server = Server(FakeMachine())
        port = await server.listen_tcp("localhost", 0)
        running = asyncio.create_task(server.run())
        hosts = {address[4][0] for address in socket.getaddrinfo("localhost", port, type=socket.SOCK_STREAM)}
        streams = [await asyncio.open_connection(host, port) for host in sorted(hosts)]
        (reader, writer), *others = streams
        assert b"QMP" in await reader.readline()
        for other, _ in others:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(other.readline(), 0.1)
        writer.close()
        for other, other_writer in others:
            assert b"QMP" in await other.readline()
            other_writer.close()
        server.stop()
        await running

    run_closing(main())


def test_a_socket_that_breaks_ends_the_server(tmp_path, monkeypatch):
    async def main():
        server = Server(FakeMachine())

        def broken(sock):
            raise OSError(errno.EINVAL, "broken")

        monkeypatch.setattr(monitor_socket, "accept_from", broken)
        await server.listen_unix(str(tmp_path / "s"))
        with pytest.raises(OSError, match="broken"):
            await asyncio.wait_for(server.run(), 3)

    run_closing(main())


@pytest.mark.parametrize("spare", [True, False])
def test_clients_are_accepted_again_when_files_can_be_opened_again(tmp_path, monkeypatch, spare):
    async def main():
        monkeypatch.setattr("qbitsim.serving.monitor_socket._PATIENCE", 0.01)
        server = Server(FakeMachine())
        accept = monitor_socket.accept_from
        failures = [OSError(errno.EMFILE, "too many"), ConnectionAbortedError("left")]

        def failing(sock):
            if failures:
                raise failures.pop(0)
            return accept(sock)

        monkeypatch.setattr(monitor_socket, "accept_from", failing)
        if not spare:
            monkeypatch.setattr(SpareDescriptor, "refuse", lambda *_: False)
        path = str(tmp_path / "s")
        await server.listen_unix(path)
        running = asyncio.create_task(server.run())
        if spare:
            refused, writer = await asyncio.open_unix_connection(path)
            assert await asyncio.wait_for(refused.read(), 3) == b""
            writer.close()
        assert await (await Client.connect(path)).ask("echo") == {"return": {}}
        assert failures == []
        server.stop()
        await running

    run_closing(main())


def test_until_looks_back_on_a_server_that_runs_by_itself_and_what_is_kept_for_it_has_bounds(serve, monkeypatch):
    monkeypatch.setattr(server_module, "REMEMBERED_EVENTS", 10)

    async def test(machine, path, *_):
        client = await Client.connect(path)

        async def ask(command, **arguments):
            client.send(command, **arguments)
            while "event" in (message := await client.read()):
                pass
            return message

        assert await ask("stop") == {"return": {}}
        found = await ask("x-qbitsim-until", event="STOP", within=0)
        assert found["return"]["event"] == "STOP"
        assert "event STOP" in (await ask("x-qbitsim-until", event="STOP", within=0))["error"]["desc"]
        for _ in range(20):
            await ask("cont")
            await ask("stop")
        assert len(machine.events) == 10

    serve(test, Machine(control=True))
