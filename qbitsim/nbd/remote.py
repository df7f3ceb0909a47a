"""An export of another machine, or of another program, as one client at a time sees it.

Theory of operation: each request is sent, and the answer is waited for; nothing else is in flight. When the connection
breaks, the request that notices fails with EIO, and the next one begins to connect again and fails too, unless
``reconnect-delay`` says that requests wait for that (nbd_client_connecting(), block/nbd.c, QEMU 10.0). A request of a
job that makes it again later fails if the server is not there at once. After an answer
that breaks the rules of the protocol nobody connects again, and all requests fail.
"""

from __future__ import annotations

import copy
import errno
from typing import TYPE_CHECKING, Any, Protocol

from qbitsim.block.limits import Limits
from qbitsim.block.status import Status
from qbitsim.errors import QmpError
from qbitsim.files.failures import io_error
from qbitsim.nbd.client import ClientSession, Pending
from qbitsim.nbd.negotiation import RefusedError
from qbitsim.nbd.protocol import (
    MAXIMUM_PAYLOAD,
    STATE_HOLE,
    STATE_ZERO,
    Command,
    CommandFlag,
    ExportFlag,
    Mode,
)
from qbitsim.records import record
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from qbitsim.files.network import Address, Connection, Network

BASE_ALLOCATION = "base:allocation"
ALLOCATION_DEPTH = "qemu:allocation-depth"

_INT_MAX = (1 << 31) - 1
_LONGEST_WAIT = 16
"""Seconds between two attempts to connect, at most (client-connection.c, QEMU 10.0)."""


@record
class Wanted:
    """What a client wants of a server.

    :ivar export: its name.
    :ivar context: the metadata context that stands for what is allocated (``x-dirty-bitmap``), None for that itself.
    :ivar reconnect_delay: seconds for which requests wait when the connection is broken.
    :ivar open_timeout: seconds for which the first attempt to connect is repeated.
    :ivar mode: what to ask for at most: extended headers, structured replies, or nothing.
    """

    address: Address
    export: str = ""
    context: str | None = None
    reconnect_delay: int = 0
    open_timeout: int = 0
    mode: Mode = Mode.EXTENDED


class Client(Protocol):
    """Who makes the requests.

    :ivar caller_waits: whoever makes one now waits by himself for a server that is away.
    """

    caller_waits: bool


class RemoteExport:
    """A connection to an export; offsets and lengths are bytes.

    :param client: the graph that uses it, or None.
    :ivar size: bytes, rounded up to sectors; behind what the server has, they read as zeroes.
    :raises QmpError: the server cannot be reached, or refuses, in QEMU's words.
    """

    def __init__(self, network: Network, wanted: Wanted, client: Client | None = None) -> None:
        self.wanted = wanted
        self._network = network
        self._client = client
        self._connection: Connection | None = None
        self._connecting = False
        self._given_up = False
        self._waits_to_connect = False  # a copy that nobody has asked for anything
        self._context = wanted.context or BASE_ALLOCATION
        self._session = self._connect_patiently(wanted.open_timeout)
        self.size = -(-self._session.size // SECTOR) * SECTOR

    def __repr__(self) -> str:
        return f"<RemoteExport {self.wanted.export!r} at {self.wanted.address}, {self.size} bytes>"

    def __deepcopy__(self, memo: dict[int, Any]) -> RemoteExport:
        """One that connects with its first request: the server, and this connection to it, are no part of a copy."""
        twin = copy.copy(self)
        vars(twin).update(
            _client=copy.deepcopy(self._client, memo), _connection=None, _waits_to_connect=self.is_connected
        )
        return twin

    # -- what there is

    @property
    def flags(self) -> ExportFlag:
        """What can be done with it."""
        return self._session.flags

    @property
    def read_only(self) -> bool:
        """Whether the server lets nobody write."""
        return bool(self.flags & ExportFlag.READ_ONLY)

    @property
    def zeroes(self) -> bool:
        """Whether the server takes zero-writes."""
        return bool(self.flags & ExportFlag.SEND_WRITE_ZEROES)

    @property
    def knows_context(self) -> bool:
        """Whether the server tells of the context that was asked for."""
        return bool(self._session.contexts)

    @property
    def limits(self) -> Limits:
        """What the server asks of requests (nbd_refresh_limits(), block/nbd.c, QEMU 10.0)."""
        least, best, _ = self._session.block_sizes
        unlimited = self._session.mode is Mode.EXTENDED
        return Limits(
            request=least,
            best_transfer=best,
            most_transfer=self._longest,
            most_zeroes=0 if unlimited else self._longest,
            most_discard=0 if unlimited else self._longest_trim,
        )

    @property
    def _longest_trim(self) -> int:
        return _INT_MAX - _INT_MAX % self._session.block_sizes[0]

    @property
    def _longest(self) -> int:
        return min(MAXIMUM_PAYLOAD, self._session.block_sizes[2])

    @property
    def is_connected(self) -> bool:
        """Whether nothing says that the server has gone."""
        if self._waits_to_connect:
            return True
        return self._connection is not None and self._connection.is_open and self._session.error is None

    # -- requests

    def read(self, offset: int, length: int) -> bytes:
        """*length* bytes from *offset* on.

        :raises OSError: as the server says, or EIO if it has gone.
        """
        inside = max(0, min(offset + length, self._session.size) - offset)
        parts = [
            self._request(Command.READ, place, min(self._longest, offset + inside - place)).result()
            for place in range(offset, offset + inside, self._longest)
        ]
        found = parts[0] if len(parts) == 1 else b"".join(parts)
        return found if inside == length else found.ljust(length, b"\0")

    def write(self, offset: int, data: bytes) -> None:
        """Write *data*.

        :raises OSError: as :meth:`read`.
        """
        for start in range(0, len(data), self._longest):
            part = data[start : start + self._longest]
            self._request(Command.WRITE, offset + start, len(part), data=part).result()

    def write_zeroes(self, offset: int, length: int, *, unmap: bool = False, fast: bool = False) -> None:
        """Make bytes zero.

        :param unmap: they may become a hole; ``fast``: fail where that is not faster than writing them.
        :raises OSError: as :meth:`read`; ENOTSUP if the server cannot do that.
        """
        needed = ExportFlag.SEND_WRITE_ZEROES | (ExportFlag.SEND_FAST_ZERO if fast else 0)
        if self.flags & needed != needed:
            raise io_error(errno.ENOTSUP)
        flags = (0 if unmap else CommandFlag.NO_HOLE) | (CommandFlag.FAST_ZERO if fast else 0)
        self._in_pieces(Command.WRITE_ZEROES, offset, length, self._longest, flags)

    def trim(self, offset: int, length: int) -> None:
        """Say that bytes are not needed any more; nothing happens if the server does not want to know.

        :raises OSError: as :meth:`read`.
        """
        if self.flags & ExportFlag.SEND_TRIM:
            self._in_pieces(Command.TRIM, offset, length, self._longest_trim, 0)

    def flush(self) -> None:
        """Let the server flush.

        :raises OSError: as :meth:`read`.
        """
        if self.flags & ExportFlag.SEND_FLUSH:
            self._request(Command.FLUSH, 0, 0).result()

    def status(self, offset: int, length: int) -> Status:
        """What the server tells of the range (nbd_client_co_block_status()).

        The flags of another context than ``base:allocation`` stand in the place of its own: a dirty range is a hole.

        :raises OSError: as :meth:`read`.
        """
        if not self.knows_context:
            return Status(length, data=True)
        if offset >= self._session.size:
            return Status(length, zero=True)
        length = min(length, self._session.size - offset)
        if self._session.mode is not Mode.EXTENDED:
            length = min(length, self._longest_trim)
        pending = self._request(Command.BLOCK_STATUS, offset, length, CommandFlag.REQ_ONE)
        pending.result()
        extents = list(next(iter(pending.extents.values()), ()))
        if not extents or not extents[0][0]:
            raise OSError(errno.EIO, "the NBD server tells of no extent")
        found, flags = extents[0]
        if self.wanted.context == ALLOCATION_DEPTH and flags > STATE_ZERO:
            flags = STATE_ZERO  # nbd_parse_blockstatus_payload(), block/nbd.c, QEMU 10.0
        return Status(min(found, length), data=not flags & STATE_HOLE, zero=bool(flags & STATE_ZERO))

    def _in_pieces(self, command: Command, offset: int, length: int, longest: int, flags: int) -> None:
        """Send a request without data; a server with extended headers takes it whole."""
        step = length if self._session.mode is Mode.EXTENDED else longest
        for place in range(offset, offset + length, step or 1):
            self._request(command, place, min(step, offset + length - place), flags).result()

    def _request(self, command: Command, offset: int, length: int, flags: int = 0, data: bytes = b"") -> Pending:
        """Send a request and wait for the answer.

        :raises OSError: EIO, the connection is broken.
        """
        while True:
            self._need_connection()
            pending = self._try(command, offset, length, flags, data)
            if pending is not None:
                return pending
            self._lose()
            if self._given_up or not self.wanted.reconnect_delay:
                raise _broken()

    def _try(self, command: Command, offset: int, length: int, flags: int, data: bytes) -> Pending | None:
        """Send a request and wait for the answer; None if the connection is broken."""
        assert self._connection is not None
        try:
            pending = self._session.request(command, offset, length, flags, data)
        except OSError:
            return None
        self._session.hear(self._connection.receive, lambda: pending.done)
        return pending if self._session.error is None else None

    @property
    def _caller_waits(self) -> bool:
        return self._client is not None and self._client.caller_waits

    # -- the connection

    def stop_waiting(self) -> None:
        """The server has gone; requests fail until one finds it there again."""
        if self._connection is not None:
            self._lose()
        self._connecting = True

    def close(self) -> None:
        """Say goodbye and go."""
        if self._connection is not None:
            self._say_goodbye(self._connection)
            self._connection.close()
            self._connection = None

    def _say_goodbye(self, connection: Connection) -> None:
        if self._session.ready and self._session.error is None and connection.is_open:
            try:
                self._session.request(Command.DISC)
            except OSError:
                return  # it went before

    def _lose(self) -> None:
        """The connection is broken; if the server broke the rules, for ever."""
        assert self._connection is not None
        self._given_up = self._session.error is not None and not isinstance(self._session.error, ConnectionError)
        self._connection.close()
        self._connection = None
        self._connecting = False

    def _need_connection(self) -> None:
        """Connect again, if need be.

        :raises OSError: EIO, there is no connection.
        """
        if self._connection is not None:
            return
        if self._given_up:
            raise _broken()
        if self._waits_to_connect:
            self._waits_to_connect, self._connecting = False, True
        if not self.wanted.reconnect_delay and not self._connecting:
            self._connecting = True  # from now on, and this request does not wait for it
            raise _broken()
        patience = 0 if self._connecting or self._caller_waits else self.wanted.reconnect_delay
        try:
            self._session = self._connect_patiently(patience)
        except QmpError:
            self._connecting |= not self._caller_waits
            raise _broken() from None
        self._connecting = False

    def _connect_patiently(self, seconds: float) -> ClientSession:
        """Connect, again and again for so many seconds, after one second, two, four and so on.

        :raises QmpError: the last attempt has failed, or one in a way that time does not heal.
        """
        pause, left = 1.0, float(seconds)
        while True:
            try:
                return self._connect()
            except QmpError:
                rest = min(pause, left)
                if rest <= 0 or not self._network.wait(rest):
                    raise
                left -= rest
                pause = min(pause * 2, _LONGEST_WAIT)

    def _connect(self) -> ClientSession:
        """Connect and shake hands.

        :raises QmpError: the server cannot be reached, or refuses.
        """
        try:
            connection = self._network.connect(self.wanted.address, self._client)
        except OSError as error:
            raise QmpError(error.strerror or str(error)) from None
        session = ClientSession(connection.send, self.wanted.export, [self._context], mode=self.wanted.mode)
        session.hear(connection.receive, lambda: session.ready)
        if session.error is not None:
            connection.close()
            raise _refusal(session.error)
        self._connection = connection
        return session


def _broken() -> OSError:
    return io_error(errno.EIO)


def _refusal(error: OSError) -> QmpError:
    """Why a handshake has failed, in QEMU's words."""
    if isinstance(error, RefusedError):
        return QmpError(error.summary, hint=error.hint)
    return QmpError(str(error.strerror))
