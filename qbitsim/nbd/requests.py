"""What a client asks of its export once it has chosen one: one function for each command (nbd/server.c, QEMU 10.0).

A request is received, checked, and becomes a task of the machine; when that runs, the request is carried out and its
answer written. A request that is stalled on purpose (see :mod:`qbitsim.files.faults`) waits until it is released.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from qbitsim.block.chain import status_above
from qbitsim.files.faults import StalledError
from qbitsim.nbd.contexts import MAXIMUM_EXTENTS, Context, Extents
from qbitsim.nbd.protocol import Command, CommandFlag, Mode, command_words
from qbitsim.nbd.replies import Reply

if TYPE_CHECKING:
    from qbitsim.engine.scheduler import Task
    from qbitsim.nbd.export import Export


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
    :ivar resting: it waits for the end of a drained section, as if it had not come yet (nbd_drained_begin).
    """

    __slots__ = (
        *("command", "contexts", "cookie", "export", "flags", "length", "offset", "payload", "refusal"),
        *("_asker", "_dropped", "_task", "resting", "stalled"),
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
        self.resting = False
        self._dropped = False
        self._task: Task | None = None

    def __repr__(self) -> str:
        return f"<Request {self.label}>"

    @property
    def label(self) -> str:
        """What a person or a policy reads: ``NBD read backup 0+65536``."""
        return f"NBD {command_words(self.command)} {self.export.name} {self.offset}+{self.length}"

    def plan(self) -> None:
        """Let the request be carried out as a task of the machine, at once or when a delay is over."""
        self.resting = False
        if self._dropped:
            return
        scheduler = self.export.scheduler
        delay = 0 if self.refusal is not None else self._delay()
        if delay:
            self._task = scheduler.after(delay, self._take_turn, self.label)
        else:
            self._task = scheduler.soon(self._take_turn, self.label)

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
        self._task.cancel()
        self._run()
        if self.stalled is not None:
            raise self.stalled

    def drop(self) -> None:
        """Forget a request that is resting: its client has gone."""
        self._dropped = True
        self.export.in_flight.remove(self)

    def _take_turn(self) -> None:
        user = self.export.user
        if user.drained:
            self.resting = True
            user.when_not_drained(self.plan)
        else:
            self._run()

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
        reply = Reply(self.mode, self.cookie, self.offset)
        if self.refusal is not None:
            reply.failed(errno.EINVAL, self.refusal)
            return reply.parts
        if self.command != Command.READ and self.export.user.node.inactive:
            reply.failed(errno.EPERM, "export is inactive")
            return reply.parts
        carry_out, failure = _COMMANDS[self.command]
        try:
            carry_out(self, reply)
        except OSError as error:
            reply.failed(error.errno, failure)
        return reply.parts

    @property
    def mode(self) -> Mode:
        """How replies are written."""
        return self._asker.mode


def _read(request: Request, reply: Reply) -> None:
    user = request.export.user
    if request.flags & CommandFlag.FUA:
        try:
            user.flush()
        except OSError as error:
            reply.failed(error.errno, "flush failed")
            return
    if request.mode is Mode.SIMPLE or request.flags & CommandFlag.DF or not request.length:
        reply.all_data(user.read(request.offset, request.length))
    else:
        _read_sparsely(request, reply)


def _read_sparsely(request: Request, reply: Reply) -> None:
    """Tell holes from data (nbd_co_send_sparse_read).

    :raises _ConnectionLostError: data cannot be read. There is no chunk for that, so that QEMU hangs up.
    """
    user, place, end = request.export.user, request.offset, request.offset + request.length
    while place < end:
        try:
            status = status_above(user.node, None, place, end - place)
        except OSError as error:
            reply.failed(error.errno, f"unable to check for holes: {error.strerror}")
            return
        stop = place + status.length
        if status.zero:
            reply.hole(place, status.length, last=stop == end)
        else:
            try:
                data = user.read(place, status.length)
            except OSError as error:
                raise _ConnectionLostError from error
            reply.data(place, data, last=stop == end)
        place = stop


def _write(request: Request, reply: Reply) -> None:
    request.export.user.write(request.offset, request.payload)
    _flush_if_wanted(request)
    reply.done()


def _write_zeroes(request: Request, reply: Reply) -> None:
    unmap, fast = not request.flags & CommandFlag.NO_HOLE, bool(request.flags & CommandFlag.FAST_ZERO)
    request.export.user.write_zeroes(request.offset, request.length, unmap=unmap, fast=fast)
    _flush_if_wanted(request)
    reply.done()


def _flush_if_wanted(request: Request) -> None:
    if request.flags & CommandFlag.FUA or not request.export.user.write_cache:
        request.export.user.flush()


def _trim(request: Request, reply: Reply) -> None:
    request.export.user.discard(request.offset, request.length)
    if request.flags & CommandFlag.FUA:
        request.export.user.flush()
    reply.done()


def _cache(request: Request, reply: Reply) -> None:
    """Read ahead, which makes the topmost layer have what it has not (BDRV_REQ_COPY_ON_READ)."""
    node = request.export.user.node
    if not node.read_only:
        node.copy_up(request.offset, request.length)
    reply.done()


def _flush(request: Request, reply: Reply) -> None:
    request.export.user.flush()
    reply.done()


def _block_status(request: Request, reply: Reply) -> None:
    most = 1 if request.flags & CommandFlag.REQ_ONE else MAXIMUM_EXTENTS
    for context in request.contexts:
        extents = Extents(most)
        context.describe(request.export.user.node, request.offset, request.length, extents)
        reply.extents(context.id, extents, last=context is request.contexts[-1])


_COMMANDS: dict[int, tuple[Callable[[Request, Reply], Any], str]] = {
    Command.READ: (_read, "reading from file failed"),
    Command.WRITE: (_write, "writing to file failed"),
    Command.FLUSH: (_flush, "flush failed"),
    Command.TRIM: (_trim, "discard failed"),
    Command.CACHE: (_cache, "caching data failed"),
    Command.WRITE_ZEROES: (_write_zeroes, "writing to file failed"),
    Command.BLOCK_STATUS: (_block_status, "can't get block status"),
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
