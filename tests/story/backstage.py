"""The other process: serves a machine on a UNIX socket, and does backstage what no QMP client can.

Run as ``backstage.py PROFILE SOCKET``. Lines on standard input are JSON arrays, each answered by a line on standard
output: ``["shell", [...]]`` runs a command on the images, ``["limit", FILE, BYTES]`` and ``["break", FILE, OFFSET]``
make it fail. The first line, ``"ready"``, says that the socket is there.
"""

from __future__ import annotations

import asyncio
import errno
import json
import sys
from typing import Any

from qbitsim.machine.machine import Machine
from qbitsim.programs.shell import Shell
from qbitsim.serving.server import Server


def say(value: Any) -> None:
    print(json.dumps(value), flush=True)  # noqa: T201 - the answer


def obey(machine: Machine, order: list[Any]) -> Any:
    verb, *arguments = order
    if verb == "shell":
        return Shell(machine.images, machine.profile).run(*arguments)
    if verb == "limit":
        machine.limit_capacity(*arguments)
    else:
        assert verb == "break"
        file, offset = arguments
        machine.inject_error(file, "read", errno.EIO, offset, 1)
    return None


async def serve(profile: str, path: str) -> None:
    machine = Machine(profile)
    for name in ("drive0", "drive1"):
        machine.add_disk(name, "64M")
    server = Server(machine)
    await server.listen_unix(path)
    await server.listen_unix(f"{path}.2")
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)

    async def backstage() -> None:
        while line := await orders.readline():
            say(obey(machine, json.loads(line)))

    say("ready")
    serving, helping = asyncio.create_task(server.run()), asyncio.create_task(backstage())
    await asyncio.wait([serving, helping], return_when=asyncio.FIRST_COMPLETED)
    if not serving.done():
        helping.result()
        server.stop()
    await serving


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], sys.argv[2]))
