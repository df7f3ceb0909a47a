"""A server can always be ended, and what it keeps for its clients has bounds; with processes, as users have them."""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress

import forked
import pytest
from wire_fake import FakeMachine

from qbitsim.serving import server as server_module
from qbitsim.serving.sockets import bind_unix


@contextmanager
def serving(*arguments, ready=1, limit=None):
    """``qbitsim serve``, once it is ready, with so many descriptors at most; it is killed at the end."""
    function = [forked.qbitsim] if limit is None else [forked.qbitsim_with_descriptors, limit]
    process = forked.Process(*function, "serve", "--disk", "d0=64M", *arguments)
    try:
        for _ in range(ready):
            process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rb")
        self.file.readline()
        self.ask("qmp_capabilities")

    def ask(self, *commands):
        self.socket.sendall(b"".join(b'{"execute": "%s"}' % each.encode() for each in commands))
        replies = 0
        while replies < len(commands):
            replies += "return" in json.loads(self.file.readline())

    def send(self, name, **arguments):
        """Run a command, and return what its reply returns."""
        message = {"execute": name, "arguments": {key.replace("_", "-"): each for key, each in arguments.items()}}
        self.socket.sendall(json.dumps(message).encode())
        while "event" in (reply := json.loads(self.file.readline())):
            pass
        return reply["return"]

    def close(self):
        self.file.close()
        self.socket.close()


def wait_until_nobody_answers(client):
    """Ask until there is no answer for half a second."""
    client.socket.settimeout(0.5)
    with suppress(TimeoutError):
        for _ in range(100_000):
            client.ask("query-status")
        raise AssertionError("the server answers all the time")


def paths(folder, count):
    return [folder / f"qmp{number}" for number in range(count)]


def monitors(places):
    return [word for place in places for word in ("--qmp", f"unix:{place}")]


def test_a_signal_ends_it_soon_though_many_clients_read_nothing(tmp_path):
    places = paths(tmp_path, 21)
    with serving(*monitors(places), ready=21) as process:
        deaf = [Client(place) for place in places[1:]]
        for each in deaf:
            text = b"x" * (1 << 21)  # more than the buffers of socket and server take
            each.socket.sendall(b'{"execute": "query-status", "id": "%s"}' % text)
        busy = Client(places[0])
        for _ in range(10):
            busy.ask(*["stop", "cont"] * 20)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        assert time.monotonic() - began < 10  # 1.7 s on an idle machine
        for each in [*deaf, busy]:
            each.close()


def test_a_request_that_is_stalled_does_not_keep_it_from_ending(tmp_path):
    place = tmp_path / "qmp"
    with serving("--control", "--pacing", "manual", "--qmp", f"unix:{place}") as process:
        client = Client(place)
        client.send("x-qbitsim-stall-io", where="d0", operation="read")
        client.send("drive-backup", device="d0", target="t", sync="full")
        client.send("x-qbitsim-run-until-idle")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stderr.read() == b""
        client.close()


def test_a_command_that_takes_long_does_not_keep_it_from_ending(tmp_path):
    places, history = paths(tmp_path, 2), tmp_path / "history.jsonl"
    arguments = ("--control", "--pacing", "manual", *monitors(places), "--history", str(history))
    with serving("--disk", "d1=1P", *arguments, ready=2) as process:
        client, other = map(Client, places)
        client.send("drive-backup", device="d1", target="t", sync="full")
        client.socket.sendall(b'{"execute": "x-qbitsim-run-until-idle"}')
        wait_until_nobody_answers(other)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 1
        text = b"qbitsim: told to end in the middle of a long command: it has ended as if it was killed\n"
        assert process.stderr.read() == text
        client.close()
        other.close()
    assert not any(place.exists() for place in places)
    assert "drive-backup" in history.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_each_signal_that_ends_it_leaves_the_history_and_no_socket(tmp_path, number):
    place, history = tmp_path / "qmp", tmp_path / "history.json"
    with serving("--qmp", f"unix:{place}", "--history", str(history)) as process:
        client = Client(place)
        process.send_signal(number)
        assert [json.loads(line)["event"] for line in client.file] == ["SHUTDOWN"]
        assert process.wait(20) == 0
        client.close()
    assert not place.exists()
    assert "SHUTDOWN" in history.read_text()


def test_without_descriptors_new_clients_are_refused_and_the_old_ones_served(tmp_path):
    qmp, nbd = tmp_path / "qmp", tmp_path / "nbd"
    with serving("--qmp", f"unix:{qmp}", "--nbd", f"unix:{nbd}", ready=2, limit=40) as process:
        old = Client(qmp)
        guests = []
        refused = False
        while not refused:
            guest = socket.socket(socket.AF_UNIX)
            guests.append(guest)
            guest.settimeout(20)
            guest.connect(str(nbd))
            try:
                refused = guest.recv(8) == b""
            except ConnectionResetError:
                refused = True
            assert len(guests) < 50
        old.ask(*["query-status"] * 3)
        assert select.select([process.stderr], [], [], 10)[0]
        assert os.read(process.stderr.fileno(), 1 << 16).count(b"\n") == 1
        assert not select.select([process.stderr], [], [], 0.5)[0]
        for guest in guests:
            guest.close()
        old.ask("query-status")
        again = socket.socket(socket.AF_UNIX)
        again.settimeout(20)
        again.connect(str(nbd))
        assert again.recv(8) == b"NBDMAGIC"
        again.close()
        old.close()


def test_of_many_servers_that_find_a_dead_socket_one_gets_the_path(tmp_path):
    path = str(tmp_path / "qmp")
    for _ in range(20):
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(path)
        got = []
        start = threading.Barrier(8)

        def try_it(got=got, start=start):
            start.wait()
            try:
                got.append(bind_unix(path))
            except OSError as error:
                got.append(error)

        threads = [threading.Thread(target=try_it) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        winners = [each for each in got if isinstance(each, socket.socket)]
        assert len(winners) == 1
        winners[0].close()
        os.unlink(path)


def test_a_client_for_which_too_many_events_wait_is_hung_up_on(tmp_path, monkeypatch):
    async def main():
        monkeypatch.setattr(server_module, "_MOST_EVENTS", 1000)
        machine = FakeMachine()
        server = server_module.Server(machine, trim_events=True)
        places = [str(each) for each in paths(tmp_path, 2)]
        for place in places:
            await server.listen_unix(place)
        running = asyncio.create_task(server.run())
        _, deaf = await asyncio.open_unix_connection(places[0], limit=1)
        deaf.write(b'{"execute": "qmp_capabilities"}' + b'{"execute": "echo", "id": "%s"}' % (b"x" * (1 << 22)))
        reader, writer = await asyncio.open_unix_connection(places[1])
        writer.write(b'{"execute": "qmp_capabilities"}')
        most = 0
        for _ in range(300):
            writer.write(b'{"execute": "emit"}' * 10)
            replies = 0
            while replies < 10:
                replies += b'"return": {}' in await asyncio.wait_for(reader.readline(), 5)
            most = max(most, len(machine.events))
        assert most <= 1011
        assert len(machine.events) < 1000
        writer.write(b'{"execute": "quit"}')
        await asyncio.wait_for(running, 5)
        deaf.close()
        writer.close()

    asyncio.run(main())
