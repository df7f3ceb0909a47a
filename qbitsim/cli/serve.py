"""``qbitsim serve``: QMP monitors for other processes, until somebody says quit.

Once it listens, one line per address says so, with the port that was found. The lines go to stdout, or to stderr if a
monitor talks on stdout. What QEMU would print on its own, such as the results of ``qemu-io``, goes there, too.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from dataclasses import dataclass
from typing import Literal, TextIO

from qbitsim.cli.arguments import apply_settings
from qbitsim.cli.errors import CliError
from qbitsim.machine import Machine
from qbitsim.qmp.pacing import check_pacing
from qbitsim.qmp.server import Server
from qbitsim.qmp.stdio import attach_stdio


@dataclass(frozen=True, slots=True)
class Address:
    """Where a monitor is.

    :ivar kind: ``unix``, ``tcp`` or ``stdio``; :ivar place: the path or the host; :ivar port: of ``tcp``.
    """

    kind: Literal["unix", "tcp", "stdio"]
    place: str = ""
    port: int = 0


def parse_address(text: str) -> Address:
    """``unix:PATH``, ``tcp:HOST:PORT`` or ``stdio``; an IPv6 host may be in brackets.

    :raises CliError: it is none of these.
    """
    kind, _, rest = text.partition(":")
    if text == "stdio":
        return Address("stdio")
    if kind == "unix" and rest:
        return Address("unix", rest)
    if kind == "tcp":
        host, colon, port = rest.rpartition(":")
        if colon and port.isdecimal() and int(port) < 65536:
            return Address("tcp", host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port))
    raise CliError(f"--qmp {text!r}: write unix:PATH, tcp:HOST:PORT or stdio")


def run(arguments: argparse.Namespace) -> int:
    """Serve, and return the exit status.

    :raises CliError: an address or a disk is wrong, or cannot be had.
    """
    if not arguments.qmp:
        raise CliError("serve needs an address: --qmp unix:PATH, tcp:HOST:PORT or stdio")
    addresses = [parse_address(text) for text in arguments.qmp]
    if sum(address.kind == "stdio" for address in addresses) > 1:
        raise CliError("--qmp stdio can be given only once")
    try:
        check_pacing(arguments.pacing)
    except ValueError as error:
        raise CliError(f"--pacing: {error}") from None
    machine = TalkingMachine(
        arguments.profile, epoch=int(time.time()), running=not arguments.stopped, control=arguments.control
    )
    if any(address.kind == "stdio" for address in addresses):
        machine.out = sys.stderr
    apply_settings(machine, arguments)
    asyncio.run(_serve(machine, addresses, arguments.pacing))
    return 0


class TalkingMachine(Machine):
    """A machine that prints at once, as QEMU does.

    :ivar out: where to; None once nobody reads it any more.
    """

    __slots__ = ("out",)

    def __init__(self, profile: str, *, epoch: int, running: bool, control: bool = False) -> None:
        super().__init__(profile, epoch=epoch, running=running, control=control)
        self.out: TextIO | None = sys.stdout

    def print(self, text: str) -> None:
        """Print, unless the reader has gone."""
        if self.out is not None and text:
            try:
                self.out.write(text)
                self.out.flush()
            except BrokenPipeError:
                self.out = None


async def _serve(machine: TalkingMachine, addresses: list[Address], pacing: str) -> None:
    server = Server(machine, pacing=pacing, trim_events=True)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, machine, server)
    try:
        for address in addresses:
            machine.print(f"qbitsim: QMP ready on {await _listen(server, address)}\n")
    except CliError:
        server.stop()
        await server.run()
        raise
    await server.run()


async def _listen(server: Server, address: Address) -> str:
    """Listen, and return the address as clients may use it."""
    if address.kind == "stdio" and sys.stdin is None:
        raise CliError("there is no standard input")
    try:
        if address.kind == "unix":
            await server.listen_unix(address.place)
            return f"unix:{address.place}"
        if address.kind == "tcp":
            port = await server.listen_tcp(address.place, address.port)
            return f"tcp:{address.place}:{port}"
        await attach_stdio(server, sys.stdin.buffer, sys.stdout.buffer)
    except OSError as error:
        raise CliError(error.strerror or str(error)) from None
    return "stdio"


def _on_signal(machine: Machine, server: Server) -> None:
    """End as QEMU does on a signal: clients hear SHUTDOWN, images are closed."""
    machine.shut_down("host-signal")
    server.stop()
