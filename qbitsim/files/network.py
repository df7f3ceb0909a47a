"""Where servers are found: the sockets of the host that image files and machines are on.

A driver or program that is a client names an address; what connects it is the :class:`Network` of the image store. In
one process servers are found by the addresses at which they listen, without sockets. Where real sockets are wanted,
because a program or a served machine asks for them, :class:`qbitsim.serving.socket_network.SocketNetwork` takes its
place.
"""

from __future__ import annotations

import errno
import os

from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol, TypeAlias
else:
    Protocol = object


@record
class UnixAddress:
    """A Unix domain socket.

    :ivar path: of the file, or the name of an abstract one.
    :ivar tight: an abstract name is not filled up with zero bytes.
    """

    path: str
    abstract: bool = False
    tight: bool = True

    def __str__(self) -> str:
        return self.path


@record
class InetAddress:
    """A TCP address; both parts are texts, as in QAPI, for the port may be the name of a service."""

    host: str
    port: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


Address: TypeAlias = UnixAddress | InetAddress


class Connection(Protocol):
    """A stream of bytes to a server and back."""

    def send(self, data: bytes) -> None:
        """Say something.

        :raises OSError: the connection is broken.
        """

    def receive(self) -> bytes:
        """What the server says next; empty if it has hung up.

        :raises OSError: the connection is broken.
        """

    @property
    def is_open(self) -> bool:
        """Whether nothing says that the server has hung up; nobody is waited for."""

    def close(self) -> None:
        """Hang up."""


class Network:
    """The servers of one process, by the addresses at which they listen.

    A copy of what it belongs to shares it: servers are other people's.

    :param before: another network, whose servers this one has, too.
    """

    def __init__(self, before: Network | None = None) -> None:
        self._servers: dict[Address, Callable[[object], Connection | None]]
        self._servers = before._servers if before is not None else {}  # noqa: SLF001 - of another of its kind

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        return self

    def listen(self, address: Address, accept: Callable[[object], Connection | None]) -> None:
        """Let clients that connect to ``address`` be handed to ``accept``, in place of who listened there.

        :param accept: called with who connects (see :meth:`connect`), which gives the client's end; None if the server
            has to be looked for on sockets.
        """
        self._servers[address] = accept

    def forget(self, address: Address) -> None:
        """Nobody listens there any more, if anybody did."""
        self._servers.pop(address, None)

    def connect(self, address: Address, client: object = None) -> Connection:
        """Connect to the server at ``address``.

        :param client: the graph that the client belongs to, or None.
        :raises OSError: there is none; ``strerror`` is what QEMU says, with the address (util/qemu-sockets.c, 10.0).
        :raises UnsupportedError: it is the client's own machine.
        """
        connection = self._find(address, client)
        if connection is None:
            number = errno.ENOENT if isinstance(address, UnixAddress) else errno.ECONNREFUSED
            raise failed(address, number)
        return connection

    def _find(self, address: Address, client: object) -> Connection | None:
        """A connection to a server of this process, or None."""
        accept = self._servers.get(address)
        return accept(client) if accept is not None else None

    def wait(self, seconds: float) -> bool:
        """Let time pass before the next attempt; False if none can pass, because all time here is virtual."""
        del seconds
        return False


def failed(address: Address, number: int) -> OSError:
    """The refusal of a connection, in QEMU's words."""
    return OSError(number, f"Failed to connect to '{address}': {os.strerror(number)}")
