"""Nothing that one client does holds up the others for longer than a slice."""

from __future__ import annotations

import asyncio
import itertools
import json

from wire_fake import FakeMachine

from qbitsim.machine.machine import Machine
from qbitsim.serving.server import Connection, Monitor, Server


class FakeTransport(asyncio.Transport):
    """Keeps what is written."""

    def __init__(self):
        super().__init__()
        self.written = b""
        self.reads = True

    def set_write_buffer_limits(self, high=None, low=None):
        pass

    def write(self, data):
        self.written += data

    def pause_reading(self):
        self.reads = False

    def resume_reading(self):
        self.reads = True


def connect(server):
    connection, transport = Connection(server), FakeTransport()
    connection.connection_made(transport)
    connection.data_received(b'{"execute": "qmp_capabilities"}')
    transport.written = b""
    return connection, transport


def test_another_client_is_answered_while_a_long_message_is_read_and_answered(monkeypatch):
    async def main():
        server = Server(FakeMachine())
        looks = itertools.count()
        # A millisecond passes between two looks at the clock, on any machine.
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: next(looks) / 1000)
        (long, long_transport), (short, short_transport) = connect(server), connect(server)
        numbers = [*range(40_000), "\u00e9"]  # with an escape, which the fast way does not take
        long.data_received(json.dumps({"execute": "echo", "id": numbers}).encode())
        asked = 0
        while not long_transport.written.endswith(b"\n"):
            short.data_received(b'{"execute": "echo"}')
            asked += 1
            assert short_transport.written == b'{"return": {}}\r\n' * asked
            await asyncio.sleep(0)
        assert asked > 10
        assert json.loads(long_transport.written)["id"] == numbers

    asyncio.run(main())


def test_a_client_that_sends_faster_than_it_is_read_has_to_wait():
    async def main():
        server = Server(FakeMachine())
        connection, transport = connect(server)
        numbers = [*range(80_000), "\u00e9"]  # with an escape, which the fast way does not take
        connection.data_received(json.dumps({"execute": "echo", "id": numbers}).encode())
        assert not transport.reads
        while not transport.written.endswith(b"\n"):
            await asyncio.sleep(0)
        assert transport.reads

    asyncio.run(main())


def test_a_turn_looks_at_those_clients_only_that_have_sent_something(monkeypatch):
    async def main():
        machine = FakeMachine()
        server = Server(machine)
        idle = [connect(server) for _ in range(50)]
        busy, transport = connect(server)
        flushed = []
        flush = Connection.flush
        monkeypatch.setattr(Connection, "flush", lambda each: (flushed.append(each), flush(each)))
        busy.data_received(b'{"execute": "echo"}')
        assert set(flushed) == {busy}
        busy.data_received(b'{"execute": "emit"}')
        assert set(flushed) == {busy, *(each for each, _ in idle)}
        assert all(b"TEST" in each.written for _, each in [*idle, (busy, transport)])

    asyncio.run(main())


def test_a_line_of_a_person_that_came_at_the_end_of_a_slice_is_run(monkeypatch):
    monkeypatch.setattr("qbitsim.serving.server._SLICE", -1.0)

    async def main():
        machine = Machine()
        server = Server(machine)
        person = Connection(server, Monitor.HUMAN)
        person.connection_made(FakeTransport())
        person.data_received(b"quit\n")
        for _ in range(10):
            await asyncio.sleep(0)
        assert machine.closing

    asyncio.run(main())
