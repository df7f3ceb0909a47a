"""The HTTP server of a live machine, in the event loop of the server that drives the machine.

==================  ===================================================================================
``/``               the page
``/history``        the history as JSON; the header ``Qbitsim-Cursor`` says where the feed goes on
``/history.jsonl``  the history as a file for ``qbitsim report``
``/feed``           what happens from the cursor ``from`` on, as server-sent events
``/command``        POST: a QMP command, to which the body of the response is the reply
``/token``          is empty for those who may act; others are refused as by ``/command``
==================  ===================================================================================

The rules for requests are in :mod:`qbitsim.web.guard`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING

from aiohttp import web

from qbitsim.history import file as history_file
from qbitsim.jsontypes import Json
from qbitsim.report.page import page, policy
from qbitsim.web.feed import LONGEST, Feed
from qbitsim.web.guard import Guard, RefusedError
from qbitsim.web.monitor import PageMonitor, refusal

if TYPE_CHECKING:
    from qbitsim.history.history import History
    from qbitsim.machine.machine import Machine
    from qbitsim.serving.server import Server


MOST = 1 << 20
"""Bytes of a command at most."""
PATIENCE = 30.0
"""Seconds that a reader has for taking a message."""
_LAST_WORDS = 2.0
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Server": "qbitsim",
}
_NOTHING = "default-src 'none'; frame-ancestors 'none'"
_CURSOR = "Qbitsim-Cursor"
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Site:
    """The pages of one machine.

    :param history: in which the machine is watched.
    :param control: whether one may act.
    :param longest: moments after which the history begins anew; None keeps all of them.
    :ivar private: whether only this computer can reach it.
    """

    def __init__(
        self, server: Server, machine: Machine, history: History, *, control: bool, longest: int | None = LONGEST
    ) -> None:
        self.feed = Feed(history, longest)
        self._server = server
        self._machine = machine
        self._history = history
        self._control = control
        self._monitor = PageMonitor(server, machine, history)
        self.private = True
        self._guard = Guard("", control=control)
        self._runner: web.AppRunner | None = None

    async def listen(self, host: str, port: int) -> str:
        """Listen, and return the URL that opens the page; with the token, if one may act.

        :param port: 0 for any that is free.
        :raises OSError: the address is unknown or in use.
        """
        self._guard = Guard(host, control=self._control)
        bound = await _bind(host, port)
        self.private = ip_address(bound.getsockname()[0].partition("%")[0]).is_loopback
        self._runner = web.AppRunner(
            self._app(), access_log=None, logger=_logger(), handle_signals=False, shutdown_timeout=_LAST_WORDS
        )
        await self._runner.setup()
        await web.SockSite(self._runner, bound).start()
        place = f"[{host}]" if ":" in host else host
        token = f"#token={self._guard.token}" if self._control else ""
        return f"http://{place}:{bound.getsockname()[1]}/{token}"

    async def close(self) -> None:
        """Let the readers know that the machine has ended, and hang up."""
        self.feed.end()
        if self._runner is not None:
            await self._runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application(client_max_size=MOST, middlewares=[self._guarded])
        app.on_response_prepare.append(_add_headers)
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/history", self._whole),
                web.get("/history.jsonl", self._file),
                web.get("/feed", self._feed, allow_head=False),
                web.post("/command", self._command),
                web.get("/token", self._token, allow_head=False),
            ]
        )
        return app

    @web.middleware
    async def _guarded(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Let a request in, or say why not."""
        try:
            self._guard.check_host(request.headers.getall("Host", []))
            return await handler(request)
        except RefusedError as refused:
            headers = {"WWW-Authenticate": "Bearer"} if refused.status == 401 else {}
            return web.json_response(refusal(refused.text), status=refused.status, headers=headers)

    @contextmanager
    def _bugs_end_it(self) -> Iterator[None]:
        """What goes wrong inside is a bug of the machine, with which the server ends."""
        try:
            yield
        except Exception as bug:
            self._server.stop(bug)
            raise RefusedError(500, f"qbitsim has a bug and ends: {bug!r}") from bug

    # -- looking

    def _snapshot(self) -> tuple[Json, str]:
        """The history, and the cursor behind it."""
        with self._bugs_end_it():
            return self._history.to_json(), self.feed.cursor

    async def _page(self, request: web.Request) -> web.Response:
        document, cursor = self._snapshot()
        commands = sorted(command.name for command in self._machine.registry.commands()) if self._control else []
        live = {"control": self._control, "cursor": cursor, "commands": commands}
        text = await asyncio.to_thread(page, {"runs": [document], "difference": None, "live": live})
        headers = {"Content-Security-Policy": f"{policy(live=True)}; frame-ancestors 'none'"}
        return web.Response(text=text, content_type="text/html", headers=headers)

    async def _whole(self, request: web.Request) -> web.Response:
        document, cursor = self._snapshot()
        return await _large(json.dumps, document, "application/json", {_CURSOR: cursor})

    async def _file(self, request: web.Request) -> web.Response:
        document, _ = self._snapshot()
        headers = {"Content-Disposition": 'attachment; filename="history.jsonl"'}
        return await _large(history_file.dumps, document, "application/jsonl", headers)

    async def _feed(self, request: web.Request) -> web.StreamResponse:
        self._guard.check_origin(request.headers.get("Origin"), request.headers["Host"])
        cursor = request.query.get("from", "")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        try:
            async for message in self.feed.follow(cursor):
                await asyncio.wait_for(response.write(message.encode()), PATIENCE)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        except ConnectionError:
            pass  # the reader has gone
        return response

    # -- acting

    def _check_actor(self, request: web.Request) -> None:
        self._guard.check_origin(request.headers.get("Origin"), request.headers["Host"])
        self._guard.check_token(request.headers.get("Authorization"))

    async def _token(self, request: web.Request) -> web.Response:
        self._check_actor(request)
        return web.Response(status=204)

    async def _command(self, request: web.Request) -> web.Response:
        self._check_actor(request)
        try:
            text = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise RefusedError(413, f"a command has at most {MOST} bytes") from None
        except web.RequestPayloadError:
            raise RefusedError(400, "the body of the request is broken") from None
        with self._bugs_end_it():
            reply = await self._monitor.run(text)
        if reply is None:
            raise RefusedError(503, "QEMU has quit")
        return web.Response(body=reply, content_type="application/json")


async def _large(dumps: Callable[[Json], str], document: Json, kind: str, headers: dict[str, str]) -> web.Response:
    """A response that takes its time to be made."""
    response = web.Response(text=await asyncio.to_thread(dumps, document), content_type=kind, headers=headers)
    response.enable_compression()
    return response


def _logger() -> logging.Logger:
    """For what aiohttp has to say of requests that are no HTTP: it goes nowhere unless logging is set up for it."""
    logger = logging.getLogger("qbitsim.web")
    logger.addHandler(logging.NullHandler())
    return logger


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    for name, value in _HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Content-Security-Policy", _NOTHING)


async def _bind(host: str, port: int) -> socket.socket:
    """A socket on the first address that a host has.

    :raises OSError: the address is unknown or in use.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, address = found[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "this is no host name"
        raise OSError(getattr(error, "errno", None), f"cannot listen on {host}:{port}: {reason or error}") from None
    return bound
