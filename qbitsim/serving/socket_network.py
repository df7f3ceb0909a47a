"""Servers on real sockets, for programs and served machines that are clients (:class:`.Network`)."""

from __future__ import annotations

import time

from qbitsim.files.network import Address, Connection, Network


class SocketNetwork(Network):
    """The sockets of the host. Servers of this process that listen without sockets are found first."""

    def connect(self, address: Address, client: object = None) -> Connection:
        """Connect a socket, unless a server of this process listens there without one."""
        connection = self._find(address, client)
        if connection is not None:
            return connection
        from qbitsim.serving import socket_connection  # noqa: PLC0415 - few programs are clients

        return socket_connection.connect(address)

    def wait(self, seconds: float) -> bool:
        """Let the time of the wall pass."""
        time.sleep(seconds)
        return True
