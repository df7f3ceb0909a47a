"""What a client asks of its export once it has chosen one: one function for each command (nbd/server.c, QEMU 10.0).

A request is received, checked, and becomes a task of the machine; when that runs, the request is carried out and its
answer written. A request that is stalled on purpose (see :mod:`qbitsim.files.faults`) waits until it is released.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from qbitsim.block.status import status_above
from qbitsim.files.faults import StalledError
from qbitsim.nbd.contexts import MAXIMUM_EXTENTS, Context, Extents
from qbitsim.nbd.protocol import Command, CommandFlag, Mode, command_words
from qbitsim.nbd.replies import Reply

if TYPE_CHECKING:
    from qbitsim.engine.scheduler import Task
    from qbitsim.nbd.exports import Export


class Asker(Protocol):
    """Who is answered; see :class:`qbitsim.nbd.session.Session`."""

    @property
    def mode(self) -> Mode:
        """How replies are written."""

    def answered(self, request: Request, parts: list[bytes]) -> None:
        """Take the answer, and forget the request."""

    def broken(self, request: Request) -> None:
        """End the connection: a part of the answer cannot be given."""


class _ConnectionLostError(Exception):
    """The answer was begun and cannot be finished."""


class Request:
    """One request, from its arrival to its answer.

    :ivar command: as on the wire, known or not; ``flags``, ``cookie``, ``offset`` and ``length`` too.
    :ivar payload: the data of a write.
    :ivar contexts: what BLOCK_STATUS is to tell of.
    :ivar refusal: why it is refused, whatever else is so; None if it is not.
    :ivar stalled: it waits until a test lets it go on.
    """

    __slots__ = (
        *("command", "contexts", "cookie", "export", "flags", "length", "offset", "payload", "refusal"),
        *("_asker", "_task", "stalled"),
    )

    def __init__(self, asker: Asker, export: Export, command: int, flags: int, cookie: int) -> None:
        self._asker = asker
        self.export = export
        self.command = command
        self.flags = flags
        self.cookie = cookie
        self.offset = 0
        self.length = 0
        self.payload = b""
        self.contexts: Sequence[Context] = ()
        self.refusal: str | None = None
        self.stalled: StalledError | None = None
        self._task: Task | None = None

    def __repr__(self) -> str:
        return f"<Request {self.label}>"

    @property
    def label(self) -> str:
        """What a person or a policy reads: ``NBD read backup 0+65536``."""
        return f"NBD {command_words(self.command)} {self.export.name} {self.offset}+{self.length}"

    def plan(self) -> None:
        """Let the request be carried out as a task of the machine, at once or when a delay is over."""
        scheduler = self.export.scheduler
        delay = 0 if self.refusal is not None else self._delay()
        if delay:
            self._task = scheduler.after(delay, self._run, self.label)
        else:
            self._task = scheduler.soon(self._run, self.label)

    def _delay(self) -> int:
        """Nanoseconds that it takes by a limit of the nodes or a fault."""
        operation = _OPERATIONS.get(self.command)
        if operation is None:
            return 0
        return self.export.delay(operation, self.offset, self.length)

    def finish(self) -> None:
        """Carry it out before its turn, because somebody waits until the export is quiet.

        :raises StalledError: it waits for a test.
        """
        if self.stalled is not None:
            raise self.stalled
        assert self._task is not None
        self.export.scheduler.run(self._task)
        if self.stalled is not None:
            raise self.stalled

    def _run(self) -> None:
        self.stalled = None
        try:
            parts = self._carry_out()
        except StalledError as error:
            self.stalled = error
            error.stall.hold(self.plan)
            return
        except _ConnectionLostError:
            self.export.in_flight.remove(self)
            self._asker.broken(self)
            return
        self.export.in_flight.remove(self)
        self._asker.answered(self, parts)

    def _carry_out(self) -> list[bytes]:
        """The answer."""
        reply = Reply(self._asker.mode, self.cookie, self.offset)
        if self.refusal is not None:
            reply.failed(errno.EINVAL, self.refusal)
            return reply.parts
        carry_out, failure = _COMMANDS[self.command]
        try:
            carry_out(self, reply)
        except OSError as error:
            reply.failed(error.errno, failure)
        return reply.parts

    def has(self, flag: CommandFlag) -> bool:
        """Whether the request has that flag."""
        return bool(self.flags & flag)

    # -- commands

    def _read(self, reply: Reply) -> None:
        user = self.export.user
        if self.has(CommandFlag.FUA):
            try:
                user.flush()
            except OSError as error:
                reply.failed(error.errno, "flush failed")
                return
        if self._asker.mode is Mode.SIMPLE or self.has(CommandFlag.DF) or not self.length:
            reply.all_data(user.read(self.offset, self.length))
            return
        place, end = self.offset, self.offset + self.length
        while place < end:
            status = status_above(user.node, None, place, end - place)
            stop = place + status.length
            if status.zero:
                reply.hole(place, status.length, last=stop == end)
            else:
                try:
                    reply.data(place, user.read(place, status.length), last=stop == end)
                except OSError as error:
                    # There is no chunk for that, so that QEMU hangs up (nbd_co_send_sparse_read, nbd/server.c, 10.0).
                    raise _ConnectionLostError from error
            place = stop

    def _write(self, reply: Reply) -> None:
        self.export.user.write(self.offset, self.payload)
        self._flush_if_wanted()
        reply.done()

    def _write_zeroes(self, reply: Reply) -> None:
        user, unmap = self.export.user, not self.has(CommandFlag.NO_HOLE)
        user.write_zeroes(self.offset, self.length, unmap=unmap)
        self._flush_if_wanted()
        reply.done()

    def _trim(self, reply: Reply) -> None:
        self.export.user.discard(self.offset, self.length)
        if self.has(CommandFlag.FUA):
            self.export.user.flush()
        reply.done()

    def _cache(self, reply: Reply) -> None:
        """Read ahead, which makes the topmost layer have what it has not (BDRV_REQ_COPY_ON_READ)."""
        self.export.user.node.copy_up(self.offset, self.length)
        reply.done()

    def _flush(self, reply: Reply) -> None:
        self.export.user.flush()
        reply.done()

    def _block_status(self, reply: Reply) -> None:
        node, most = self.export.user.node, 1 if self.has(CommandFlag.REQ_ONE) else MAXIMUM_EXTENTS
        for context in self.contexts:
            extents = Extents(most)
            context.describe(node, self.offset, self.length, extents)
            reply.extents(context.id, extents.found, last=context is self.contexts[-1])

    def _flush_if_wanted(self) -> None:
        if self.has(CommandFlag.FUA) or not self.export.user.write_cache:
            self.export.user.flush()


_COMMANDS: dict[int, tuple[Callable[[Request, Reply], Any], str]] = {
    Command.READ: (Request._read, "reading from file failed"),
    Command.WRITE: (Request._write, "writing to file failed"),
    Command.FLUSH: (Request._flush, "flush failed"),
    Command.TRIM: (Request._trim, "discard failed"),
    Command.CACHE: (Request._cache, "caching data failed"),
    Command.WRITE_ZEROES: (Request._write_zeroes, "writing to file failed"),
    Command.BLOCK_STATUS: (Request._block_status, "can't get block status"),
}
"""What carries a command out, and how its failure is worded."""

_OPERATIONS: dict[int, str] = {
    Command.READ: "read",
    Command.WRITE: "write",
    Command.FLUSH: "flush",
    Command.TRIM: "discard",
    Command.WRITE_ZEROES: "write-zeroes",
}
"""Of which kind of I/O a command is, for faults."""
