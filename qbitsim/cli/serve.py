"""``qbitsim serve``: QMP monitors and NBD exports for other processes and a page for people, until somebody says quit.

Once it listens at all of its addresses, one line for each says so, with the port that was found. The lines go to
stdout, or to stderr if a monitor talks on stdout. What QEMU would print on its own, such as the results of ``qemu-io``,
goes there, too.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, TextIO

from qbitsim.cli.arguments import apply_settings
from qbitsim.cli.images import ending, image_store
from qbitsim.errors import QmpError
from qbitsim.history.file import dumps
from qbitsim.machine.talking import TalkingMachine
from qbitsim.serving import process
from qbitsim.serving.nbd_server import offer_disks
from qbitsim.serving.pacing import ServedPacing, read_pacing
from qbitsim.serving.server import Server
from qbitsim.serving.stdio import attach_stdio
from qbitsim.terminal.errors import FAILED, CliError

if TYPE_CHECKING:
    from qbitsim.history.history import History
    from qbitsim.machine.machine import Machine
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
        pacing = read_pacing(arguments.pacing)
    except ValueError as error:
        raise CliError(f"--pacing: {error}") from None
    machine = TalkingMachine(
        arguments.profile,
        images=image_store(arguments),
        epoch=int(time.time()),
        running=not arguments.stopped,
        control=arguments.control,
    )
    with ending(machine, arguments):
        if any(address.kind == "stdio" for address in addresses):
            machine.out = sys.stderr
        apply_settings(machine, arguments)
        history = machine.watch("qbitsim serve") if arguments.web or arguments.history else None
        machine.journal = None  # the sessions of its clients write it
        with _opened(arguments.history) as file:
            serving = _serve(machine, addresses, pacing, history, file, nbd=arguments.nbd)
            if not process.run(serving, machine.crash):
                raise CliError("told to end in the middle of a long command: it has ended as if it was killed", FAILED)
    return 0


def _addresses(arguments: argparse.Namespace) -> list[Address]:
    """Where to listen.

    :raises CliError: nowhere, or an address is wrong; or the extra for the page is not installed.
    """
    if not arguments.qmp and not arguments.web and not arguments.nbd:
        raise CliError(
            "serve needs an address: --qmp unix:PATH, tcp:HOST:PORT or stdio, --web HOST:PORT or --nbd ADDRESS"
        )
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


async def _serve(
    machine: TalkingMachine,
    addresses: list[Address],
    pacing: ServedPacing,
    history: History | None,
    file: TextIO | None,
    *,
    nbd: str | None,
) -> None:
    """Serve until the end, and write all of the history to the file."""
    server = Server(machine, pacing=pacing, trim_events=True, journal=history)
    site = _site(server, machine, history, whole=file is not None) if _web(addresses) else None
    loop = asyncio.get_running_loop()
    process.when_told_to_end(lambda: loop.call_soon_threadsafe(_on_signal, machine, server))
    _attach_nbd(server, machine, nbd)
    lines = await _open(server, site, addresses)
    lines += [f"NBD ready on {address}" for address in server.nbd.addresses]
    for line in lines:
        machine.print(f"qbitsim: {line}\n")
    if site is not None and not site.private:
        print("qbitsim: warning: others can look at the page, on whatever network reaches it", file=sys.stderr)
    try:
        await server.run()
    finally:
        if site is not None:
            await site.close()
        if file is not None and history is not None:
            _write(file, dumps(history.to_json()))


def _attach_nbd(server: Server, machine: Machine, address: str | None) -> None:
    """Let the NBD server listen when it is started, or at once if an address is given.

    :raises CliError: the address cannot be had.
    """
    server.nbd.attach()
    if address is not None:
        try:
            offer_disks(machine, address)
        except (ValueError, QmpError) as error:
            server.nbd.detach()
            raise CliError(f"--nbd: {error}") from None


def _web(addresses: list[Address]) -> bool:
    return any(address.kind == "web" for address in addresses)


def _site(server: Server, machine: Machine, history: History | None, *, whole: bool) -> Site:
    """The page, which nobody can look at yet."""
    from qbitsim.web.feed import LONGEST  # noqa: PLC0415 - the extra is there
    from qbitsim.web.site import Site  # noqa: PLC0415

    assert history is not None
    control = machine.control is not None
    return Site(server, machine, history, control=control, longest=None if whole else LONGEST)


async def _open(server: Server, site: Site | None, addresses: list[Address]) -> list[str]:
    """Listen at each address, and return a line for it.

    Standard input comes last, as what it says is answered at once.

    :raises CliError: one of them cannot be had; nobody is served then.
    """
    in_order = sorted(addresses, key=lambda address: address.kind == "stdio")
    try:
        return [await _listen(server, site, address) for address in in_order]
    except CliError:
        server.stop()
        await server.run()
        if site is not None:
            await site.close()
        raise


async def _listen(server: Server, site: Site | None, address: Address) -> str:
    """Listen, and return what is ready, with the address as clients may use it."""
    if address.kind == "stdio" and sys.stdin is None:
        raise CliError("there is no standard input")
    try:
        if address.kind == "web":
            assert site is not None
            return f"page ready on {await site.listen(address.place, address.port)}"
        if address.kind == "unix":
            await server.listen_unix(address.place)
            return f"QMP ready on unix:{address.place}"
        if address.kind == "tcp":
            port = await server.listen_tcp(address.place, address.port)
            return f"QMP ready on tcp:{address.place}:{port}"
        await attach_stdio(server, sys.stdin.buffer, sys.stdout.buffer)
    except OSError as error:
        raise CliError(error.strerror or str(error)) from None
    return "QMP ready on stdio"


def _on_signal(machine: Machine, server: Server) -> None:
    """End as QEMU does on a signal: clients hear SHUTDOWN, images are closed."""
    try:
        process.finish(lambda: machine.close("host-signal"))
    finally:
        server.stop()
