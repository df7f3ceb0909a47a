"""NBD clients in the process of the machine: the whole protocol, without a socket.

A test talks to a machine with a :class:`LocalClient`; another machine, whose driver ``nbd`` is the client, over a
:class:`LocalConnection`.

Each call sends a request and lets the machine go on until the answer is there, so that jobs, guests and other clients
have their turns meanwhile, as the machine's policy chooses. To have several requests in flight, or to step in between,
:meth:`LocalClient.start` sends one and returns at once.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from qbitsim.argument_types import Size
from qbitsim.errors import NbdError, NeverError, UnsupportedError
from qbitsim.nbd.client import ClientSession, Pending
from qbitsim.nbd.protocol import Command, CommandFlag, ExportFlag, Mode
from qbitsim.nbd.session import Session
from qbitsim.nearest import nearest
from qbitsim.sizes import parse_size

if TYPE_CHECKING:
    from qbitsim.engine.scheduler import Scheduler
    from qbitsim.nbd.contexts import Extent
    from qbitsim.nbd.exports import Exports

COMMANDS = {
    "read": Command.READ,
    "write": Command.WRITE,
    "flush": Command.FLUSH,
    "trim": Command.TRIM,
    "cache": Command.CACHE,
    "write-zeroes": Command.WRITE_ZEROES,
    "block-status": Command.BLOCK_STATUS,
}
"""What :meth:`LocalClient.start` can send."""


class LocalClient:
    """A client that is connected; made by :meth:`.Machine.connect_nbd`.

    :param mode: what to ask for at most: extended headers, structured replies, or nothing.
    :ivar session: the client's side of the conversation.
    """

    def __init__(self, exports: Exports, name: str, contexts: Iterable[str] = (), *, mode: Mode | None = None) -> None:
        wanted = list(contexts)
        self._exports = exports
        self._said: list[bytes] = []
        self._carrying = False
        self.session = ClientSession(self._say, name, wanted, mode=Mode.EXTENDED if mode is None else mode)
        self._server = Session(exports, self._carry)
        self._carry()
        missing = [each for each in wanted if each not in self.session.contexts.values()]
        if self.session.error is None and missing:
            self.close()
            raise NbdError(errno.EINVAL, f"the server knows no context {missing[0]!r} of {name!r}")
        if self.session.error is not None:
            self.close()
            raise self.session.error

    def __repr__(self) -> str:
        state = "connected" if self.connected else "gone"
        return f"<LocalClient {state}, {self.size} bytes, {self.flags!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Say goodbye."""
        self.close()

    # -- what there is

    @property
    def connected(self) -> bool:
        """Whether the connection lives."""
        return self.session.error is None and not self._server.ended

    @property
    def size(self) -> int:
        """Bytes of the export."""
        return self.session.size

    @property
    def flags(self) -> ExportFlag:
        """What can be done with it."""
        return self.session.flags

    @property
    def read_only(self) -> bool:
        """Whether nothing can be written."""
        return bool(self.flags & ExportFlag.READ_ONLY)

    # -- requests

    def read(self, offset: Size, length: Size) -> bytes:
        """Read ``length`` bytes at ``offset``; both may be texts such as ``"64k"``.

        :raises ValueError: one of them is no size.
        :raises NbdError: the server says so.
        :raises ConnectionError: the server has hung up.
        :raises NeverError: the machine is idle and there is no answer, for instance because a test holds it up.
        """
        return self.wait(self.start("read", offset, length))

    def write(self, offset: Size, data: bytes, *, fua: bool = False) -> None:
        """Write ``data`` at ``offset``.

        :param fua: and flush it.
        :raises OSError: as :meth:`read`.
        """
        self.wait(self.start("write", offset, len(data), CommandFlag.FUA if fua else 0, data))

    def write_zeroes(self, offset: Size, length: Size, *, no_hole: bool = False, fast: bool = False) -> None:
        """Make bytes zero.

        :param no_hole: keep them allocated; ``fast``: fail if that is not faster than a write.
        :raises OSError: as :meth:`read`.
        """
        flags = (CommandFlag.NO_HOLE if no_hole else 0) | (CommandFlag.FAST_ZERO if fast else 0)
        self.wait(self.start("write-zeroes", offset, length, flags))

    def trim(self, offset: Size, length: Size) -> None:
        """Say that bytes are not needed any more.

        :raises OSError: as :meth:`read`.
        """
        self.wait(self.start("trim", offset, length))

    def cache(self, offset: Size, length: Size) -> None:
        """Ask the server to read ahead.

        :raises OSError: as :meth:`read`.
        """
        self.wait(self.start("cache", offset, length))

    def flush(self) -> None:
        """Flush what was written.

        :raises OSError: as :meth:`read`.
        """
        self.wait(self.start("flush"))

    def block_status(self, offset: Size, length: Size, *, one: bool = False) -> dict[str, list[Extent]]:
        """What each context tells of ``length`` bytes at ``offset``: (length, flags) of each extent.

        :param one: one extent of each.
        :raises OSError: as :meth:`read`.
        """
        pending = self.start("block-status", offset, length, CommandFlag.REQ_ONE if one else 0)
        self.wait(pending)
        return pending.extents

    def extents(self, context: str) -> list[tuple[int, int, int]]:
        """What a context tells of the whole export: (offset, length, flags) of each extent, joined if alike.

        :param context: one of those with which the client was connected.
        :raises OSError: as :meth:`read`.
        """
        found: list[tuple[int, int, int]] = []
        place, longest = 0, (1 << 32) - 512 if self.session.mode is not Mode.EXTENDED else self.size
        while place < self.size:
            for length, flags in self.block_status(place, min(longest, self.size - place))[context]:
                if found and found[-1][2] == flags:
                    found[-1] = found[-1][0], found[-1][1] + length, flags
                else:
                    found.append((place, length, flags))
                place += length
        return found

    def start(self, command: str, offset: Size = 0, length: Size = 0, flags: int = 0, data: bytes = b"") -> Pending:
        """Send a request and return at once; the machine answers as it goes on.

        :param command: of :data:`COMMANDS`.
        :raises ValueError: there is no such command, or the offset or length is no size.
        :raises ConnectionError: the server has hung up.
        """
        if command not in COMMANDS:
            raise ValueError(f"unknown command {command!r}{nearest(command, COMMANDS)}")
        place, size = parse_size(offset, "offset"), parse_size(length, "length")
        return self.session.request(COMMANDS[command], place, size, flags, data)

    def wait(self, pending: Pending) -> bytes:
        """Let the machine go on until the request is answered; what was read.

        :raises OSError: as :meth:`read`.
        """
        while not pending.done:
            if not _go_on(self._exports.scheduler):
                raise NeverError(f"the machine is idle, and there is no answer: {pending!r}")
        return pending.result()

    def close(self) -> None:
        """Say goodbye and go."""
        if self.connected and self.session.ready:
            self.session.request(Command.DISC)
        self._server.hang_up()

    def _say(self, data: bytes) -> None:
        """The client has something to say."""
        self._said.append(data)
        self._carry()

    def _carry(self) -> None:
        """Bring to each side what the other one has said, until nobody has anything to say."""
        if self._carrying:
            return
        self._carrying = True
        while (heard := self._server.take()) or self._said:
            for part in heard:
                self.session.receive(part)
            said, self._said = self._said, []
            for part in said:
                self._server.receive(part)
        self._carrying = False
        if self._server.ended:
            self.session.fail(ConnectionResetError(errno.ECONNRESET, "the NBD server has hung up"))


class LocalConnection:
    """The end of a connection that a client in the same process holds (:class:`.Connection`).

    While the client waits for an answer, the machine of the server goes on.

    :param exports: the server.
    """

    def __init__(self, exports: Exports) -> None:
        self._scheduler = exports.scheduler
        self._server = Session(exports)

    @property
    def is_open(self) -> bool:
        """Whether the server has not hung up."""
        return not self._server.ended

    def send(self, data: bytes) -> None:
        """Let the server have it.

        :raises ConnectionResetError: it has hung up.
        """
        if self._server.ended:
            raise ConnectionResetError(errno.ECONNRESET, "the NBD server has hung up")
        self._server.receive(data)

    def receive(self) -> bytes:
        """What the server says next; empty if it has hung up.

        :raises UnsupportedError: it says nothing, and nothing that could come to pass makes it; a test holds it up.
        """
        while not (heard := b"".join(self._server.take())):
            if self._server.ended:
                return b""
            if not _go_on(self._scheduler):
                raise UnsupportedError("the wait for an NBD server that does not answer")
        return heard

    def close(self) -> None:
        """Hang up."""
        self._server.hang_up()


def accept(exports: Exports, client: object) -> LocalConnection | None:
    """Let a client of this process connect to a server; None if that goes over sockets.

    :param client: the graph that the client belongs to.
    :raises UnsupportedError: it is the server's own, or there is no room for it.
    """
    if client is exports.graph:
        raise UnsupportedError("an NBD client of the machine's own server: real QEMU hangs")
    if exports.host is not None:
        return None
    if not exports.accepting:
        raise UnsupportedError("the wait for an NBD server that has all the clients it takes")
    return LocalConnection(exports)


def _go_on(scheduler: Scheduler) -> bool:
    """Let a machine do the next thing, in its time; False if there is nothing to do."""
    if scheduler.step():
        return True
    deadline = scheduler.next_deadline
    if deadline is None:
        return False
    scheduler.move_clock(deadline)
    return True
