"""What QEMU's own tests drive a guest with (system/qtest.c, QEMU 10.0).

Here that is its clock alone, which follows the wall anyway.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qbitsim.serving.chardev import OpenChardev
    from qbitsim.serving.server import Server


class _Qtest(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server = server
        self._received = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, self._received = (self._received + data).split(b"\n")
        assert self._transport is not None
        for each in lines:
            self._transport.write(self._answer(each.decode(errors="replace").split()))

    def _answer(self, words: list[str]) -> bytes:
        if words[:1] in (["clock_step"], ["clock_set"]):
            return b"OK %d\n" % self._server.machine.clock()
        return b"FAIL Unknown command '%s'\n" % " ".join(words[:1]).encode()


async def attach_qtest(server: Server, device: OpenChardev) -> None:
    """Answer a test that drives the guest."""
    if device.connected is not None:
        loop = asyncio.get_running_loop()
        await loop.connect_accepted_socket(lambda: _Qtest(server), device.connected)
