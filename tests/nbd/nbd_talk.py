"""A machine with an export, and bytes that go to a session of its NBD server and come back."""

from __future__ import annotations

import struct

from qbitsim import Machine
from qbitsim.nbd.protocol import Option
from qbitsim.nbd.session import Session

MB = 1 << 20
GREETING = b"NBDMAGICIHAVEOPT\0\3"


def served(profile="10.0", *, writable=True, **options):
    """A machine whose drive of 16 MiB is exported as ``disk``."""
    machine = Machine(profile)
    machine.add_disk("drive0", 16 * MB, node_name="node0", discard=True)
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b0")
    machine.drive("drive0").write(MB, b"A" * 65536)
    machine.export_nbd("drive0", "disk", writable=writable, **options)
    return machine


def option(number, payload=b""):
    """An option as it is sent."""
    return b"IHAVEOPT" + struct.pack(">II", number, len(payload)) + payload


def string(text):
    """A length, and as many bytes."""
    return struct.pack(">I", len(text)) + text


def go(name=b"disk", infos=(3,), number=Option.GO):
    """GO, or INFO."""
    return option(number, string(name) + struct.pack(f">H{len(infos)}H", len(infos), *infos))


def contexts(*queries, name=b"disk", number=Option.SET_META_CONTEXT):
    """SET_META_CONTEXT, or LIST_META_CONTEXT."""
    return option(number, string(name) + struct.pack(">I", len(queries)) + b"".join(map(string, queries)))


def request(command, offset=0, length=0, flags=0, data=b"", *, cookie=7):
    """A request with a short header."""
    return struct.pack(">IHHQQI", 0x25609513, flags, command, cookie, offset, length) + data


def answered(option, kind, payload=b""):
    """An answer to an option."""
    return struct.pack(">QIII", 0x0003E889045565A9, option, kind, len(payload)) + payload


def refused(option, kind, text):
    """A refusal of an option: the last digits of its kind, and its text."""
    return answered(option, 0x80000000 + kind, text.encode())


def simple(error=0, cookie=7):
    """A simple reply."""
    return struct.pack(">IIQ", 0x67446698, error, cookie)


def chunk(kind, payload=b"", *, done=True, cookie=7):
    """A chunk with a short header."""
    return struct.pack(">IHHQI", 0x668E33EF, int(done), kind, cookie, len(payload)) + payload


def failed(error, text):
    """A chunk that tells of a failure."""
    return chunk(0x8001, struct.pack(">IH", error, len(text)) + text.encode())


class Talk:
    """A client that says bytes and hears bytes."""

    def __init__(self, machine, *, flags=3):
        self.machine = machine
        self.session = Session(machine.exports)
        assert self.hear() == GREETING
        if flags is not None:
            assert self.say(struct.pack(">I", flags)) == b""

    def say(self, *messages):
        """Say something, let the machine work, and return what comes back."""
        for message in messages:
            self.session.receive(message)
        self.machine.run_until_idle()
        return self.hear()

    def hear(self):
        """What has come back."""
        return b"".join(self.session.take())

    def go(self, *before):
        """Choose the export ``disk`` after some options."""
        self.say(*before, go())
        assert self.session.export is not None
        return self


def structured(machine, *queries):
    """A client that hears structured replies about some contexts."""
    return Talk(machine).go(option(Option.STRUCTURED_REPLY), *([contexts(*queries)] if queries else []))
