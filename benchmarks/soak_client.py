"""A process of :mod:`benchmarks.soak` that loads a part of the machines: ``python -m benchmarks.soak_client JSON``.

Each of its monitors visits one machine after another, says a number of random commands, sends garbage, does not read
for a while, and leaves politely, at once, or in the middle of a message. Of each machine the process remembers a
:class:`World`: what was written, and the last good chain of backups. At the end it visits each once more, lifts what
was left, ends the jobs, and prints all that as a line of JSON.

The laws that it watches: a command gets exactly one reply while the connection lives, and the server hangs up only if
it was told to.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import struct
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.soak_commands import Dice, Request, request
from benchmarks.soak_server import CHAIN, FILES

if TYPE_CHECKING:
    from collections.abc import Iterator

_PATIENCE = 60.0

NBD_TALK = struct.pack(">I8sII2s", 3, b"IHAVEOPT", 1, 2, b"e0") + struct.pack(">IHHQQI", 0x25609513, 0, 0, 1, 0, 4096)
"""What a client says that wants the export ``e0`` (NBD_OPT_EXPORT_NAME) and reads its first bytes (NBD_CMD_READ)."""


@dataclass
class World:
    """What the clients know of one machine.

    :ivar written: the granules that were certainly written; :ivar attempted: those that may have been.
    :ivar chain: the files of the last good chain of backups, oldest first; empty if there is none.
    :ivar attempt: the id of the chain's job, the file, and whether it is a full backup; None if there is no such job.
    :ivar drops: how often the server was told to hang up.
    :ivar taken: whether somebody looks after the chain at the moment.
    """

    machine: int
    written: int = 0
    attempted: int = 0
    chain: list[str] = field(default_factory=list)
    attempt: tuple[str, str, bool] | None = None
    drops: int = 0
    generation: int = 0
    attempts: int = 0
    taken: bool = False


class HangUpError(Exception):
    """The connection has ended."""


class Line:
    """One connection to the machine of a world."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, world: World, load: Load) -> None:
        self._reader, self._writer = reader, writer
        self._numbers = itertools.count()
        self._garbage = False
        self.world = world
        self.load = load

    async def exchange(self, requests: list[Request], pause: float = 0.0) -> list[dict[str, Any]]:
        """Send commands in one go, read nothing for ``pause`` seconds, and return the replies.

        :raises HangUpError: the server has hung up before the last of them.
        """
        world, tally = self.world, self.load.tally
        pending = {str(next(self._numbers)): each for each in requests}
        for each in requests:
            world.attempted |= each.granules
            world.drops += each.hangs_up
        tally["commands"] += len(requests)
        self._writer.write(b"".join(map(_encoded, pending.values(), pending)))
        if pause:
            await asyncio.sleep(pause)
        replies: dict[str, dict[str, Any]] = {}
        try:
            async with asyncio.timeout(_PATIENCE):
                while pending.keys() != replies.keys():
                    self._take(await self._message(), pending, replies)
        except TimeoutError:
            lost = [pending[key].name for key in pending if key not in replies]
            self.load.complain(f"machine {world.machine}: no reply to {lost} in {_PATIENCE:.0f} seconds")
            raise HangUpError from None
        except HangUpError:
            tally["hung up"] += 1
            world.drops -= 1
            if world.drops < 0:
                self.load.complain(f"machine {world.machine}: the server hung up by itself")
            raise
        return [replies[key] for key in pending]

    def _take(self, message: dict[str, Any], pending: dict[str, Request], replies: dict[str, dict[str, Any]]) -> None:
        if "event" in message:
            self.load.tally["events"] += 1
            return
        key = message.get("id")
        if key is None and self._garbage and "error" in message:
            self.load.tally["replies to garbage"] += 1
            return
        if key not in pending or key in replies:
            self.load.complain(f"machine {self.world.machine}: a reply that nobody waits for: {message}")
            return
        replies[key] = message
        if "return" not in message:
            self.load.tally["refused"] += 1
        elif pending[key].certain:
            self.world.written |= pending[key].granules

    async def _message(self) -> dict[str, Any]:
        try:
            line = await self._reader.readline()
        except ConnectionError:
            raise HangUpError from None
        if not line.endswith(b"\n"):
            raise HangUpError
        message: dict[str, Any] = json.loads(line)
        return message

    async def one(self, name: str, /, **arguments: Any) -> dict[str, Any]:
        """The reply to one command."""
        return (await self.exchange([request(name, **arguments)]))[0]

    async def greet(self) -> None:
        """Negotiate."""
        greeting = await self._message()
        assert "QMP" in greeting
        await self.one("qmp_capabilities")

    def send_garbage(self, mess: bytes) -> None:
        """Send what is no message."""
        self._garbage = True
        self._writer.write(mess)
        self.load.tally["pieces of garbage"] += 1

    async def leave(self, last: bytes = b"", *, at_once: bool = False) -> None:
        """Hang up, perhaps in the middle of a message or without waiting."""
        self._writer.write(last)
        if at_once:
            self._writer.transport.abort()
        else:
            self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


async def _connected(path: str) -> socket.socket:
    """A connection to a monitor, which lets few others wait besides the client that it serves.

    :raises OSError: nobody listens there, or it has let nobody in for very long.
    """
    until = time.monotonic() + _PATIENCE
    while True:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(0)
        try:
            sock.connect(path)
        except OSError as error:
            sock.close()
            if not isinstance(error, BlockingIOError) or time.monotonic() > until:
                raise
            await asyncio.sleep(0.01)
        else:
            return sock


def _encoded(each: Request, key: str) -> bytes:
    return json.dumps({"execute": each.name, "arguments": each.arguments, "id": key}).encode() + b"\n"


class Keeper:
    """Keeps a chain of backups of a machine, on a connection where nothing else is going on."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._world = line.world

    async def go_on(self, *, start: bool = True) -> None:
        """Look after the backup that runs, or start the next."""
        if self._world.attempt is not None:
            await self._look_after()
        elif start:
            await self._start()

    async def _start(self) -> None:
        world = self._world
        full = not world.chain or len(world.chain) >= CHAIN
        world.attempts += 1
        world.generation += full
        file = f"c{world.generation % 2}-{0 if full else len(world.chain)}.qcow2"
        job = f"chain{world.attempts}"
        data: dict[str, Any] = {"job-id": job, "device": "drive0", "target": file, "format": "qcow2"}
        data["auto-dismiss"] = False
        data.update({"sync": "full"} if full else {"sync": "incremental", "bitmap": "chain"})
        actions: list[dict[str, Any]] = [{"type": "drive-backup", "data": data}]
        if full:
            actions.insert(0, {"type": "block-dirty-bitmap-clear", "data": {"node": "drive0", "name": "chain"}})
        await self._make_slow(fails=world.attempts % 3 == 0)
        world.attempt = job, file, full
        reply = await self._line.one("transaction", actions=actions)
        if "error" in reply:
            world.attempt = None
        elif full:
            world.chain = []

    async def _make_slow(self, *, fails: bool) -> None:
        """Leave others time to write before the backup ends, or fails."""
        await self._line.one("x-qbitsim-lift", id="slow")
        await self._line.one("x-qbitsim-delay-io", where="drive0", operation="read", seconds=0.3, id="slow")
        await self._line.one("x-qbitsim-lift", id="bad")
        if fails:
            arguments = {"where": "drive0", "operation": "read", "times": 1, "id": "bad"}
            await self._line.one("x-qbitsim-inject-error", **arguments)

    async def _look_after(self) -> None:
        world = self._world
        assert world.attempt is not None
        job, file, full = world.attempt
        reply = await self._line.one("query-jobs")
        if "error" in reply:
            return
        found = next((each for each in reply["return"] if each["id"] == job), None)
        if found is None:  # the transaction was lost with its connection
            world.attempt = None
            return
        if full:
            world.chain = []
        if found["status"] == "paused":
            await self._line.one("job-resume", id=job)
        if found["status"] != "concluded":
            return
        world.attempt = None
        self._line.load.tally["chain backups failed" if "error" in found else "chain backups"] += 1
        if "error" not in found:
            world.chain.append(file)
        await self._line.one("job-dismiss", id=job)


class Load:
    """A part of the machines and those who use them.

    :param directory: where the sockets are; :param machines: the numbers of the machines.
    :param monitors: how many connections there are at a time; :param seconds: for how long at most.
    :param commands: how many commands at most.
    """

    def __init__(
        self, *, directory: str, machines: list[int], monitors: int, seconds: float, commands: int, seed: int
    ) -> None:
        self.tally: Counter[str] = Counter()
        self.complaints: list[str] = []
        self._directory = directory
        self._worlds = [World(number) for number in machines]
        self._gone: list[World] = []  # whose server has ended
        self._monitors = monitors
        self._until = time.monotonic() + seconds
        self._commands = commands
        self._seed = seed

    def complain(self, text: str) -> None:
        """Take note of a broken law."""
        self.complaints.append(text)

    @property
    def over(self) -> bool:
        """Whether it is time to end."""
        return self.tally["commands"] >= self._commands or time.monotonic() >= self._until

    async def run(self) -> dict[str, Any]:
        """Load the machines, clean up, and return what was seen."""
        began = time.monotonic()
        await asyncio.gather(*(self._monitor(Dice(self._seed + n)) for n in range(self._monitors)))
        seconds = time.monotonic() - began
        print(json.dumps({"commands": self.tally["commands"], "seconds": seconds}), flush=True)
        queue = iter(tuple(self._worlds))
        await asyncio.gather(*(self._clean_up(queue) for _ in range(self._monitors)))
        worlds = [asdict(world) for world in (*self._worlds, *self._gone)]
        return {"tally": self.tally, "complaints": self.complaints, "worlds": worlds, "seconds": seconds}

    async def _connect(self, world: World) -> Line:
        """A connection to a machine.

        :raises HangUpError: its server has ended; the machine is not visited again.
        """
        try:
            return await self._try_to_connect(world)
        except (OSError, HangUpError):
            self.complain(f"machine {world.machine}: the server has ended")
            self._gone.append(world)
            if world in self._worlds:
                self._worlds.remove(world)
            raise HangUpError from None

    async def _try_to_connect(self, world: World) -> Line:
        sock = await _connected(f"{self._directory}/{world.machine}")
        reader, writer = await asyncio.open_unix_connection(sock=sock, limit=1 << 26)
        self.tally["connections"] += 1
        line = Line(reader, writer, world, self)
        await line.greet()
        return line

    # -- one monitor

    async def _monitor(self, dice: Dice) -> None:
        while self._worlds and not self.over:
            world = dice.random.choice(self._worlds)
            if dice.random.random() < 0.2:
                world = self._worlds[dice.random.randrange(1 + len(self._worlds) // 50)]  # where others are, too
            try:
                line = await self._connect(world)
            except HangUpError:
                continue
            try:
                await self._visit(line, dice)
            except HangUpError:
                await line.leave(at_once=True)

    async def _visit(self, line: Line, dice: Dice) -> None:
        random = dice.random
        for _ in range(random.randrange(1, 20)):
            if self.over:
                break
            if random.random() < 0.03:
                line.send_garbage(dice.garbage())
            if random.random() < 0.01:
                await line.exchange(dice.heavy(30), pause=random.uniform(0.01, 0.3))
                self.tally["slow readings"] += 1
            dice.chain_job = line.world.attempt[0] if line.world.attempt is not None else "chain0"
            dice.nbd_path = self._nbd_path(line.world)
            if random.random() < 0.05:
                await self._knock(dice.nbd_path, random.choice((b"", NBD_TALK, NBD_TALK[:40])))
            await line.exchange(dice.draw(random.choice((1, 1, 2, 4, 8, 16, 16))))
            if random.random() < 0.3:
                await self._keep_chain(line)
        way = random.randrange(4)
        self.tally[("polite ends", "aborted ends", "ends in a message", "polite ends")[way]] += 1
        await line.leave(b'{"execute": "x-qbitsim-wri' if way == 2 else b"", at_once=way == 1)

    def _nbd_path(self, world: World) -> str:
        return f"{self._directory}/{world.machine}.nbd"

    async def _knock(self, path: str, said: bytes) -> None:
        """Come to an NBD server, if one listens, say something, hear what it says, and hang up."""
        try:
            reader, writer = await asyncio.open_unix_connection(path)
        except OSError:
            return
        self.tally["NBD connections"] += 1
        writer.write(said)
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(0.2):
                await reader.read(1 << 16)
        writer.transport.abort()

    async def _keep_chain(self, line: Line) -> None:
        """One at a time for each machine."""
        world = line.world
        if world.taken:
            return
        world.taken = True
        try:
            await Keeper(line).go_on()
        finally:
            world.taken = False

    # -- the end

    async def _clean_up(self, queue: Iterator[World]) -> None:
        for world in queue:
            for _ in range(20):  # it may be told to hang up that often
                try:
                    line = await self._connect(world)
                except HangUpError:
                    break
                try:
                    await self._end_all(line)
                except HangUpError:
                    await line.leave(at_once=True)
                else:
                    await line.leave()
                    break
            else:
                self.complain(f"machine {world.machine}: the server hangs up again and again")

    async def _end_all(self, line: Line) -> None:
        """Lift all faults, then wait for the chain's job and end the others."""
        for fault in (await line.one("x-qbitsim-query-faults")).get("return", []):
            verb = "release" if fault.get("waiting", 0) or "Stall" in fault["text"] else "lift"
            await line.one(f"x-qbitsim-{verb}", id=fault["id"])
        for name in ("drive0.qcow2", *FILES):
            await line.one("x-qbitsim-limit-capacity", file=name)
        await line.one("nbd-server-stop")
        keeper, until = Keeper(line), time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            await keeper.go_on(start=False)
            reply = await line.one("query-jobs")
            if reply.get("return") == []:
                return
            for job in reply.get("return", []):
                await self._end(line, job, keeps=line.world.attempt is not None and line.world.attempt[0] == job["id"])
            await asyncio.sleep(0.01)
        self.complain(f"machine {line.world.machine}: jobs that do not end: {reply}")

    async def _end(self, line: Line, job: dict[str, Any], *, keeps: bool) -> None:
        identifier, status = job["id"], job["status"]
        await line.one("block-job-set-speed", device=identifier, speed=0)
        if status == "paused":
            await line.one("job-resume", id=identifier)
        if not keeps and status == "concluded":
            await line.one("job-dismiss", id=identifier)
        elif not keeps and status == "pending":
            await line.one("job-finalize", id=identifier)
        elif not keeps:
            await line.one("job-cancel", id=identifier)


if __name__ == "__main__":
    print(json.dumps(asyncio.run(Load(**json.loads(sys.argv[1])).run())))
