"""Draws NBD conversations: disks, exports, handshakes and requests, most of them sensible."""

from __future__ import annotations

import random
import struct
from typing import Any, NamedTuple

from qbitsim.nbd.protocol import Command, CommandFlag, Info, Mode, Option

Step = dict[str, Any]
KB = 1024
SIZE = 4 * KB * KB
LONGEST = 300 * KB

_READ, _WRITE, _FLUSH, _TRIM = Command.READ, Command.WRITE, Command.FLUSH, Command.TRIM
_USUAL = (
    *(_READ, _READ, _READ, _WRITE, _WRITE, Command.WRITE_ZEROES, Command.WRITE_ZEROES, _TRIM),
    *(Command.BLOCK_STATUS, Command.BLOCK_STATUS, Command.BLOCK_STATUS, Command.CACHE, _FLUSH),
)


class Export(NamedTuple):
    """What is exported.

    :ivar contexts: those that it has, by their ids.
    """

    name: str
    size: int
    contexts: dict[int, str]


def world(rng: random.Random) -> tuple[list[Step], list[Export]]:
    """Steps that make disks, write to them and export them."""
    cluster = rng.choice(("65536", "65536", "4k", "512"))
    size = SIZE - rng.choice((0, 0, 512, 70 * KB))
    create: Step = {
        "shell": ["qemu-img", "create", "-f", "qcow2", "-o", f"cluster_size={cluster}", "d.qcow2", f"{size}"]
    }
    steps = [create]
    options = {"if": "none", "id": "d0", "format": "qcow2", "file": "d.qcow2", "node-name": "n0"}
    options["discard"] = rng.choice(("unmap", "ignore"))
    if rng.random() < 0.4:
        below = SIZE - rng.choice((0, 65536, 512 * KB))
        steps.insert(0, {"shell": ["qemu-img", "create", "-f", "qcow2", "b.qcow2", f"{below}"]})
        create["shell"][4:4] = ["-b", "b.qcow2", "-F", "qcow2"]
        drive = {"if": "none", "id": "b0", "format": "qcow2", "file": "b.qcow2", "node-name": "below"}
        steps += [{"start": {"drives": [drive]}}]
        steps += [{"io": ["b0", _write(rng, below)]} for _ in range(rng.randint(1, 6))]
        steps += [{"quit": True}]
    steps.append({"start": {"drives": [options]}})
    names = [f"b{number}" for number in range(rng.randint(0, 3))]
    for name in names:
        granularity = rng.choice((512, 4096, 65536, 1 << 20))
        steps.append(_qmp("block-dirty-bitmap-add", node="n0", name=name, granularity=granularity))
    steps += [{"io": ["d0", _write(rng, size)]} for _ in range(rng.randint(0, 12))]
    exports, more = _exports(rng, size, names)
    return [*steps, *more], exports


def _exports(rng: random.Random, size: int, bitmaps: list[str]) -> tuple[list[Export], list[Step]]:
    """One or two exports of the disk, and what makes them."""
    steps = [_qmp("nbd-server-start", addr={"type": "unix", "data": {"path": "nbd.sock"}})]
    writable = rng.random() < 0.7
    arguments: dict[str, Any] = {"type": "nbd", "id": "e0", "node-name": "n0", "name": rng.choice(("disk", "", "é"))}
    contexts = {0: "base:allocation"}
    if rng.random() < 0.5:
        arguments["allocation-depth"] = True
        contexts[1] = "qemu:allocation-depth"
    if rng.random() < 0.3:
        arguments["description"] = rng.choice(("a disk", ""))
    if writable:
        arguments["writable"] = True
    else:
        steps += [_qmp("block-dirty-bitmap-disable", node="n0", name=name) for name in bitmaps]
    if bitmaps:
        arguments["bitmaps"] = bitmaps
        contexts |= {number: f"qemu:dirty-bitmap:{name}" for number, name in enumerate(bitmaps, 2)}
    steps.append(_qmp("block-export-add", **arguments))
    exports = [Export(arguments["name"], size // 512 * 512, contexts)]
    if rng.random() < 0.3:
        steps.append(_qmp("block-export-add", type="nbd", id="e1", **{"node-name": "n0", "name": "other"}))
        exports.append(Export("other", size // 512 * 512, {0: "base:allocation"}))
    return exports, steps


def _qmp(name: str, /, **arguments: Any) -> Step:
    return {"qmp": {"execute": name, "arguments": arguments}}


def _write(rng: random.Random, size: int) -> str:
    """A request of a guest, as qemu-io takes it."""
    offset = rng.randrange(size // 512) * 512
    length = min(rng.choice((512, 4096, 65536, 200 * KB)), size - offset)
    kind = rng.choice(
        (f"write -q -P {rng.randint(1, 255)}", "write -q -P 5", "write -q -z", "write -q -zu", "discard -q")
    )
    return f"{kind} {offset} {length}"


# -- the handshake


def option(number: int, payload: bytes = b"") -> bytes:
    """An option as it is sent."""
    return b"IHAVEOPT" + struct.pack(">II", number, len(payload)) + payload


def string(text: bytes) -> bytes:
    """A length, and as many bytes."""
    return struct.pack(">I", len(text)) + text


def go(name: bytes, infos: list[int], number: int = Option.GO) -> bytes:
    """GO or INFO."""
    return option(number, string(name) + struct.pack(f">H{len(infos)}H", len(infos), *infos))


def meta(name: bytes, queries: list[bytes], number: int = Option.SET_META_CONTEXT) -> bytes:
    """SET_META_CONTEXT or LIST_META_CONTEXT."""
    return option(number, string(name) + struct.pack(">I", len(queries)) + b"".join(map(string, queries)))


class Talk:
    """Draws one conversation.

    :ivar mode: what was agreed on, if the server knows it; :ivar chosen: which export.
    """

    def __init__(self, rng: random.Random, exports: list[Export], *, extended: bool) -> None:
        self._rng = rng
        self._exports = exports
        self._extended = extended
        self.mode = Mode.SIMPLE
        self.chosen = rng.choice(exports)
        self._contexts: int | None = None  # how many were chosen
        self._cookie = rng.getrandbits(63)

    def handshake(self) -> list[bytes]:
        """Messages that end with the choice of an export."""
        rng, name = self._rng, self.chosen.name.encode()
        messages = [struct.pack(">I", 3)]
        messages += [self._aside() for _ in range(rng.choice((0, 0, 1, 2, 3)))]
        wanted = rng.choice((Mode.SIMPLE, Mode.STRUCTURED, Mode.STRUCTURED, Mode.EXTENDED, Mode.EXTENDED))
        if wanted is Mode.EXTENDED:
            messages.append(option(Option.EXTENDED_HEADERS))
            self.mode = Mode.EXTENDED if self._extended else Mode.SIMPLE
        if wanted is not Mode.SIMPLE and self.mode is Mode.SIMPLE:
            messages.append(option(Option.STRUCTURED_REPLY))
            self.mode = Mode.STRUCTURED
        messages += [self._aside() for _ in range(rng.choice((0, 0, 1)))]
        if rng.random() < 0.85:
            messages.append(self._choose_contexts())
        if self.mode is not Mode.EXTENDED and rng.random() < 0.15:
            return [*messages, option(Option.EXPORT_NAME, name)]
        return [
            *messages,
            go(name, rng.choice(([], [Info.BLOCK_SIZE], [Info.NAME, Info.BLOCK_SIZE], [0, 1, 2, 3, 77]))),
        ]

    def _choose_contexts(self) -> bytes:
        there = list(self.chosen.contexts.values())
        queries = [each.encode() for each in self._rng.sample(there, self._rng.randint(0, len(there)))]
        if self.mode is not Mode.SIMPLE:
            self._contexts = len(queries)
        return meta(self.chosen.name.encode(), queries)

    def _aside(self) -> bytes:
        """An option that changes nothing, or that is wrong."""
        rng, name = self._rng, self._rng.choice(self._exports).name.encode()
        queries = rng.choice(
            ([], [b"base:"], [b"qemu:"], [b"qemu:dirty-bitmap:", b""], [b"qemu:x"], [b"base:allocation"])
        )
        return rng.choice(
            (
                option(Option.LIST),
                option(Option.LIST, b"x"),
                option(Option.STARTTLS),
                option(rng.choice((4, 12, 99, 1 << 31)), bytes(rng.randint(0, 70000))),
                meta(name, queries, Option.LIST_META_CONTEXT),
                meta(b"nope", queries, Option.LIST_META_CONTEXT),
                go(name, rng.sample(range(6), 3), Option.INFO),
                go(b"n" * rng.choice((3, 79, 80, 81, 4096)), []),
                option(Option.GO, string(name) + b"\0\1"),
                option(Option.GO, string(name) + b"\0\0\0\0"),
                option(Option.GO, string(name + b"\0") + b"\0\0"),
                option(Option.INFO, struct.pack(">I", 4097) + bytes(5000)),
                option(Option.INFO, struct.pack(">I", 100) + bytes(50)),
            )
        )

    # -- requests

    def request(self) -> bytes:
        """One request."""
        rng = self._rng
        command = rng.choice(_USUAL) if rng.random() < 0.97 else rng.choice((8, 9, 255, 65535))
        if command == Command.BLOCK_STATUS and not self._contexts and rng.random() < 0.8:
            command = Command.READ
        offset, length = self._range()
        flags = self._flags(command)
        payload = b""
        if command == Command.WRITE:
            length = min(length, LONGEST)
            payload = self._data(length)
            if self.mode is Mode.EXTENDED and rng.random() < 0.95:
                flags |= CommandFlag.PAYLOAD_LEN
        elif command == Command.FLUSH and rng.random() < 0.9:
            offset = length = 0
        elif self.mode is Mode.EXTENDED and rng.random() < 0.1 and self._takes_payload(command):
            flags |= CommandFlag.PAYLOAD_LEN
            payload = self._payload(command, length)
            length = len(payload)
        return self._packed(command, flags, offset, length) + payload

    def _packed(self, command: int, flags: int, offset: int, length: int) -> bytes:
        self._cookie += 1
        if self.mode is Mode.EXTENDED:
            return struct.pack(">IHHQQQ", 0x21E41C71, flags, command, self._cookie, offset, length)
        return struct.pack(">IHHQQI", 0x25609513, flags, command, self._cookie, offset, min(length, (1 << 32) - 1))

    def _takes_payload(self, command: int) -> bool:
        """QEMU dies of contexts in a request if none were chosen (an assertion in nbd_co_block_status_payload_read)."""
        return command != Command.BLOCK_STATUS or self._contexts is not None

    def _payload(self, command: int, length: int) -> bytes:
        if command != Command.BLOCK_STATUS:
            return bytes(self._rng.randint(0, 5000))
        ids = [self._rng.choice((0, 1, 2, 3, 4, 9)) for _ in range(self._rng.randint(0, 3))]
        return struct.pack(">Q", length) + struct.pack(f">{len(ids)}I", *ids) + bytes(self._rng.choice((0, 0, 0, 1)))

    def _range(self) -> tuple[int, int]:
        """Offset and length, mostly inside."""
        rng, size = self._rng, self.chosen.size
        unit = rng.choice((1, 512, 4096, 65536))
        offset = rng.randrange(size // unit + 1) * unit
        length = rng.choice((0, 1, 512, 4096, 65536, 128 * KB, LONGEST, size, rng.randint(0, LONGEST)))
        if rng.random() < 0.03:
            return rng.choice(((size + 512, 0), (offset, 1 << 31), ((1 << 63) + 7, 512), (offset, (1 << 25) + 1)))
        if rng.random() < 0.97:
            length = min(length, size - offset)
        return offset, length

    def _flags(self, command: int) -> int:
        rng = self._rng
        if rng.random() < 0.03:
            return rng.getrandbits(5) | rng.choice((0, 1 << 9))
        flags = 0
        if rng.random() < 0.2:
            flags |= CommandFlag.FUA
        if command == Command.READ and self.mode is not Mode.SIMPLE and rng.random() < 0.3:
            flags |= CommandFlag.DF
        if command == Command.WRITE_ZEROES:
            flags |= rng.choice((0, CommandFlag.NO_HOLE, CommandFlag.FAST_ZERO, 0))
        if command == Command.BLOCK_STATUS and rng.random() < 0.3:
            flags |= CommandFlag.REQ_ONE
        return flags

    def _data(self, length: int) -> bytes:
        return bytes([self._rng.choice((0, 1, 7, 255))]) * length

    def goodbye(self) -> bytes:
        """The last request, or something after which no server goes on."""
        if self._rng.random() < 0.85:
            return self._packed(Command.DISC, 0, 0, 0)
        return self._rng.choice(
            (
                bytes(32),
                self._packed(Command.WRITE, 0, 0, (1 << 25) + 1),
                b"\x25\x60\x95\x13" + bytes(24) if self.mode is Mode.EXTENDED else bytes(28),
            )
        )
