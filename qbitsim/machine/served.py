"""Putting a machine where a client can reach it, and keeping what was said to it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from qbitsim.machine.machine import Machine
    from qbitsim.qmp.control import Control
    from qbitsim.qmp.journal import Journal
    from qbitsim.serving.threads import AsyncServer, LoopThread, ThreadServer

_LOCALHOST = "127.0.0.1"


class Served:
    """The part of a machine that has monitors.

    :ivar journal: keeps the end of the conversation, if there is one. A snapshot neither has it nor puts it back.
    :ivar control: what control commands keep, if they are allowed; a snapshot does not have it, either.
    """

    __slots__ = ("control", "journal")

    control: Control | None
    journal: Journal | None

    def serve(
        self,
        path: str | Path | None = None,
        *,
        port: int | None = None,
        host: str = _LOCALHOST,
        pacing: str | None = None,
        thread: LoopThread | None = None,
    ) -> ThreadServer:
        """A server in a thread, for synchronous code: ``with machine.serve() as server: connect(server.path)``.

        :param path: of its UNIX socket; one in a private directory if neither it nor ``port`` is given.
        :param port: of TCP, 0 for any that is free; ``host``: the address to listen on.
        :param pacing: ``"realtime"``, ``"realtime:10"`` (ten times as fast), ``"immediate"`` or ``"manual"``; if not
            given, the machine's own if that is ``"immediate"``, else ``"realtime"``.
        :param thread: one to use instead of the thread that all servers share.
        :raises ValueError: for an unknown pacing, or both a path and a port.

        See :mod:`qbitsim.serving.threads` for whose the machine is meanwhile.
        """
        from qbitsim.serving.threads import ThreadServer  # noqa: PLC0415 - asyncio is for those who want it

        return ThreadServer(cast("Machine", self), path, port=port, host=host, pacing=pacing, thread=thread)

    def serve_async(
        self,
        path: str | Path | None = None,
        *,
        port: int | None = None,
        host: str = _LOCALHOST,
        pacing: str | None = None,
    ) -> AsyncServer:
        """A server in the running event loop: ``async with machine.serve_async() as server:``.

        The rest is as for :meth:`serve`.
        """
        from qbitsim.serving.threads import AsyncServer  # noqa: PLC0415 - asyncio is for those who want it

        return AsyncServer(cast("Machine", self), path, port=port, host=host, pacing=pacing)
