"""Conversations of real clients with real QEMU, as they were recorded: read, said again, and written down again.

A record has a line for each message, without the data: ``[1] C> CMD READ flags=DF offset=0 length=4096``. The number is
that of the connection.
"""

from __future__ import annotations

import ast
import os
import re
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

from qbitsim.nbd.protocol import (
    ChunkKind,
    Command,
    CommandFlag,
    ExportFlag,
    HandshakeFlag,
    Info,
    Mode,
    Option,
    OptionReply,
)
from qbitsim.nbd.session import Session

RECORDS = Path(__file__).parent.parent / "data" / "nbd"
_FLAGS = {name: value for name, value in vars(CommandFlag).items() if isinstance(value, int)}


class Connection:
    """One connection of a record, said again to a session."""

    def __init__(self, machine):
        self.machine = machine
        self.session = Session(machine.exports)
        self.mode = Mode.SIMPLE
        self.commands = {}
        self.heard = b""

    def say(self, line):
        """Say what a line of the client says."""
        message = self._encode(line)
        if message:
            self.session.receive(message)
            self.machine.run_until_idle()
        self.heard += b"".join(self.session.take())

    def _encode(self, line):
        kind, _, rest = line.partition(" ")
        if kind == "client" and rest.startswith("closed"):
            self.session.hang_up()
            return b""
        if kind == "client":
            return struct.pack(">I", _number(rest.split()[1], HandshakeFlag))
        if kind == "OPT":
            name, _, said = rest.partition(" ")
            if name in ("STRUCTURED_REPLY", "EXTENDED_HEADERS"):
                self.mode = Mode.STRUCTURED if name == "STRUCTURED_REPLY" else Mode.EXTENDED
            payload = _payload(Option[name], said)
            return b"IHAVEOPT" + struct.pack(">II", Option[name], len(payload)) + payload
        name, flags, offset, length = re.fullmatch(r"(\w+) flags=(\S+) offset=(\d+) length=(\d+)", rest).groups()
        number = sum(_FLAGS[each] for each in flags.split("|") if each != "0")
        return self._request(Command[name], number, int(offset), int(length))

    def _request(self, command, flags, offset, length):
        cookie = len(self.commands) + 1
        self.commands[cookie] = command.name
        data = b"w" * length if command is Command.WRITE else b""
        if self.mode is Mode.EXTENDED:
            flags |= CommandFlag.PAYLOAD_LEN if data else 0
            return struct.pack(">IHHQQQ", 0x21E41C71, flags, command, cookie, offset, length) + data
        return struct.pack(">IHHQQI", 0x25609513, flags, command, cookie, offset, length) + data

    # -- what came back

    def lines(self):
        """What the server has said, a line for each message."""
        data = self.heard
        yield f"NBDMAGIC flags {_names(struct.unpack('>H', data[16:18])[0], HandshakeFlag)}"
        data = data[18:]
        while data:
            line, data = self._option_reply(data) if data[:4] == b"\0\3\xe8\x89" else self._reply(data)
            yield line
        if self.session.ended:
            yield "server closed"

    def _option_reply(self, data):
        _magic, option, kind, length = struct.unpack(">QIII", data[:20])
        payload, rest = data[20 : 20 + length], data[20 + length :]
        return f"REP to {Option(option).name}: {OptionReply(kind).name} {_told(kind, payload)}", rest

    def _reply(self, data):
        magic = data[:4].hex()
        if magic == "67446698":
            error, cookie = struct.unpack(">IQ", data[4:16])
            return f"simple reply to {self.commands[cookie]} error={error}", data[16:]
        layout = ">HHQQQ" if magic == "6e8a278c" else ">HHQI"
        size = 4 + struct.calcsize(layout)
        flags, kind, cookie, *_offset, length = struct.unpack(layout, data[4:size])
        payload, rest = data[size : size + length], data[size + length :]
        done = " DONE" if flags else ""
        return f"chunk {ChunkKind(kind).name}{done} to {self.commands[cookie]} {_chunk(kind, payload)}", rest


def _payload(option, said):
    match = re.fullmatch(r"(?:name=('.*?'))?(?: (info|queries)=(\[.*\]))?", said)
    if match[1] is None:
        return b""
    name = ast.literal_eval(match[1]).encode()
    head = struct.pack(">I", len(name)) + name
    given = ast.literal_eval(match[3])
    if match[2] == "info":
        return head + struct.pack(f">H{len(given)}H", len(given), *(Info[each] for each in given))
    queries = b"".join(struct.pack(">I", len(each)) + each.encode() for each in given)
    return head + struct.pack(">I", len(given)) + queries


def _told(kind, payload):
    if kind == OptionReply.INFO:
        info, rest = Info(struct.unpack(">H", payload[:2])[0]), payload[2:]
        if info is Info.EXPORT:
            size, flags = struct.unpack(">QH", rest)
            return f"INFO EXPORT size={size} flags={_names(flags, ExportFlag)}".removeprefix("INFO ")
        if info is Info.BLOCK_SIZE:
            return "BLOCK_SIZE min={} pref={} max={}".format(*struct.unpack(">III", rest))
        return f"{info.name} {rest.decode()!r}"
    if kind == OptionReply.META_CONTEXT:
        return f"id={struct.unpack('>I', payload[:4])[0]} {payload[4:].decode()!r}"
    if kind == OptionReply.SERVER:
        (length,) = struct.unpack(">I", payload[:4])
        name, description = payload[4 : 4 + length].decode(), payload[4 + length :]
        return f"{name!r} + {description!r}" if description else repr(name)
    return repr(payload.decode()) if payload else ""


def _chunk(kind, payload):
    if kind == ChunkKind.OFFSET_DATA:
        return f"offset={struct.unpack('>Q', payload[:8])[0]} data={len(payload) - 8}"
    if kind == ChunkKind.OFFSET_HOLE:
        return "offset={} hole={}".format(*struct.unpack(">QI", payload))
    if kind in (ChunkKind.BLOCK_STATUS, ChunkKind.BLOCK_STATUS_EXT):
        code, start = ("I", 4) if kind == ChunkKind.BLOCK_STATUS else ("Q", 8)
        numbers = struct.unpack(f">{len(payload[start:]) // struct.calcsize('>' + code)}{code}", payload[start:])
        extents = list(zip(numbers[::2], numbers[1::2], strict=True))
        return f"context={struct.unpack('>I', payload[:4])[0]} extents={extents}"
    if kind == ChunkKind.ERROR:
        error, length = struct.unpack(">IH", payload[:6])
        return f"error={error} ({os.strerror(error)}) {payload[6 : 6 + length].decode()!r}"
    return ""


def _names(value, kind):
    return "|".join(flag.name for flag in kind if flag & value)


def _number(names, kind):
    return sum(kind[name] for name in names.split("|"))


def connections(name: str) -> Iterator[tuple[list[str], list[str]]]:
    """For each connection of a record what the client has said, and what the server has."""
    text = (RECORDS / name).read_text()
    lines = [re.fullmatch(r"\[(\d+)\] (C>|<S) (.*)", line).groups() for line in text.splitlines()]
    for number in dict.fromkeys(number for number, _, _ in lines):
        said = [line for each, who, line in lines if each == number and who == "C>"]
        heard = [line for each, who, line in lines if each == number and who == "<S"]
        yield said, heard


def comparable(lines: Iterable[str], said: list[str]) -> list[str]:
    """The lines of a server without what depends on the recorder, sorted.

    Answers may overtake each other in real QEMU. Nobody has waited for the answer to ABORT, nor for the end of the one
    to GO who ``said`` nothing more.
    """
    unheard = ["REP to ABORT: ACK"] + ["REP to GO: ACK"] * (not any(line.startswith("CMD") for line in said))
    return sorted(line for line in map(_normal, lines) if line not in unheard)


def _normal(line: str) -> str:
    line = "server closed" if line.startswith("server closed") else line
    line = re.sub(r" to (None|READ|WRITE|WRITE_ZEROES|TRIM|CACHE|FLUSH|BLOCK_STATUS)\b", "", line)
    return line.replace('"', "'").rstrip()
