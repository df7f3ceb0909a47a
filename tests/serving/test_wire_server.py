from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from typing import ClassVar

import pytest
from wire_fake import FakeMachine

from qbitsim.serving.server import Server
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
        line = await asyncio.wait_for(self.reader.readline(), 3)
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
    """Run a test against a server; `quit` is sent at the end if the test has not."""

    def run(test, machine=None):
        machine = machine or FakeMachine()
        path = str(tmp_path / "qmp.sock")

        async def main():
            server = Server(machine, trim_events=True)
            await server.listen_unix(path)
            running = asyncio.create_task(server.run())
            await test(machine, path)
            if not running.done():
                await (await Client.connect(path)).ask("quit")
            await asyncio.wait_for(running, 3)
            assert not os.path.exists(path)

        run_closing(main())

    return run


def test_every_monitor_gets_every_event(serve):
    async def test(machine, path):
        one, two = await Client.connect(path), await Client.connect(path)
        silent = await Client.connect(path, negotiate=False)
        one.send("emit", name="HELLO")
        assert [await one.event(), await one.read(), await two.event()] == ["HELLO", {"return": {}}, "HELLO"]
        assert await silent.ask("qmp_capabilities") == {"return": {}}
        assert machine.events.read(machine.events.end) == []

    serve(test)


def test_garbage_half_messages_and_vanished_clients_disturb_nobody(serve):
    async def test(machine, path):
        good, bad = await Client.connect(path), await Client.connect(path)
        bad.writer.write(b'{"execute": "ec\xff\x00}}}]')
        await bad.read()
        bad.writer.write(b'{"execute":')
        bad.writer.transport.abort()
        assert await good.ask("echo", x=1) == {"return": {"x": 1}}

    serve(test)


def test_work_goes_on_between_commands_and_does_not_block_other_clients(serve):
    async def test(machine, path):
        one, two = await Client.connect(path), await Client.connect(path)
        one.send("work", steps=1_000_000)
        assert await one.read() == {"return": {}}
        assert await two.ask("echo") == {"return": {}}
        assert machine.work > 0
        assert [await one.event(), await two.event()] == ["DONE", "DONE"]

    serve(test)


def test_virtual_time_follows_the_wall_clock_and_deadlines_are_met_to_the_nanosecond(serve):
    async def test(machine, path):
        client = await Client.connect(path)
        before = asyncio.get_running_loop().time()
        assert await client.ask("sleep", ns=50_000_000) == {"return": {}}
        deadline = machine.next_deadline
        await asyncio.sleep(0.02)
        await client.ask("echo")
        assert deadline - 35_000_000 < machine.now < deadline
        event = await client.read()
        assert event["event"] == "AWAKE"
        assert 0.04 < asyncio.get_running_loop().time() - before < 1
        stamp = event["timestamp"]
        assert stamp["seconds"] * 10**6 + stamp["microseconds"] == deadline // 1000
        await asyncio.sleep(0.02)
        await client.ask("echo")
        assert machine.now >= deadline + 15_000_000

    serve(test)


def test_a_client_that_does_not_read_is_not_read_from(serve):
    async def test(machine, path):
        good = await Client.connect(path)
        slow = await Client.connect(path)
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
    async def test(machine, path):
        client = await Client.connect(path)
        client.send("echo", n=1)
        client.send("echo", n=2)
        client.writer.write_eof()
        assert [await client.read() for _ in range(3)] == [{"return": {"n": 1}}, {"return": {"n": 2}}, None]

    serve(test)


def test_after_quit_everybody_gets_what_is_due_and_then_the_end(serve):
    async def test(machine, path):
        one, two = await Client.connect(path), await Client.connect(path)
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
