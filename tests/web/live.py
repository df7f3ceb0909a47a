"""A machine with a page, served in a thread, so that tests can be written one line after the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import aiohttp

from qbitsim import Machine
from qbitsim.history.history import History
from qbitsim.serving.server import Server
from qbitsim.serving.threads import LoopThread
from qbitsim.web.feed import LONGEST
from qbitsim.web.site import Site

_T = TypeVar("_T")


@dataclass(frozen=True)
class Answer:
    """What the server has answered."""

    status: int
    headers: Any
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


class Live:
    """The machine, and how to reach it.

    :ivar url: as people open it, with the token.
    """

    def __init__(
        self,
        *,
        control: bool = True,
        pacing: str = "manual",
        longest: int | None = LONGEST,
        host: str = "127.0.0.1",
        port: int = 0,
        disks: tuple[str, ...] = ("drive0",),
    ) -> None:
        self.machine = Machine(control=control)
        for name in disks:
            self.machine.add_disk(name, "4M", node_name=f"{name}-node")
        self.history: History = self.machine.watch("a live machine")
        self.machine.journal = None
        self._options = {"control": control, "longest": longest}
        self._pacing = pacing
        self._place = host, port

    def __enter__(self) -> Self:
        self.thread = LoopThread()
        self.thread.__enter__()
        self.thread.run(self._open())
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self.thread.run(self._close())
        finally:
            self.thread.__exit__(*error)

    async def _open(self) -> None:
        self.server = Server(self.machine, pacing=self._pacing, journal=self.history)
        self.site = Site(self.server, self.machine, self.history, **self._options)  # type: ignore[arg-type]
        self.url = await self.site.listen(*self._place)
        self.home, _, token = self.url.partition("#")
        self.token = token.removeprefix("token=")
        self.client = aiohttp.ClientSession()

    async def _close(self) -> None:
        await self.client.close()
        self.server.stop()
        try:
            await self.server.run()
        finally:
            await self.site.close()

    def leave(self) -> None:
        """Let the server go away, as if its process had been killed."""
        runner = self.site._runner
        assert runner is not None
        runner._shutdown_timeout = 0.01
        self.thread.run(runner.cleanup())

    def do(self, action: Callable[[Machine], _T]) -> _T:
        """Do something with the machine between two turns."""

        async def call() -> _T:
            return self.server.call(lambda: action(self.machine))

        return self.thread.run(call())

    def request(self, method: str, path: str, *, headers: dict[str, str] | None = None, data: Any = None) -> Answer:
        """Ask the server for something, with these headers beside the usual ones."""

        async def ask() -> Answer:
            async with self.client.request(method, self.home + path.lstrip("/"), headers=headers, data=data) as answer:
                return Answer(answer.status, answer.headers, await answer.text())

        return self.thread.run(ask())

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, headers=headers)

    def send(self, data: Any, **headers: str) -> Answer:
        """Send a command as it stands, with the token unless the headers say otherwise."""
        return self.request("POST", "command", headers={"Authorization": f"Bearer {self.token}", **headers}, data=data)

    def command(self, name: str, /, **arguments: Any) -> Any:
        """The reply to a command, with the token."""
        request = {"execute": name, "arguments": {key.replace("_", "-"): each for key, each in arguments.items()}}
        return self.send(json.dumps(request)).json

    def news(self, cursor: str, until: Callable[[list[tuple[str, Any]]], bool]) -> list[tuple[str, Any]]:
        """The messages of the feed from a cursor on, as (name, data), until they are enough or the feed ends."""

        async def listen() -> list[tuple[str, Any]]:
            found: list[tuple[str, Any]] = []
            async with self.client.get(f"{self.home}feed", params={"from": cursor}) as answer:
                name = ""
                async for line in answer.content:
                    text = line.decode().rstrip("\n")
                    if text.startswith("event: "):
                        name = text.removeprefix("event: ")
                    elif text.startswith("data: "):
                        found.append((name, json.loads(text.removeprefix("data: "))))
                        if until(found):
                            break
            return found

        return self.thread.run(listen())


def moments(found: list[tuple[str, Any]]) -> list[str]:
    """The texts of the moments in the messages of a feed."""
    return [moment["text"] for name, data in found if name == "news" for moment in data["moments"]]
