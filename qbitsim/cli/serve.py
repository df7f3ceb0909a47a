"""``qbitsim serve``: QMP monitors for other processes and a page for people, until somebody says quit.

Once it listens, one line per address says so, with the port that was found. The lines go to stdout, or to stderr if a
monitor talks on stdout. What QEMU would print on its own, such as the results of ``qemu-io``, goes there, too.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, TextIO

from qbitsim.cli.arguments import apply_settings
from qbitsim.cli.errors import FAILED, CliError
from qbitsim.history.file import dumps
from qbitsim.machine import Machine
from qbitsim.qmp.pacing import check_pacing
from qbitsim.qmp.server import Server
from qbitsim.qmp.stdio import attach_stdio

if TYPE_CHECKING:
    from qbitsim.history.history import History
    from qbitsim.web.site import Site


@dataclass(frozen=True, slots=True)
class Address:
    """Where a monitor is, or the page.

    :ivar kind: ``unix``, ``tcp`` or ``stdio``, or ``web``; :ivar place: the path or the host; :ivar port: of ``tcp``
        and ``web``.
    """

    kind: Literal["unix", "tcp", "stdio", "web"]
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
    if kind == "tcp" and (place := _host_and_port(rest)) is not None:
        return Address("tcp", *place)
    raise CliError(f"--qmp {text!r}: write unix:PATH, tcp:HOST:PORT or stdio")


def parse_web_address(text: str) -> Address:
    """``HOST:PORT``; an IPv6 host may be in brackets.

    :raises CliError: it is none.
    """
    place = _host_and_port(text)
    if place is None:
        raise CliError(f"--web {text!r}: write HOST:PORT, such as 127.0.0.1:8080; port 0 is any that is free")
    return Address("web", *place)


def _host_and_port(text: str) -> tuple[str, int] | None:
    host, colon, port = text.rpartition(":")
    if colon and port.isascii() and port.isdecimal() and int(port) < 65536:
        return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)
    return None


def run(arguments: argparse.Namespace) -> int:
    """Serve, and return the exit status.

    :raises CliError: an address or a disk is wrong, or cannot be had.
    """
    addresses = _addresses(arguments)
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
    history = machine.watch("qbitsim serve") if arguments.web or arguments.history else None
    machine.journal = None  # what is said to it, it is told by its clients
    with _opened(arguments.history) as file:
        asyncio.run(_serve(machine, addresses, arguments.pacing, history, file))
    return 0


def _addresses(arguments: argparse.Namespace) -> list[Address]:
    """Where to listen.

    :raises CliError: nowhere, or an address is wrong; or the extra for the page is not installed.
    """
    if not arguments.qmp and not arguments.web:
        raise CliError("serve needs an address: --qmp unix:PATH, tcp:HOST:PORT or stdio, or --web HOST:PORT")
    addresses = [parse_address(text) for text in arguments.qmp]
    if sum(address.kind == "stdio" for address in addresses) > 1:
        raise CliError("--qmp stdio can be given only once")
    if arguments.web:
        addresses.append(parse_web_address(arguments.web))
        if find_spec("aiohttp") is None:
            raise CliError("--web needs the extra 'web': pip install 'qbitsim[web]'")
    return addresses


def _opened(name: str | None) -> AbstractContextManager[TextIO | None]:
    """The file for the history, if one is wanted: that it cannot be written is known before anybody is served.

    What is in it stays until there is something else to write.
    """
    if name is None:
        return nullcontext()
    if name == "-":
        raise CliError("--history -: write the name of a file; standard output tells the addresses")
    try:
        return open(name, "a", encoding="utf-8")
    except OSError as error:
        raise CliError(f"{name}: {error.strerror}") from None


def _write(file: TextIO, text: str) -> None:
    try:
        if file.seekable():
            file.truncate(0)
        file.write(text)
        file.flush()
    except OSError as error:
        raise CliError(f"{file.name}: {error.strerror}", FAILED) from None


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


async def _serve(
    machine: TalkingMachine, addresses: list[Address], pacing: str, history: History | None, file: TextIO | None
) -> None:
    """Serve until the end, and write all of the history to the file."""
    server = Server(machine, pacing=pacing, trim_events=True, journal=history)
    sites: list[Site] = []
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _on_signal, machine, server)
    try:
        for address in addresses:
            if address.kind != "web":
                machine.print(f"qbitsim: QMP ready on {await _listen(server, address)}\n")
            else:
                assert history is not None
                sites.append(await _open_site(server, machine, history, address, whole=file is not None))
    except CliError:
        server.stop()
        await server.run()
        raise
    try:
        await server.run()
    finally:
        for site in sites:
            await site.close()
        if file is not None and history is not None:
            _write(file, dumps(history.to_json()))


async def _open_site(
    server: Server, machine: TalkingMachine, history: History, address: Address, *, whole: bool
) -> Site:
    """Serve the page, and say where."""
    from qbitsim.web.feed import LONGEST  # noqa: PLC0415 - the extra is there
    from qbitsim.web.site import Site  # noqa: PLC0415

    control = machine.control is not None
    site = Site(server, machine, history, control=control, longest=None if whole else LONGEST)
    try:
        url = await site.listen(address.place, address.port)
    except OSError as error:
        raise CliError(error.strerror or str(error)) from None
    if not site.private:
        print("qbitsim: warning: others can look at the page, on whatever network reaches it", file=sys.stderr)
    machine.print(f"qbitsim: page ready on {url}\n")
    return site


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
