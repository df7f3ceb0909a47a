"""What two machines of qbitsim say to each other when a guest migrates. It is not QEMU's stream.

Theory of operation
===================

1. The source sends :data:`MAGIC` and then frames: four bytes with a length, most significant first, and as many bytes
   of JSON. The destination answers with :data:`MAGIC`, and each frame with a frame. A stream through a program has
   no answers: the source does not learn what becomes of it.
2. A frame of the source has a ``kind``: ``begin``, ``bitmap``, ``bits``, ``switchover``, ``end``. An answer is empty,
   or has the ``error`` for which the destination gives up; it hangs up then.
3. QEMU's stream starts with :data:`QEMU_MAGIC`. Each side recognises a QEMU at the other end, and says so.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from qbitsim.errors import QmpError, UnsupportedError

if TYPE_CHECKING:
    from qbitsim.files.network import Connection
    from qbitsim.jsontypes import Json

MAGIC = b"qbitsim\1"
QEMU_MAGIC = (0x5145564D).to_bytes(4, "big")
"""QEMU_VM_FILE_MAGIC (migration/qemu-file.h, QEMU 10.0)."""

_LENGTH = 4
_LONGEST = 1 << 30


def encode(frame: Json) -> bytes:
    """A frame as bytes."""
    text = json.dumps(frame, separators=(",", ":")).encode()
    return len(text).to_bytes(_LENGTH, "big") + text


class FrameReader:
    """Frames out of bytes that come in pieces, after the magic.

    :ivar greeted: the magic has come.
    """

    __slots__ = ("_rest", "greeted")

    def __init__(self) -> None:
        self._rest = b""
        self.greeted = False

    def feed(self, data: bytes) -> list[Json]:
        """Take the next bytes; the frames that are complete with them.

        :raises UnsupportedError: it is QEMU's own stream.
        :raises QmpError: it is no stream of a migration.
        """
        self._rest += data
        if not self.greeted and not self._read_magic():
            return []
        frames = []
        while (frame := self._next()) is not None:
            frames.append(frame)
        return frames

    def _read_magic(self) -> bool:
        if self._rest.startswith(QEMU_MAGIC):
            raise UnsupportedError("QEMU's own migration stream: both ends have to be qbitsim")
        if not MAGIC.startswith(self._rest[: len(MAGIC)]):
            raise QmpError("Not a migration stream")
        self.greeted = len(self._rest) >= len(MAGIC)
        if self.greeted:
            self._rest = self._rest[len(MAGIC) :]
        return self.greeted

    def _next(self) -> Json | None:
        length = int.from_bytes(self._rest[:_LENGTH], "big")
        if length > _LONGEST:
            raise QmpError("Not a migration stream")
        end = _LENGTH + length
        if len(self._rest) < max(end, _LENGTH):
            return None
        text, self._rest = self._rest[_LENGTH:end], self._rest[end:]
        try:
            frame = json.loads(text)
        except ValueError:
            raise QmpError("Not a migration stream") from None
        if not isinstance(frame, dict):
            raise QmpError("Not a migration stream")
        return frame


class Channel:
    """The source's end of a connection: each frame is answered before the next one is sent.

    :param connection: to the destination.
    :param is_answered: if not, nobody answers.
    """

    __slots__ = ("_answers", "_connection", "_is_answered", "sent")

    def __init__(self, connection: Connection, *, is_answered: bool = True) -> None:
        self._is_answered = is_answered
        self._connection = connection
        self._answers = FrameReader()
        self.sent = 0
        self._send(MAGIC)

    def ask(self, frame: Json) -> None:
        """Send a frame and wait for the answer.

        :raises QmpError: the destination has given up, or hung up.
        :raises UnsupportedError: it is no qbitsim.
        """
        self._send(encode(frame))
        if not self._is_answered:
            return
        while not (answers := self._answers.feed(data := self._receive())):
            if not data:
                self._hung_up()
        if "error" in answers[0]:
            raise QmpError(str(answers[0]["error"]))

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _hung_up(self) -> None:
        if not self._answers.greeted:
            raise UnsupportedError(
                "a destination that is no qbitsim: it hung up on a stream that is not QEMU's migration stream"
            )
        raise QmpError("Unable to write to socket: Broken pipe")

    def _send(self, data: bytes) -> None:
        try:
            self._connection.send(data)
        except OSError:
            if not self.sent or self._answers.greeted or not self._is_answered:
                raise QmpError("Unable to write to socket: Broken pipe") from None
            self._hung_up()
        self.sent += len(data)

    def _receive(self) -> bytes:
        try:
            return self._connection.receive()
        except TimeoutError:
            raise QmpError("Unable to read from socket: Connection timed out") from None
        except OSError:
            return b""
