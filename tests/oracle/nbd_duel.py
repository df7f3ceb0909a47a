"""Plays the same NBD conversation with qbitsim and with a real QEMU and compares the answers, byte for byte."""

from __future__ import annotations

import json
import random
import socket
from collections import Counter
from contextlib import suppress

from duel import DifferenceError, Duel, profile_for
from nbd_draws import Talk, world
from real_qemu import Installation

from qbitsim.nbd.session import Session
from qbitsim.profiles import PROFILES

PATIENCE = 10.0
"""Seconds after which a server that does not answer has failed."""

COMPARED: Counter[str] = Counter()
"""How many messages were compared on each QEMU."""


class NbdDuel:
    """One conversation with both."""

    def __init__(self, duel: Duel) -> None:
        self._duel = duel
        self._machine = duel.machine
        self._session = Session(self._machine.exports)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(str(duel.real.outer / "nbd.sock"))
        self._messages: list[bytes] = []
        self._compare()

    def say(self, message: bytes) -> None:
        """Say something to both.

        :raises DifferenceError: they answer differently.
        """
        self._messages.append(message)
        COMPARED[repr(self._duel.installation)] += 1
        self._session.receive(message)
        self._machine.run_until_idle()
        with suppress(OSError):  # what it has said before it hung up is read now
            self._socket.sendall(message)
        self._compare()

    @property
    def over(self) -> bool:
        """Whether the emulated server has hung up."""
        return self._session.ended

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
        self._session.hang_up()
        self._machine.run_until_idle()

    def _compare(self) -> None:
        expected = b"".join(self._session.take())
        answer = self._read(len(expected))
        if answer != expected:
            raise self._difference(answer, expected)
        if self._session.ended:
            rest = self._read(1)
            if rest:
                raise self._difference(answer + rest, expected + b" and the end")

    def _read(self, length: int) -> bytes:
        parts = []
        while length:
            try:
                part = self._socket.recv(length)
            except ConnectionError:
                break
            except TimeoutError:
                parts.append(b" and no more")
                break
            if not part:
                break
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def _difference(self, real: bytes, emulated: bytes) -> DifferenceError:
        place = next((i for i, (a, b) in enumerate(zip(real, emulated, strict=False)) if a != b), None)
        if place is None:
            place = min(len(real), len(emulated))
        start = max(0, place - 60)
        return DifferenceError(
            f"to {self._messages[-1][:60].hex() if self._messages else 'the greeting'}\n"
            f"QEMU:    {len(real)} bytes, from {start}: {real[start : place + 80]!r}\n"
            f"qbitsim: {len(emulated)} bytes, from {start}: {emulated[start : place + 80]!r}\n"
            f"after {len(self._messages)} messages: {[each[:60].hex() for each in self._messages[-8:]]}\n"
            f"and {json.dumps(self._duel.steps)}"
        )


def converse(installation: Installation, rng: random.Random, requests: int = 40) -> None:
    """Draw a world, talk with both, and compare the disks at the end.

    :raises DifferenceError: something is different.
    """
    duel = Duel(installation)
    try:
        steps, exports = world(rng)
        duel.play(steps)
        if duel.over is None:
            extended = PROFILES[profile_for(installation)].nbd_extended_headers
            for _ in range(rng.randint(1, 3)):
                talk, number = Talk(rng, exports, extended=extended), rng.randint(1, requests)
                _talk(NbdDuel(duel), talk, number)  # last, for drawing may come to an end
        duel.play([{"qmp": {"execute": "nbd-server-stop"}}])
        duel.finish()
    finally:
        duel.close()


def _talk(both: NbdDuel, talk: Talk, requests: int) -> None:
    try:
        for message in talk.handshake():
            both.say(message)
        for _ in range(requests):
            if not both.over:
                both.say(talk.request())
        if not both.over:
            both.say(talk.goodbye())
    finally:
        both.close()
