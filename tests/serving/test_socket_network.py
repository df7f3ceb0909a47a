"""A machine that is a client of a server on real sockets."""

from __future__ import annotations

import fcntl
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from qbitsim import Machine, QmpError
from qbitsim.files.network import InetAddress, UnixAddress
from qbitsim.serving import addresses
from qbitsim.serving.socket_connection import SocketConnection
from qbitsim.serving.socket_network import SocketNetwork

MB = 1 << 20
MANY = 1200


def client_of(server: dict[str, object], export: str = "disk") -> Machine:
    machine = Machine()
    machine.images.network = SocketNetwork(machine.images.network)
    machine.execute("blockdev-add", {"driver": "nbd", "node-name": "n", "server": server, "export": export})
    return machine


def test_a_machine_reads_and_writes_what_another_serves(tmp_path: Path) -> None:
    machine = Machine()
    machine.add_disk("disk", MB).write(0, b"served")
    path = str(tmp_path / "nbd.sock")
    with machine.serve(nbd=f"unix:{path}"):
        client = client_of({"type": "unix", "path": path})
        drive = client.add_drive("d", client.graph.nodes["n"])
        assert drive.read(0, 6) == b"served"
        drive.write(MB - 3, b"end")
        assert drive.read(MB - 4, 4) == b"\0end"
        export = client.graph.nodes["n"].export
        assert export.is_connected
    assert not export.is_connected
    with pytest.raises(OSError, match="Input/output error"):
        drive.read(0, 6)
    assert machine.drive("disk").read(MB - 3, 3) == b"end"


@pytest.mark.parametrize(
    ("server", "text"),
    [
        ({"type": "unix", "path": "/none/s"}, "Failed to connect to '/none/s': No such file or directory"),
        ({"type": "unix", "path": "x" * 109}, f"UNIX socket path '{'x' * 109}' is too long"),
        ({"type": "inet", "host": "127.0.0.1", "port": "1"}, "Failed to connect to '127.0.0.1:1': Connection refused"),
        (
            {"type": "inet", "host": "127.0.0.1", "port": "x"},
            "address resolution failed for 127.0.0.1:x: Servname not supported for ai_socktype",
        ),
        (
            {"type": "inet", "host": "a..b", "port": "1"},
            "address resolution failed for a..b:1: Name or service not known",
        ),
        ({"type": "unix", "path": "/none/a\0b"}, "Failed to connect to '/none/a\0b': No such file or directory"),
        ({"type": "inet", "host": "", "port": "1"}, "address resolution failed for :1: Name or service not known"),
    ],
)
def test_who_cannot_be_reached_is_named_as_qemu_names_it(server: dict[str, object], text: str) -> None:
    with pytest.raises(QmpError) as caught:
        client_of(server)
    assert caught.value.desc == text


def test_a_server_that_lets_clients_wait_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "CONNECT_PATIENCE", 0.1)
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first:
        listening.bind(path)
        listening.listen(0)
        first.connect(path)
        with pytest.raises(QmpError, match=r"Connection timed out$"):
            client_of({"type": "unix", "path": path})


@pytest.fixture
def many_files() -> Iterator[None]:
    """Numbers of files above those that select(2) knows."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    if before[1] != resource.RLIM_INFINITY and before[1] < MANY:
        pytest.skip(f"no more than {before[1]} files may be open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(before[0], MANY), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("many_files")
def test_a_connection_with_a_great_number_says_whether_it_is_open() -> None:
    here, there = socket.socketpair()
    number = fcntl.fcntl(here, fcntl.F_DUPFD, 1100)
    here.close()
    connection = SocketConnection(socket.socket(fileno=number))
    assert connection.is_open
    there.close()
    assert not connection.is_open
    connection.close()


def test_a_served_machine_looks_for_servers_on_sockets_as_long_as_it_is_served(tmp_path: Path) -> None:
    machine = Machine()
    before = machine.images.network
    with machine.serve(str(tmp_path / "qmp.sock")):
        assert isinstance(machine.images.network, SocketNetwork)
    assert machine.images.network is before


def test_addresses_are_equal_by_value() -> None:
    assert UnixAddress("/a") == UnixAddress("/a", tight=True) != UnixAddress("/a", abstract=True)
    assert InetAddress("h", "1") != InetAddress("h", "2")
