"""The monitor of the page: commands that come one by one, each run on the machine between two turns of its server.

A command is a JSON object as on any monitor, and so is the reply. Capabilities are not negotiated, events are not
delivered, and the faults of monitors, which are meant for the client under test, do not strike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.errors import QmpError
from qbitsim.qmp.encoder import encode
from qbitsim.qmp.parser import JsonStream
from qbitsim.qmp.session import Session

if TYPE_CHECKING:
    from qbitsim.history.history import History
    from qbitsim.jsontypes import JsonObject
    from qbitsim.machine.machine import Machine
    from qbitsim.serving.server import Server

_MANY = "write one command at a time"
_NOT_WHOLE = "write one command as a JSON object: this is not a whole one"


class PageMonitor:
    """Runs what the page asks for.

    :param history: in which it is called ``page``.
    """

    def __init__(self, server: Server, machine: Machine, history: History) -> None:
        self._server = server
        self._session = Session(machine, journal=history, name="page", negotiated=True)

    async def run(self, text: bytes) -> bytes | None:
        """The reply to a command; None if the machine has ended.

        :raises Exception: a bug of the machine.
        """
        messages = JsonStream().feed(text + b"\n")
        broken = [message for message in messages if isinstance(message, QmpError)]
        if len(messages) != 1 and not broken:
            return encode(refusal(_MANY if messages else _NOT_WHOLE))
        request = (broken or messages)[0]
        await self._server.settled()
        if self._server.finished:
            return None
        return encode(self._server.call(lambda: self._session.ask(request)))


def refusal(text: str) -> JsonObject:
    """What refuses a request that did not reach the monitor, in the form of its errors."""
    return {"error": {**QmpError(text).to_json()}}
