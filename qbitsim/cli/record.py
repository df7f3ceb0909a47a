"""``qbitsim record``: stands between clients and a QMP server, and writes down what they say.

Bytes are passed on as they come; what is written down is a copy. The scenario is written whenever a client has gone and
at the end, each time as a whole, so that it is never cut off.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from qbitsim.cli.against import address_of
from qbitsim.cli.serve import Address
from qbitsim.scenario.recorder import Recorder
from qbitsim.serving.sockets import bind_unix, remove_if_ours
from qbitsim.terminal.errors import CliError
from qbitsim.terminal.streams import show

_CHUNK = 1 << 16


def run(arguments: argparse.Namespace) -> int:
    """Record until a signal comes, and return the exit status.

    :raises CliError: an address or the output is wrong, or cannot be had.
    """
    listen, connect = (address_of(f"--{name}", getattr(arguments, name)) for name in ("listen", "connect"))
    if listen == connect:
        raise CliError("--listen and --connect are the same address")
    _check_socket(connect, arguments.connect)
    _check_output(arguments.output)
    proxy = Proxy(connect, arguments.output)
    asyncio.run(proxy.run(listen))
    return 0


def _check_socket(address: Address, text: str) -> None:
    """Refuse a path at which no server can be."""
    if address.kind != "unix":
        return
    try:
        mode = os.stat(address.place).st_mode
    except OSError as error:
        raise CliError(f"--connect {text}: {error.strerror}") from None
    if not stat.S_ISSOCK(mode):
        raise CliError(f"--connect {text}: it is not a socket")


def _check_output(file: str) -> None:
    folder = Path(file).parent
    if file != "-" and (Path(file).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK)):
        raise CliError(f"-o {file}: cannot write there")


class Proxy:
    """Passes bytes between clients and the server.

    :param server: where the server is.
    :param output: the file for the scenario, or ``-``.
    """

    def __init__(self, server: Address, output: str) -> None:
        self._server = server
        self._output = output
        self._recorder = Recorder(Path(output).stem if output != "-" else "recorded")
        self._finished = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, listen: Address) -> None:
        """Serve clients until a signal comes.

        :raises CliError: the address cannot be had.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._finished.set)
        listener, remove = await self._listen(listen)
        await self._finished.wait()
        listener.close()
        remove()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._recorder.close()
        self._write()
        if self._output == "-":
            show(self._text().rstrip("\n"))

    async def _listen(self, address: Address) -> tuple[asyncio.Server, Callable[[], None]]:
        """Listen, and say so with the address as clients may use it."""
        try:
            if address.kind == "unix":
                listener = await asyncio.start_unix_server(self._client, sock=bind_unix(address.place))
                remove = remove_if_ours(address.place)
                where = f"unix:{address.place}"
            else:
                listener = await asyncio.start_server(self._client, address.place, address.port)
                remove = _nothing
                where = f"tcp:{address.place}:{listener.sockets[0].getsockname()[1]}"
        except UnicodeError:
            raise CliError(f"--listen: {address.place}: Name or service not known") from None
        except OSError as error:
            raise CliError(f"--listen: {error.strerror or error}") from None
        print(f"qbitsim: recording on {where}", file=sys.stderr, flush=True)
        return listener, remove

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._converse(reader, writer)
        except asyncio.CancelledError:
            pass  # the recording ends; run() writes what there is
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if self._server.kind == "unix":
                upstream, up = await asyncio.open_unix_connection(self._server.place)
            else:
                upstream, up = await asyncio.open_connection(self._server.place, self._server.port)
        except OSError as error:
            print(f"qbitsim: --connect: {error.strerror or error}", file=sys.stderr, flush=True)
            return
        conversation = self._recorder.open(self._now())
        ended: list[str] = []
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(reader, up, conversation.sent, "client", ended))
                both.create_task(self._pass_on(upstream, writer, conversation.received, "server", ended))
        finally:
            up.close()
        conversation.closed(ended[0])
        self._write()

    async def _pass_on(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        note: Callable[[bytes, float], None],
        who: str,
        ended: list[str],
    ) -> None:
        """Pass on what one side says; a client that has ended its side still gets its replies."""
        try:
            while data := await source.read(_CHUNK):
                note(data, self._now())
                sink.write(data)
                await sink.drain()
            ended.append(who)
            if who == "client" and not sink.is_closing():
                sink.write_eof()
                return
        except ConnectionError:
            ended.append(who)
        sink.close()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _text(self) -> str:
        return json.dumps(self._recorder.scenario(), indent=1) + "\n"

    def _write(self) -> None:
        """Put the whole scenario in place of the one that was written before."""
        if self._output == "-":
            return
        temporary = Path(f"{self._output}.part")
        temporary.write_text(self._text(), encoding="utf-8")
        temporary.replace(self._output)


def _nothing() -> None:
    """There is no file to remove."""
