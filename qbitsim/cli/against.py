"""``qbitsim play --against``: a recorded scenario on a QMP server that runs, and the first difference."""

from __future__ import annotations

import argparse
import socket
import time

from qbitsim.cli.serve import Address, parse_address
from qbitsim.scenario.player import ScenarioError
from qbitsim.scenario.replayer import Replayer, check, first_difference
from qbitsim.serving.addresses import connect, connect_tcp
from qbitsim.terminal.errors import FAILED, CliError
from qbitsim.terminal.streams import show


def address_of(option: str, text: str) -> Address:
    """The address in the value of an option, on which a client and a server can meet.

    :raises CliError: it is none.
    """
    try:
        address = parse_address(text)
    except CliError:
        address = None
    if address is None or address.kind == "stdio":
        raise CliError(f"{option} {text!r}: write unix:PATH or tcp:HOST:PORT")
    return address


class SocketChannel:
    """A connection to a QMP server.

    :raises OSError: nobody listens there.
    """

    def __init__(self, address: Address) -> None:
        if address.kind == "unix":
            self._socket = socket.socket(socket.AF_UNIX)
            connect(self._socket, address.place)
        else:
            self._socket = connect_tcp(address.place, address.port)

    def send(self, data: bytes) -> None:
        """Send all of it."""
        self._socket.sendall(data)

    def receive(self, seconds: float) -> bytes:
        """Some bytes; none if the server has hung up."""
        self._socket.settimeout(seconds)
        try:
            return self._socket.recv(1 << 16)
        except ConnectionResetError:
            return b""
        finally:
            self._socket.settimeout(None)

    def fileno(self) -> int:
        """The number of its file, for those who wait for several."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def replay(arguments: argparse.Namespace, name: str, value: object) -> int:
    """Replay, show the first difference and return the exit status.

    :raises CliError: the scenario cannot be replayed, or nobody listens at the address.
    """
    address = address_of("--against", arguments.against)
    if not arguments.patience > 0:
        raise CliError(f"--patience {arguments.patience}: it must be more than 0 seconds")
    try:
        check(value)
        assert isinstance(value, dict)
        records = Replayer(lambda: SocketChannel(address), time, arguments.patience).replay(value)
    except ScenarioError as error:
        raise CliError(f"{name}: {error}") from None
    except OSError as error:
        raise CliError(f"--against {arguments.against}: {error.strerror or error}") from None
    difference = first_difference(value, records, strict=arguments.strict)
    if difference is not None:
        show(difference)
        return FAILED
    show(f"{len(value['steps'])} steps, no difference")
    return 0
