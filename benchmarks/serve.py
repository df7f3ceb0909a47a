"""A server for :mod:`benchmarks.commands`: ``python -m benchmarks.serve PATH`` until somebody says ``quit``."""

from __future__ import annotations

import asyncio
import sys

from benchmarks.startup import ready_machine
from qbitsim.serving.server import Server


async def serve(path: str) -> None:
    """Serve a machine with a disk and a bitmap on a UNIX socket."""
    server = Server(ready_machine(), trim_events=True)
    await server.listen_unix(path)
    await server.run()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
