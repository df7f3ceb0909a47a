"""What the clients of :mod:`benchmarks.soak` say: commands drawn at random, many of which are refused.

Names come from small pools, so that commands meet each other's bitmaps, jobs, files and faults, and so that a machine
does not grow for ever. Nobody touches the bitmaps ``ref`` and ``chain``, or the faults that he has not named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from benchmarks.soak_server import DISK, FILES, GRANULE, TARGETS

GRANULES = DISK // GRANULE
_BITMAPS = tuple(f"b{n}" for n in range(4))
_JOBS = tuple(f"j{n}" for n in range(3))
_MIRRORS = ("m0", "m1")
_NODES = ("n0", "n1")
_EXPORTS = ("e0", "e1")
_FAULTS = tuple(f"f{n}" for n in range(4))
_SYNCS = ("full", "full", "top", "none", "incremental")
_PREFIX = "x-qbitsim-"


@dataclass(frozen=True)
class Request:
    """A command.

    :ivar name: the command; :ivar arguments: as on the wire.
    :ivar granules: those that it may write, one bit for each.
    :ivar certain: whether it has written them if it succeeds.
    :ivar hangs_up: whether it makes the server hang up once.
    """

    name: str
    arguments: dict[str, Any] = field(default_factory=dict)
    granules: int = 0
    certain: bool = False
    hangs_up: bool = False


def request(name: str, /, **arguments: Any) -> Request:
    """A command that does not write, with underscores for hyphens."""
    return Request(name, _hyphens(arguments))


def _hyphens(arguments: dict[str, Any]) -> dict[str, Any]:
    return {key.replace("_", "-"): value for key, value in arguments.items()}


def _control(name: str, /, **arguments: Any) -> Request:
    return request(_PREFIX + name, **arguments)


class Dice:
    """Draws commands.

    :param seed: of the draws.
    :ivar chain_job: the id of the job for the machine's chain of backups; it is paused and cancelled, too.
    :ivar nbd_path: where the machine's NBD server is to listen.
    """

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.chain_job = "chain0"
        self.nbd_path = ""
        self._kinds: tuple[tuple[Callable[[], Request], int], ...] = (
            (self._write, 22),
            (self._query, 20),
            (self._bitmap, 20),
            (self._job, 14),
            (self._backup, 6),
            (self._transaction, 5),
            (self._lift, 4),
            (self._disk_fault, 3),
            (self._node, 3),
            (self._guest, 2),
            (self._mirror, 4),
            (self._export, 4),
            (self._monitor_fault, 1),
        )

    def draw(self, count: int) -> list[Request]:
        """So many commands."""
        kinds, weights = zip(*self._kinds, strict=True)
        return [kind() for kind in self.random.choices(kinds, weights, k=count)]

    def heavy(self, count: int) -> list[Request]:
        """So many commands whose replies are long."""
        names = ("query-qmp-schema", "query-qmp-schema", "query-commands", "query-named-block-nodes", "query-block")
        return [request(self._one(names)) for _ in range(count)]

    def garbage(self) -> bytes:
        """Bytes that are no message, and then the byte that makes a parser begin anew (json-lexer.c, QEMU 10.0)."""
        dice = self.random
        kind = dice.randrange(4)
        if kind == 0:
            mess = dice.randbytes(dice.randrange(1, 200)).replace(b"\n", b"?")
        elif kind == 1:
            mess = b'{"execute": "query-status", "id": "never'
        elif kind == 2:
            mess = b"[" * dice.randrange(1, 3000)
        else:
            mess = b'{"execute": ' + b"\\x" * dice.randrange(50)
        return mess + b"\xff\n"

    # -- the kinds

    def _one(self, names: tuple[str, ...]) -> str:
        return names[int(self.random.random() * len(names))]

    def _write(self) -> Request:
        granule, pattern = self.random.randrange(GRANULES), self.random.randrange(64)
        bit, offset = 1 << granule, granule * GRANULE
        if self.random.random() < 0.3:
            line = f'qemu-io drive0 "write -P {pattern} {offset} {GRANULE}"'
            return Request("human-monitor-command", {"command-line": line}, bit)
        arguments = {"drive": "drive0", "offset": offset, "length": GRANULE, "pattern": pattern}
        return Request(f"{_PREFIX}write", arguments, bit, certain=True)

    def _query(self) -> Request:
        names = ("query-status", "query-jobs", "query-block-jobs", "query-block", "query-named-block-nodes")
        return request(self._one((*names, "query-version", f"{_PREFIX}query-faults", "query-no-such-thing")))

    def _bitmap(self) -> Request:
        verb = self._one(("add", "add", "remove", "clear", "enable", "disable", "merge"))
        return Request(f"block-dirty-bitmap-{verb}", self._bitmap_data(verb))

    def _bitmap_data(self, verb: str) -> dict[str, Any]:
        if verb == "merge":
            sources = self.random.choices((*_BITMAPS, "ref", "chain"), k=2)
            return {"node": "drive0", "target": self._one(_BITMAPS), "bitmaps": sources}
        data: dict[str, Any] = {"node": "drive0", "name": self._one(_BITMAPS)}
        if verb == "add":
            data["persistent"] = self.random.random() < 0.3
            data["disabled"] = self.random.random() < 0.2
            data["granularity"] = self.random.choice((GRANULE, 512, 65536))
        return data

    def _backup_data(self) -> dict[str, Any]:
        dice = self.random
        data: dict[str, Any] = {
            "job-id": self._one(_JOBS),
            "device": "drive0",
            "sync": self._one(_SYNCS),
            "auto-dismiss": dice.random() < 0.7,
            "auto-finalize": dice.random() < 0.8,
        }
        if data["sync"] == "incremental":
            data["bitmap"] = self._one(_BITMAPS)
        if dice.random() < 0.2:
            data["speed"] = dice.choice((GRANULE, 1 << 20))
        return data

    def _backup(self) -> Request:
        if self.random.random() < 0.3:
            return Request("blockdev-backup", {**self._backup_data(), "target": self._one(_NODES)})
        return Request("drive-backup", {**self._backup_data(), "target": self._one(TARGETS), "format": "qcow2"})

    def _transaction(self) -> Request:
        actions = []
        for _ in range(self.random.randrange(1, 4)):
            if self.random.random() < 0.25:
                data = {**self._backup_data(), "target": self._one(TARGETS), "format": "qcow2"}
                actions.append({"type": "drive-backup", "data": data})
            else:
                verb = self._one(("add", "clear", "enable", "disable", "merge", "remove"))
                actions.append({"type": f"block-dirty-bitmap-{verb}", "data": self._bitmap_data(verb)})
        return request("transaction", actions=actions)

    def _job(self) -> Request:
        verb = self._one(("cancel", "pause", "resume", "resume", "resume", "finalize", "dismiss", "complete", "speed"))
        job = self._one(_JOBS)
        if verb in ("cancel", "pause", "resume") and self.random.random() < 0.2:
            job = self.chain_job
        if verb == "speed":
            return request("block-job-set-speed", device=job, speed=self.random.choice((0, 0, 1 << 20)))
        return request(f"job-{verb}", id=job)

    def _mirror(self) -> Request:
        """Mirrors begin and end; none is completed, for the disk would be another one then, without the bitmaps."""
        dice, job = self.random, self._one(_MIRRORS)
        if dice.random() < 0.5:
            verb = self._one(("job-cancel", "job-pause", "job-resume", "job-dismiss", "block-job-cancel"))
            return request(verb, device=job) if verb == "block-job-cancel" else request(verb, id=job)
        data = {"job-id": job, "device": "drive0", "sync": self._one(("full", "top", "none"))}
        data |= {"auto-dismiss": dice.random() < 0.7, "copy-mode": self._one(("background", "write-blocking"))}
        if dice.random() < 0.5:
            return Request("blockdev-mirror", {**data, "target": self._one(_NODES)})
        return Request("drive-mirror", {**data, "target": self._one(TARGETS), "format": "qcow2"})

    def _export(self) -> Request:
        kind, name = self.random.randrange(6), self._one(_EXPORTS)
        if kind == 0:
            address = {"type": "unix", "data": {"path": self.nbd_path}}
            return request("nbd-server-start", addr=address, max_connections=self.random.choice((0, 1)))
        if kind == 1:
            return request("nbd-server-stop") if self.random.random() < 0.3 else request("query-block-exports")
        if kind == 2:
            return request("block-export-del", id=name, mode=self._one(("safe", "hard")))
        if kind == 3:
            node = self._one(_NODES)
            return request("block-export-add", type="nbd", id=name, node_name=node, writable=self.random.random() < 0.5)
        bitmap = {"bitmap": self._one(_BITMAPS)} if kind == 4 else {}
        return request("nbd-server-add", device="drive0", name=name, **bitmap)

    def _node(self) -> Request:
        node, file = self._one(_NODES), self._one(TARGETS)
        kind = self.random.randrange(4)
        if kind == 0:
            return request("blockdev-del", node_name=node)
        if kind == 1:
            return _control("create-image", file=file, size=DISK)
        if kind == 2:
            return request(self._one(("stop", "cont", "cont")))
        return request("blockdev-add", driver="qcow2", node_name=node, file={"driver": "file", "filename": file})

    def _guest(self) -> Request:
        dice = self.random
        granules = [dice.randrange(GRANULES) for _ in range(dice.randrange(1, 6))]
        pattern = [{"offset": each * GRANULE, "length": GRANULE} for each in granules]
        arguments = {"drive": "drive0", "pattern": pattern, "every": dice.choice((0.0, 0.01)), "id": "guest"}
        return Request(f"{_PREFIX}guest-writes", arguments, sum({1 << each for each in granules}))

    # -- faults

    def _where(self) -> str:
        return self._one(("drive0", "n0", *FILES))

    def _disk_fault(self) -> Request:
        kind, name = self.random.randrange(6), self._one(_FAULTS)
        operation = self._one(("read", "write", "write", "flush"))
        if kind < 3:
            more = {"offset": self.random.randrange(GRANULES) * GRANULE} if kind else {}
            errno, times = self._one(("EIO", "ENOSPC")), self.random.randrange(1, 4)
            return _control(
                "inject-error", where=self._where(), operation=operation, errno=errno, times=times, id=name, **more
            )
        if kind == 3:
            return _control("delay-io", where=self._where(), operation=operation, seconds=0.05, id=name)
        if kind == 4:
            return _control("stall-io", where=self._one(TARGETS), operation="write", id=name)
        return _control("limit-capacity", file=self._where(), capacity=self.random.choice((None, DISK // 2)))

    def _monitor_fault(self) -> Request:
        kind, name = self.random.randrange(6), self._one(_FAULTS)
        command = self._one(("query-block", "query-jobs", "drive-backup", "transaction", f"{_PREFIX}write"))
        if kind < 2:
            return _control("refuse", command=command, desc="not now", times=kind + 1, id=name)
        if kind < 4:
            return _control("hold-reply", command=command, seconds=0.2, events=kind == 2, id=name)
        if kind == 4:
            arguments = {"command": command, "id": name}
            return Request(f"{_PREFIX}half-reply", arguments, hangs_up=True)
        when = {self._one(("before-reply", "before-command")): True}
        return Request(f"{_PREFIX}drop-monitor", {"command": command, "id": name, **when}, hangs_up=True)

    def _lift(self) -> Request:
        verb = self._one(("lift", "release"))
        return _control(verb, id=self._one((*_FAULTS, "guest")))
