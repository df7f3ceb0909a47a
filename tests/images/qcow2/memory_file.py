"""A file that is kept in memory."""

from __future__ import annotations


class MemoryFile:
    """A :class:`.ByteSource`.

    :param data: the bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read_at(self, offset: int, length: int) -> bytes:
        """As every file."""
        return self._data[offset : offset + length]

    @property
    def length(self) -> int:
        """Bytes."""
        return len(self._data)
