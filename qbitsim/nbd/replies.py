"""How the answer to one request is written: as a simple reply, or in chunks with short or extended headers."""

from __future__ import annotations

import sys
from array import array
from typing import TYPE_CHECKING

from qbitsim.nbd.protocol import (
    CHUNK,
    CHUNK_DONE,
    ERROR,
    EXTENDED_CHUNK,
    EXTENDED_REPLY_MAGIC,
    EXTENDED_STATUS,
    HOLE,
    SIMPLE_REPLY,
    SIMPLE_REPLY_MAGIC,
    STRUCTURED_REPLY_MAGIC,
    U32,
    U64,
    ChunkKind,
    Mode,
    error_on_wire,
)

if TYPE_CHECKING:
    from qbitsim.nbd.contexts import Extents


class Reply:
    """The answer to one request, which is written piece by piece.

    :param mode: what the handshake has settled.
    :param cookie: what the client calls the request; ``offset``: where the request begins, in bytes.
    :ivar parts: what is to be sent, in order.
    """

    __slots__ = ("_cookie", "_mode", "_offset", "parts")

    def __init__(self, mode: Mode, cookie: int, offset: int) -> None:
        self._mode = mode
        self._cookie = cookie
        self._offset = offset
        self.parts: list[bytes] = []

    def done(self) -> None:
        """The request has succeeded, and there is nothing more to say (nbd_send_generic_reply)."""
        if self._mode is Mode.EXTENDED:
            self._chunk(ChunkKind.NONE, last=True)
        else:
            self.parts.append(SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, 0, self._cookie))

    def failed(self, number: int | None, message: str) -> None:
        """The request has failed with an errno; what was written before belongs to the answer."""
        error = error_on_wire(number)
        if self._mode is Mode.SIMPLE:
            self.parts.append(SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, error, self._cookie))
        else:
            text = message.encode("utf-8", "surrogateescape")
            self._chunk(ChunkKind.ERROR, ERROR.pack(error, len(text)) + text, last=True)

    def all_data(self, data: bytes) -> None:
        """All that was to be read."""
        if self._mode is Mode.SIMPLE:
            self.parts += (SIMPLE_REPLY.pack(SIMPLE_REPLY_MAGIC, 0, self._cookie), data)
        elif data:
            self.data(self._offset, data, last=True)
        else:
            self._chunk(ChunkKind.NONE, last=True)

    def data(self, offset: int, data: bytes, *, last: bool) -> None:
        """A part of what was to be read."""
        self._chunk(ChunkKind.OFFSET_DATA, U64.pack(offset), data, last=last)

    def hole(self, offset: int, length: int, *, last: bool) -> None:
        """A part that reads as zeroes."""
        self._chunk(ChunkKind.OFFSET_HOLE, HOLE.pack(offset, length), last=last)

    def extents(self, context: int, extents: Extents, *, last: bool) -> None:
        """What a context tells of a range."""
        if self._mode is Mode.EXTENDED:
            head = EXTENDED_STATUS.pack(context, len(extents))
            self._chunk(ChunkKind.BLOCK_STATUS_EXT, head, _packed("Q", extents), last=last)
        else:
            self._chunk(ChunkKind.BLOCK_STATUS, U32.pack(context), _packed("I", extents), last=last)

    def _chunk(self, kind: ChunkKind, *payload: bytes, last: bool) -> None:
        flags, length = CHUNK_DONE if last else 0, sum(map(len, payload))
        if self._mode is Mode.EXTENDED:
            head = EXTENDED_CHUNK.pack(EXTENDED_REPLY_MAGIC, flags, kind, self._cookie, self._offset, length)
        else:
            head = CHUNK.pack(STRUCTURED_REPLY_MAGIC, flags, kind, self._cookie, length)
        self.parts += (head, *payload)


def _packed(code: str, extents: Extents) -> bytes:
    """The numbers of all extents, big-endian, in 4 bytes (``I``) or 8 (``Q``) each."""
    numbers = extents.numbers
    if numbers.typecode != code:
        numbers = _halved(numbers) if code == "I" else _doubled(numbers)
    if sys.byteorder == "big":
        return numbers.tobytes()
    swapped = numbers[:]
    swapped.byteswap()
    return swapped.tobytes()


_LOW_HALF = 0 if sys.byteorder == "little" else 1


def _halved(numbers: array[int]) -> array[int]:
    """Numbers of 8 bytes, which are small enough, in 4 bytes each."""
    return array("I", numbers.tobytes())[_LOW_HALF::2]


def _doubled(numbers: array[int]) -> array[int]:
    """Numbers of 4 bytes in 8 bytes each."""
    halves = array("I", bytes(8 * len(numbers)))
    halves[_LOW_HALF::2] = numbers
    return array("Q", halves.tobytes())
