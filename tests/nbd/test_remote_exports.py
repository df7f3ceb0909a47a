"""An export of a server that breaks the rules, as its client sees it; and how long clients wait."""

from __future__ import annotations

import pytest
from nbd_talk import served

from qbitsim import QmpError
from qbitsim.files.network import Network, UnixAddress, failed
from qbitsim.nbd.local import LocalConnection
from qbitsim.nbd.protocol import (
    EXTENDED_CHUNK,
    EXTENDED_REPLY_MAGIC,
    GREETING_MAGIC,
    OLD_STYLE_EXPORT,
    OLD_STYLE_MAGIC,
    SIMPLE_REPLY,
    SIMPLE_REPLY_MAGIC,
    ChunkKind,
)
from qbitsim.nbd.remote import RemoteExport, Wanted
from qbitsim.nbd.remote_file import RemoteImageFile

MB = 1 << 20
PLACE = UnixAddress("/s")
WANTED = Wanted(PLACE, export="disk")
OLD_STYLE = GREETING_MAGIC + OLD_STYLE_MAGIC + OLD_STYLE_EXPORT.pack(MB, 0) + bytes(124)


class Scripted:
    """A connection on which these parts are heard, and then the end."""

    is_open = True

    def __init__(self, *parts: bytes) -> None:
        self.parts = list(parts)
        self.said = b""

    def send(self, data: bytes) -> None:
        self.said += data

    def receive(self) -> bytes:
        return self.parts.pop(0) if self.parts else b""

    def close(self) -> None:
        self.is_open = False


class Bent(LocalConnection):
    """A connection to a real server whose answers are changed on the way."""

    change = None

    def receive(self) -> bytes:
        data = super().receive()
        return self.change(data) if self.change is not None else data


class Patient(Network):
    """A network in which time can pass: at each attempt the next server of a list is there, or none."""

    def __init__(self, *servers) -> None:
        super().__init__()
        self.servers = list(servers)
        self.waits: list[float] = []

    def connect(self, address, client=None):
        server = self.servers.pop(0) if self.servers else None
        if server is None:
            raise failed(address, 2)
        return LocalConnection(server.exports)

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return True


def network(connection) -> Network:
    found = Network()
    found.listen(PLACE, lambda _client: connection)
    return found


def test_a_server_of_the_old_style_has_one_export() -> None:
    written = SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, 0, 1)
    export = RemoteExport(network(Scripted(OLD_STYLE, written)), Wanted(PLACE))
    assert (export.size, export.read_only, export.zeroes, export.knows_context) == (MB, False, False, False)
    export.write(0, b"abc")


def chunk(kind: int, payload: bytes, *, magic: int = EXTENDED_REPLY_MAGIC):
    return lambda _data: EXTENDED_CHUNK.pack(magic, 1, kind, 1, 0, len(payload)) + payload


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(chunk(ChunkKind.OFFSET_DATA, bytes(8 + 1024)), id="more than was asked for"),
        pytest.param(chunk(ChunkKind.OFFSET_HOLE, bytes(8) + b"\xff\xff\xff\xff"), id="a hole of 4 GiB"),
        pytest.param(chunk(ChunkKind.OFFSET_DATA, b"abc"), id="no offset"),
        pytest.param(chunk(77, b""), id="an unknown kind"),
        pytest.param(chunk(ChunkKind.NONE, b"", magic=1), id="a wrong magic number"),
        pytest.param(lambda data: data[:7], id="the end in the middle"),
    ],
)
def test_after_a_bad_answer_all_requests_fail(change) -> None:
    machine = served()
    connection = Bent(machine.exports)
    export = RemoteExport(network(connection), WANTED)
    connection.change = change
    if change(bytes(64)) == bytes(7):
        connection.hang = True
        machine.drop_nbd_client()
    for _ in range(4):
        with pytest.raises(OSError, match="Input/output error"):
            export.read(0, 512)
    assert not export.is_connected


def test_an_answer_without_all_bytes_fails_alone() -> None:
    machine = served()
    connection = Bent(machine.exports)
    export = RemoteExport(network(connection), WANTED)
    connection.change = chunk(ChunkKind.NONE, b"")
    with pytest.raises(OSError, match="only 0 of 512 bytes came"):
        export.read(0, 512)


def test_open_timeout_repeats_the_first_attempt_at_growing_intervals() -> None:
    late = Patient(None, None, None, served())
    assert RemoteExport(late, Wanted(PLACE, "disk", open_timeout=10)).size == 16 * MB
    assert late.waits == [1, 2, 4]
    never = Patient()
    with pytest.raises(QmpError, match=r"^Failed to connect to '/s': No such file or directory$"):
        RemoteExport(never, Wanted(PLACE, "disk", open_timeout=10))
    assert never.waits == [1, 2, 4, 3]


def test_reconnect_delay_waits_once_and_no_longer() -> None:
    first, second = served(), served()
    away = Patient(first, None, None, second)
    export = RemoteExport(away, Wanted(PLACE, "disk", reconnect_delay=5))
    first.execute("nbd-server-stop", {})
    assert export.read(0, 1) is not None
    assert away.waits == [1, 2]
    second.execute("nbd-server-stop", {})
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error"):
            export.read(0, 1)
    assert away.waits == [1, 2, 1, 2, 2]


def test_an_export_is_a_file_with_an_image() -> None:
    machine = served(writable=True)
    here = Network()
    here.listen(PLACE, lambda _client: LocalConnection(machine.exports))
    file = RemoteImageFile("nbd+unix:///disk?socket=/s", RemoteExport(here, WANTED))
    file.open()
    image = file.take_bytes()
    assert image.size == file.bytes.length == 16 * MB
    image.write(5 * MB, b"five")
    image.write_zeroes(MB, 512, unmap=True)
    assert image.content.read(5 * MB, 5) == b"five\0"
    assert (5 * MB // 65536) in image.content.stored_clusters()
    assert file.bytes.next_data(2 * MB) == 5 * MB
    assert file.bytes.next_hole(5 * MB) == 5 * MB + 65536
    image.discard(5 * MB, 65536)
    with pytest.raises(OSError, match="Cannot resize NBD nodes"):
        image.resize(MB)
    with pytest.raises(OSError, match="past EOF"):
        file.bytes.write_at(16 * MB - 1, b"ab")
    file.close()
    assert machine.exports.connections == []
