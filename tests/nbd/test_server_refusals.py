"""What a client says of a server that refuses it, or breaks the rules of the handshake.

The texts are those of blockdev-add, the same in QEMU 7.2.22, 10.0.13 and 11.1; ``qemu-nbd -L`` says them, too.
"""

from __future__ import annotations

import struct

import pytest

from qbitsim import QmpError
from qbitsim.drivers.nbd import connect as connect_node
from qbitsim.files.network import Network, UnixAddress
from qbitsim.nbd.client import ClientSession
from qbitsim.nbd.listing import ListingSession
from qbitsim.nbd.protocol import BLOCK_SIZES, EXPORT, OPTION_REPLY, OPTION_REPLY_MAGIC, string
from qbitsim.nbd.remote import RemoteExport, Wanted

MB = 1 << 20
TOO_MUCH = (32 << 20) + 1
EXTENDED, STRUCTURED, CONTEXTS, GO, LIST, ABORT = 11, 8, 10, 7, 3, 2
ACK, SERVER, INFO, CONTEXT, ODD = 1, 2, 3, 4, 5
ERROR = 0x80000000
PLACE = UnixAddress("/s")
END = "Unexpected end-of-file before all data were read"


def greeting(flags: int = 3) -> bytes:
    return b"NBDMAGICIHAVEOPT" + struct.pack(">H", flags)


def reply(option: int, kind: int, data: bytes = b"", *, length: int | None = None) -> bytes:
    return OPTION_REPLY.pack(OPTION_REPLY_MAGIC, option, kind, len(data) if length is None else length) + data


def info(kind: int, data: bytes) -> bytes:
    return reply(GO, INFO, struct.pack(">H", kind) + data)


def sizes(*numbers: int) -> bytes:
    return info(3, BLOCK_SIZES.pack(*numbers))


def listed(name: bytes, description: bytes = b"") -> bytes:
    return reply(LIST, SERVER, string(name) + description)


def context(name: bytes, number: int = 7) -> bytes:
    return reply(CONTEXTS, CONTEXT, struct.pack(">I", number) + name)


def old_style(flags: int) -> bytes:
    return b"NBDMAGIC" + bytes.fromhex("0000420281861253") + struct.pack(">QI", MB, flags)


EXPORT_INFO = info(0, EXPORT.pack(MB, 1))
TO_STRUCTURED = greeting() + reply(EXTENDED, ERROR + 1)
TO_CONTEXTS = TO_STRUCTURED + reply(STRUCTURED, ACK)
TO_GO = TO_CONTEXTS + context(b"base:allocation") + reply(CONTEXTS, ACK)
TO_LIST = TO_GO + reply(GO, ERROR + 1)
TO_NAME = TO_LIST + reply(LIST, ACK)


class Scripted:
    """A connection on which this is heard, and then the end."""

    def __init__(self, heard: bytes) -> None:
        self.heard = heard
        self.said = b""
        self.is_open = True

    def send(self, data: bytes) -> None:
        self.said += data

    def receive(self) -> bytes:
        heard, self.heard = self.heard, b""
        return heard

    def close(self) -> None:
        self.is_open = False


def connect(connection: Scripted, export: str = "disk") -> RemoteExport:
    network = Network()
    network.listen(PLACE, lambda _client: connection)
    return RemoteExport(network, Wanted(PLACE, export=export))


def refusal(heard: bytes, export: str = "disk") -> str:
    connection = Scripted(heard)
    with pytest.raises(QmpError) as caught:
        connect(connection, export)
    assert not connection.is_open
    return caught.value.desc + (f"\n{caught.value.hint}".rstrip("\n") if caught.value.hint else "")


GREETINGS = {
    b"": f"Failed to read initial magic: {END}",
    b"NBDM": f"Failed to read initial magic: {END}",
    b"HTTP/1.1 400 Bad Request\r\n": "Bad initial magic received: 0x485454502f312e31",
    b"NBDMAGIC": f"Failed to read server magic: {END}",
    b"NBDMAGICIHAVEOPX\0\3": "Bad server magic received: 0x49484156454f5058",
    b"NBDMAGICIHAVEOPT\0": f"Failed to read server flags: {END}",
    greeting(): f"Failed to read option reply: {END}",
    greeting(2): f"Failed to read export length: {END}",
    old_style(0): "Server does not support non-empty export names",
}


@pytest.mark.parametrize(("heard", "text"), GREETINGS.items())
def test_a_greeting_that_is_none(heard: bytes, text: str) -> None:
    assert refusal(heard) == text


REFUSALS = {
    2: "Denied by server for option 7 (go)",
    3: "Invalid parameters for option 7 (go)",
    4: "Server lacks support for option 7 (go)",
    5: "TLS negotiation required before option 7 (go)\nDid you forget a valid tls-creds?",
    6: "Requested export not available",
    7: "Server shutting down before option 7 (go)",
    8: "Server requires INFO_BLOCK_SIZE for option 7 (go)",
    9: "Unknown error code when asking for option 7 (go)",
    10: "Unknown error code when asking for option 7 (go)",
    0xFFFF: "Unknown error code when asking for option 7 (go)",
}


@pytest.mark.parametrize(("kind", "text"), REFUSALS.items())
def test_an_export_that_is_refused(kind: int, text: str) -> None:
    assert refusal(TO_GO + reply(GO, ERROR + kind)) == text
    assert refusal(TO_GO + reply(GO, ERROR + kind, b"not you")) == f"{text}\nserver reported: not you"


@pytest.mark.parametrize("kind", [*range(1, 11), 0xFFFF])
def test_a_server_may_refuse_all_that_comes_before_the_export(kind: int) -> None:
    refused = greeting() + b"".join(reply(option, ERROR + kind, b"no") for option in (EXTENDED, STRUCTURED))
    plain = connect(Scripted(refused + EXPORT_INFO + reply(GO, ACK)))
    assert (plain.size, plain.knows_context) == (MB, False)
    told_nothing = TO_CONTEXTS + reply(CONTEXTS, ERROR + kind)
    assert not connect(Scripted(told_nothing + EXPORT_INFO + reply(GO, ACK))).knows_context
    after_one = TO_CONTEXTS + context(b"base:allocation") + reply(CONTEXTS, ERROR + kind)
    assert connect(Scripted(after_one + EXPORT_INFO + reply(GO, ACK))).knows_context


@pytest.mark.parametrize(
    ("before", "option", "words"),
    [
        (greeting(), EXTENDED, "extended headers"),
        (TO_STRUCTURED, STRUCTURED, "structured reply"),
        (TO_CONTEXTS, CONTEXTS, "set meta context"),
        (TO_GO, GO, "go"),
        (TO_LIST, LIST, "list"),
    ],
)
def test_answers_that_belong_to_nothing(before: bytes, option: int, words: str) -> None:
    denied = "error 2147483650 (denied by policy) message"
    assert refusal(before + bytes(20)) == "Unexpected option reply magic"
    expected = f"expected {option} ({words})"
    assert refusal(before + reply(99, ACK)) == f"Unexpected option type 99 (<unknown>), {expected}"
    assert refusal(before + reply(5, ACK)) == f"Unexpected option type 5 (starttls), {expected}"
    assert refusal(before + reply(option, ACK)[:7]) == f"Failed to read option reply: {END}"
    assert refusal(before + reply(option, ERROR + 2, length=TOO_MUCH)) == f"server {denied} is too long"
    cut = reply(option, ERROR + 2, b"abc", length=10)
    assert refusal(before + cut) == f"Failed to read option {denied}: {END}"


WRONG = {
    greeting() + reply(EXTENDED, ODD): (
        "Server answered option 11 (extended headers) with unexpected reply 5 (<unknown>)"
    ),
    TO_STRUCTURED + reply(STRUCTURED, INFO): (
        "Server answered option 8 (structured reply) with unexpected reply 3 (info)"
    ),
    TO_STRUCTURED + reply(STRUCTURED, ACK, b"abc"): (
        "Option 8 ('structured reply') response length is 3 (it should be zero)"
    ),
    TO_CONTEXTS + reply(CONTEXTS, SERVER): "Unexpected reply type 2 (server), expected 4 (meta context)",
    TO_CONTEXTS + reply(CONTEXTS, ACK, b"abc"): "Unexpected length to ACK response",
    TO_CONTEXTS + context(b""): "Failed to negotiate meta context, server answered with unexpected length 4",
    TO_CONTEXTS + reply(CONTEXTS, CONTEXT, length=TOO_MUCH): (
        "Failed to negotiate meta context, server answered with unexpected length 33554433"
    ),
    TO_CONTEXTS + reply(CONTEXTS, CONTEXT, b"\0", length=20): f"Failed to read context id: {END}",
    TO_CONTEXTS + reply(CONTEXTS, CONTEXT, bytes(6), length=20): f"Failed to read context name: {END}",
    TO_CONTEXTS + context(b"other:thing"): (
        "Failed to negotiate meta context 'base:allocation', server answered with different context 'other:thing'"
    ),
    TO_CONTEXTS + context(b"base:allocation") * 2: "Server answered with more than one context",
    TO_GO + reply(GO, ODD): "unexpected reply type 5 (<unknown>), expected 3 (info)",
    TO_GO + reply(GO, ACK): "broken server omitted NBD_INFO_EXPORT",
    TO_GO + info(0, EXPORT.pack(MB, 0)) + reply(GO, ACK): "broken server omitted NBD_INFO_EXPORT",
    TO_GO + EXPORT_INFO + reply(GO, ACK, b"abc"): "server sent invalid NBD_REP_ACK",
    TO_GO + reply(GO, INFO, b"\0"): "NBD_REP_INFO length 1 is too short",
    TO_GO + reply(GO, INFO, length=12): f"Failed to read info type: {END}",
    TO_GO + info(0, b"abc"): "remaining export info len 3 is unexpected size",
    TO_GO + info(3, bytes(13)): "remaining export info len 13 is unexpected size",
    TO_GO + reply(GO, INFO, bytes(9), length=12): f"Failed to read info size: {END}",
    TO_GO + reply(GO, INFO, bytes(11), length=12): f"Failed to read info flags: {END}",
    TO_GO + reply(GO, INFO, b"\0\3\0", length=14): f"Failed to read info minimum block size: {END}",
    TO_GO + reply(GO, INFO, b"\0\3\0\0\0\1\0", length=14): f"Failed to read info preferred block size: {END}",
    TO_GO + reply(GO, INFO, b"\0\x63abc", length=100): f"Failed to read info payload: {END}",
    TO_GO + sizes(3, 4, 5): "server minimum block size 3 is not a power of two",
    TO_GO + sizes(512, 256, 512): "server preferred block size 256 is not valid",
    TO_GO + sizes(512, 513, 1024): "server preferred block size 513 is not valid",
    TO_GO + sizes(512, 4096, 256): "server maximum block size 256 is not valid",
    TO_GO + sizes(512, 4096, MB) + info(0, EXPORT.pack(MB + 1, 1)): (
        "export size 1048577 is not multiple of minimum block size 512"
    ),
    TO_LIST + listed(b"a") + reply(LIST, ACK): "No export with name 'disk' available",
    TO_LIST + reply(LIST, ERROR + 7): "Server shutting down before option 3 (list)",
    TO_LIST + reply(LIST, ACK, b"x"): "length too long for option end",
    TO_LIST + reply(LIST, INFO): "Unexpected reply type 3 (info), expected 2 (server)",
    TO_LIST + reply(LIST, SERVER, b"x"): "incorrect option length 1",
    TO_LIST + reply(LIST, SERVER, b"\0\0\0\x09abc"): "incorrect name length in server's list response",
    TO_LIST + listed(b"a" * 4097): "incorrect name length in server's list response",
    TO_LIST + listed(b"a", b"d" * 4097): "incorrect description length in server's list response",
    TO_LIST + reply(LIST, SERVER, b"\0", length=12): f"Failed to read option name length: {END}",
    TO_LIST + reply(LIST, SERVER, b"\0\0\0\5ab", length=12): f"Failed to read export name: {END}",
    TO_LIST + reply(LIST, SERVER, b"\0\0\0\2ab", length=12): f"Failed to read export description: {END}",
    TO_NAME: f"Failed to read export length: {END}",
    TO_NAME + struct.pack(">QB", MB, 0): f"Failed to read export flags: {END}",
    greeting(0) + EXPORT.pack(MB, 1) + bytes(100): f"Failed to read reserved block: {END}",
}


@pytest.mark.parametrize(("heard", "text"), WRONG.items(), ids=range(len(WRONG)))
def test_answers_that_are_wrong(heard: bytes, text: str) -> None:
    assert refusal(heard) == text


@pytest.mark.parametrize(
    "heard",
    [
        pytest.param(TO_NAME + EXPORT.pack(MB, 1), id="a server without GO"),
        pytest.param(TO_LIST + reply(LIST, ERROR + 1) + EXPORT.pack(MB, 1), id="nor LIST"),
        pytest.param(TO_LIST + listed(b"a") + listed(b"disk") + reply(LIST, ACK) + EXPORT.pack(MB, 1), id="listed"),
        pytest.param(greeting(0) + EXPORT.pack(MB, 1) + bytes(124), id="the newstyle that is not fixed"),
        pytest.param(greeting(2) + EXPORT.pack(MB, 1), id="the same without zeroes"),
        pytest.param(TO_GO + info(0x63, b"abc") + EXPORT_INFO + reply(GO, ACK), id="what nobody knows"),
    ],
)
def test_servers_of_old_are_understood(heard: bytes) -> None:
    assert connect(Scripted(heard)).size == MB


def test_a_server_of_the_old_style_has_few_flags() -> None:
    assert connect(Scripted(old_style(1) + bytes(124)), export="").size == MB
    assert refusal(old_style(0x10001), export="") == "Unexpected export flags 10001x"
    assert refusal(old_style(1)[:-1], export="") == f"Failed to read export flags: {END}"
    assert refusal(old_style(1) + bytes(12), export="") == f"Failed to read reserved block: {END}"


def test_a_client_says_goodbye_to_a_server_that_refuses_it() -> None:
    connection = Scripted(TO_GO + reply(GO, ERROR + 6))
    with pytest.raises(QmpError):
        connect(connection)
    assert connection.said.endswith(struct.pack(">8sII", b"IHAVEOPT", ABORT, 0))


@pytest.mark.parametrize(
    ("error", "reason"),
    [(BrokenPipeError(32, "Broken pipe"), "Broken pipe"), (TimeoutError("timed out"), "timed out")],
)
@pytest.mark.parametrize(("heard", "what"), list(enumerate(["clientflags field", "option request header"])))
def test_a_server_that_does_not_listen(error: OSError, reason: str, heard: int, what: str) -> None:
    said: list[bytes] = []

    def send(data: bytes) -> None:
        if len(said) == heard:
            raise error
        said.append(data)

    client = ClientSession(send, "disk")
    client.receive(greeting())
    assert client.error is not None
    assert client.error.strerror == f"Failed to send {what}: Unable to write to socket: {reason}"


@pytest.mark.parametrize(
    ("told", "text"),
    [
        (info(0, EXPORT.pack((1 << 63) - 1, 3)), "Could not refresh total sector count: File too large"),
        (info(0, EXPORT.pack(MB, 3)) + sizes(*[1 << 31] * 3), "Driver requires too large request alignment"),
    ],
)
def test_an_export_that_is_no_node(told: bytes, text: str) -> None:
    network, connection = Network(), Scripted(TO_GO + told + reply(GO, ACK))
    network.listen(PLACE, lambda _client: connection)
    with pytest.raises(QmpError) as caught:
        connect_node(network, {"server": {"type": "unix", "path": PLACE.path}})
    assert (caught.value.desc, connection.is_open) == (text, False)


def test_a_connection_that_breaks_says_what_was_missing() -> None:
    client = ClientSession(lambda _data: None, "disk")
    client.lose(ConnectionResetError(104, "Connection reset by peer"))
    expected = "Failed to read initial magic: Unable to read from socket: Connection reset by peer"
    assert client.error is not None
    assert client.error.strerror == expected


def test_a_list_of_a_server_of_old() -> None:
    listing = ListingSession(lambda _data: None)
    listing.receive(greeting(2))
    assert str(listing.error) == "[Errno 95] Server does not support export lists"
    listing = ListingSession(lambda _data: None)
    listing.receive(old_style(3))
    assert [(each.name, each.size, int(each.flags)) for each in listing.exports] == [("", MB, 3)]
    assert listing.ready
