"""The NBD server on sockets: raw clients, and the programs that people use, where they are installed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import socket
import stat
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

from qbitsim import Machine
from qbitsim.errors import QmpError
from qbitsim.serving.nbd_server import nbd_uri, parse_nbd_address

MB = 1 << 20
GREETING = b"NBDMAGICIHAVEOPT\0\3"


def needs(*programs):
    """Skip where one of the programs is missing."""
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(
        bool(missing), reason=f"no {', '.join(missing)} on the path (Debian: libnbd-bin, qemu-utils)"
    )


@pytest.fixture
def machine():
    made = Machine()
    made.add_disk("drive0", 16 * MB, node_name="node0", discard=True).write(MB, b"A" * 65536)
    made.qmp("block-dirty-bitmap-add", node="node0", name="b0")
    return made


def start(path, **more):
    return lambda machine: machine.qmp("nbd-server-start", addr={"type": "unix", "data": {"path": str(path)}}, **more)


@pytest.fixture
def connected():
    """Connects to a path; the connections are closed in the end."""
    clients = []

    def connect(path):
        client = socket.socket(socket.AF_UNIX)
        clients.append(client)
        client.settimeout(5)
        client.connect(str(path))
        return client

    yield connect
    for client in clients:
        client.close()


def greeted(client, timeout=5.0):
    client.settimeout(timeout)
    try:
        return client.recv(18) == GREETING
    except TimeoutError:
        return False


def option(number, payload=b""):
    return b"IHAVEOPT" + struct.pack(">II", number, len(payload)) + payload


def chosen(client, name=b"drive0"):
    """Go through the handshake in the old way."""
    assert greeted(client)
    client.sendall(struct.pack(">I", 3) + option(1, name))
    assert len(client.recv(10)) == 10
    return client


def read(client, length):
    parts = []
    while length and (part := client.recv(length)):
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def test_the_socket_comes_with_nbd_server_start_and_goes_with_nbd_server_stop(machine, tmp_path, connected):
    path = tmp_path / "nbd.sock"
    with machine.serve() as server:
        server.run(start(path))
        assert server.nbd_address == f"unix:{path}"
        assert stat.S_ISSOCK(path.stat().st_mode)
        client = connected(path)
        assert greeted(client)
        server.run(lambda machine: machine.qmp("nbd-server-stop"))
        assert client.recv(1) == b""
        assert not path.exists()
        with pytest.raises(RuntimeError, match="no NBD server listens"):
            server.nbd_uri("drive0")


def test_a_server_that_was_started_before_listens_while_the_machine_is_served(machine, tmp_path, connected):
    path = tmp_path / "nbd.sock"
    start(path)(machine)
    assert not path.exists()
    machine.export_nbd("drive0")
    with machine.serve() as server:
        client = chosen(connected(path))
        client.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, MB, 4))
        assert read(client, 20)[16:] == b"AAAA"
    assert not path.exists()
    assert machine.exports.running
    assert machine.exports.host is None
    del server


class HandingOver:
    """A monitor over which descriptors are handed over."""

    def __init__(self, client):
        self._client = client
        self._file = client.makefile("rb")
        self._file.readline()
        self.execute("qmp_capabilities")

    def execute(self, command, descriptors=(), **arguments):
        message = json.dumps({"execute": command, "arguments": arguments}).encode()
        socket.send_fds(self._client, [message], list(descriptors))
        reply = json.loads(self._file.readline())
        return reply["error"]["desc"] if "error" in reply else reply["return"]

    def start(self, name, **more):
        return self.execute("nbd-server-start", addr={"type": "fd", "data": {"str": name}}, **more)

    def close(self):
        self._file.close()


def test_a_socket_that_was_handed_over_is_listened_on(machine, tmp_path, connected):
    path = tmp_path / "nbd.sock"
    with machine.serve() as server, contextlib.closing(HandingOver(connected(server.path))) as monitor:
        for listens in (True, False):
            with socket.socket(socket.AF_UNIX) as ours:
                ours.bind(str(path))
                if listens:
                    ours.listen()
                assert monitor.execute("getfd", [ours.fileno()], fdname="nbd") == {}
            assert monitor.start("nbd") == {}
            assert monitor.start("nbd") == "NBD server already running"
            assert greeted(connected(path))
            assert monitor.execute("nbd-server-stop") == {}
            assert not path.exists()
            assert monitor.start("nbd") == "File descriptor named 'nbd' has not been found"


def test_what_is_no_socket_or_has_no_place_cannot_be_listened_on(machine, tmp_path, connected):
    with machine.serve() as server, contextlib.closing(HandingOver(connected(server.path))) as monitor:
        with open(tmp_path / "file", "wb") as file:
            monitor.execute("getfd", [file.fileno()], fdname="f")
        assert monitor.start("f") == "File descriptor 'f' is not a socket"
        assert monitor.start("f") == "File descriptor named 'f' has not been found"
        with socket.socket(socket.AF_UNIX) as unbound:
            monitor.execute("getfd", [unbound.fileno()], fdname="u")
        assert monitor.start("u") == "Failed to listen on fd socket: Invalid argument"
        assert monitor.execute("query-block-exports") == []


def test_there_are_no_credentials_for_tls_and_nobody_listens_without(machine, tmp_path):
    path = tmp_path / "nbd.sock"
    machine.qmp("object-add", qom_type="secret", id="s0", data="x")
    with machine.serve() as server:
        for name, text in (
            ("nope", "No TLS credentials with id 'nope'"),
            ("s0", "Object with id 's0' is not TLS credentials"),
        ):
            with pytest.raises(QmpError, match=f"^{text}$"):
                server.run(start(path, tls_creds=name))
            assert not path.exists()
        with pytest.raises(QmpError, match=r"^Failed to bind socket to "):
            server.run(start(tmp_path / "none" / "nbd.sock", tls_creds="nope"))
        server.run(start(path))


def test_what_is_at_the_path_and_no_dead_socket_is_left_alone(machine, tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")
    with machine.serve() as server, pytest.raises(QmpError, match=f"^Failed to bind socket to {path}: File exists$"):
        server.run(start(path))
    assert path.read_text() == "precious"
    assert not machine.exports.running


def test_a_machine_that_is_put_back_listens_where_it_did(machine, tmp_path, connected):
    path = tmp_path / "nbd.sock"
    with machine.serve() as server:
        before = server.run(lambda machine: machine.snapshot())
        server.run(start(path))
        during = server.run(lambda machine: machine.snapshot())
        server.run(lambda machine: machine.restore(before))
        assert not path.exists()
        server.run(lambda machine: machine.restore(during))
        assert greeted(connected(path))


def test_one_more_client_than_may_be_waits_for_another_to_leave(machine, tmp_path, connected):
    path = tmp_path / "nbd.sock"
    with machine.serve() as server:
        server.run(start(path, max_connections=1))
        first, second = connected(path), connected(path)
        assert greeted(first)
        assert not greeted(second, 0.2)
        first.close()
        assert greeted(second)


def test_a_client_that_does_not_finish_its_handshake_is_hung_up_on(machine, tmp_path, connected):
    path = tmp_path / "nbd.sock"
    with machine.serve() as server:
        server.run(start(path, handshake_max_seconds=1))
        server.run(lambda machine: machine.export_nbd("drive0"))
        slow, done = connected(path), chosen(connected(path))
        assert greeted(slow)
        assert slow.recv(1) == b""
        done.settimeout(0.3)
        with pytest.raises(TimeoutError):
            done.recv(1)


def test_a_client_that_never_reads_is_not_read_from_and_others_are_served(machine, connected):
    with machine.serve(nbd=True) as server:
        path = server.nbd_address.removeprefix("unix:")
        greedy, other = chosen(connected(path)), chosen(connected(path))
        greedy.settimeout(0.5)
        requests = struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 0, MB) * 500_000
        with pytest.raises(TimeoutError):
            greedy.sendall(requests)
        other.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, MB, 4))
        assert read(other, 20)[16:] == b"AAAA"
        unsent = server.run(lambda machine: len(machine.exports.connections))
        assert unsent == 2
        for _ in range(50):
            assert len(read(greedy, 16 + MB)) == 16 + MB


def test_clients_may_be_many_and_idle(machine, connected):
    with machine.serve(nbd=True) as server:
        path = server.nbd_address.removeprefix("unix:")
        clients = [chosen(connected(path)) for _ in range(90)]
        start_at = time.thread_time()
        clients[5].sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, MB, 4))
        assert read(clients[5], 20)[16:] == b"AAAA"
        assert time.thread_time() - start_at < 1
        assert threading.active_count() < 20


@pytest.mark.parametrize("text", ["frob", "unix:", "tcp:1", "tcp:h:x", "tcp:h:99999"])
def test_an_address_that_is_none_is_refused(text):
    with pytest.raises(
        ValueError, match=f"^{text!r} is no address of an NBD server: write unix:PATH or tcp:HOST:PORT$"
    ):
        parse_nbd_address(text)
    with pytest.raises(ValueError, match="is no address"):
        Machine().serve(nbd=text)


def test_uris_of_exports_are_quoted():
    assert nbd_uri("unix:/tmp/a b", "x/y") == "nbd+unix:///x%2Fy?socket=/tmp/a%20b"
    assert nbd_uri("tcp:[::1]:10809", "") == "nbd://[::1]:10809/"


def test_tcp_listens_on_the_first_port_that_is_free(machine):
    with machine.serve(nbd="tcp:127.0.0.1:0") as server:
        port = int(server.nbd_address.rpartition(":")[2])
        other = Machine()
        address = {"type": "inet", "data": {"host": "127.0.0.1", "port": str(port), "to": port + 20}}
        with other.serve() as second:
            second.run(lambda machine: machine.qmp("nbd-server-start", addr=address))
            assert port < int(second.nbd_address.rpartition(":")[2]) <= port + 20
            with pytest.raises(QmpError, match=r"^NBD server already running$"):
                second.run(lambda machine: machine.qmp("nbd-server-start", addr=address))
        third = Machine()
        del address["data"]["to"]
        with (
            third.serve() as server_3,
            pytest.raises(QmpError, match=r"^Failed to find an available port: Address already"),
        ):
            server_3.run(lambda machine: machine.qmp("nbd-server-start", addr=address))


def test_an_abstract_socket_has_no_file(machine, connected):
    name = f"qbitsim-{os.getpid()}"
    data = {"path": name, "abstract": True, "tight": True}
    with machine.serve() as server:
        server.run(lambda machine: machine.qmp("nbd-server-start", addr={"type": "unix", "data": data}))
        assert greeted(connected(f"\0{name}"))
        assert not Path(name).exists()


# -- programs


def run(*argv):
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60)


@needs("nbdinfo")
def test_nbdinfo_tells_of_the_export(machine):
    with machine.serve(nbd=True) as server:
        server.run(lambda machine: machine.export_nbd("node0", "more", bitmaps=["b0"], writable=True))
        export = json.loads(run("nbdinfo", "--json", server.nbd_uri("more")).stdout)["exports"][0]
        assert export["contexts"] == ["base:allocation", "qemu:dirty-bitmap:b0"]
        assert export["export-size"] == 16 * MB
        table = run("nbdinfo", "--map", server.nbd_uri("drive0")).stdout.split()
    assert table == [
        "0",
        "1048576",
        "3",
        "hole,zero",
        "1048576",
        "65536",
        "0",
        "data",
        "1114112",
        "15663104",
        "3",
        "hole,zero",
    ]


@needs("nbdcopy")
def test_nbdcopy_saves_and_restores_the_disk(machine, tmp_path):
    with machine.serve(nbd=True) as server:
        assert run("nbdcopy", server.nbd_uri("drive0"), str(tmp_path / "copy")).returncode == 0
        saved = (tmp_path / "copy").read_bytes()
        assert saved[MB : MB + 65536] == b"A" * 65536
        server.run(lambda machine: machine.drive("drive0").write(0, b"changed"))
        assert run("nbdcopy", str(tmp_path / "copy"), server.nbd_uri("drive0")).returncode == 0
        assert server.run(lambda machine: machine.drive("drive0").read(0, 16 * MB)) == saved


@needs("qemu-img")
def test_qemu_img_converts_compares_and_maps(machine, tmp_path):
    with machine.serve(nbd=True) as server:
        uri = server.nbd_uri("drive0")
        assert run("qemu-img", "convert", "-f", "raw", "-O", "raw", uri, str(tmp_path / "raw")).returncode == 0
        assert run("qemu-img", "compare", "-f", "raw", "-F", "raw", uri, str(tmp_path / "raw")).returncode == 0
        table = json.loads(run("qemu-img", "map", "-f", "raw", "--output=json", uri).stdout)
        assert [(each["start"], each["length"]) for each in table if each["data"]] == [(MB, 65536)]
        refusal = run("qemu-img", "info", server.nbd_uri("nope"))
    assert "export 'nope' not present" in refusal.stderr


def test_libnbd_reads_writes_and_asks(machine):
    python = "/usr/bin/python3"
    if not os.path.exists(python) or run(python, "-c", "import nbd").returncode:
        pytest.skip("no libnbd for /usr/bin/python3 (Debian: python3-libnbd)")
    program = """
import nbd, sys
handle = nbd.NBD()
handle.add_meta_context("base:allocation")
handle.connect_uri(sys.argv[1])
handle.pwrite(b"x" * 512, 0, nbd.CMD_FLAG_FUA); handle.zero(65536, 1 << 20); handle.trim(65536, 1 << 21); handle.flush()
found = []
handle.block_status(1 << 24, 0, lambda context, offset, entries, error: found.extend(entries))
print(bytes(handle.pread(4, 0)), found)
handle.shutdown()
"""
    with machine.serve(nbd=True) as server:
        told = run(python, "-c", program, server.nbd_uri("drive0"))
    assert told.stdout == f"b'xxxx' [65536, 0, {16 * MB - 65536}, 3]\n", told.stderr


def test_in_an_event_loop_that_is_there(machine):
    async def test():
        async with machine.serve_async(nbd=True) as server:
            assert server.nbd_uri("drive0").startswith("nbd+unix:///drive0?socket=/")
        assert not machine.exports.running

    asyncio.run(test())
