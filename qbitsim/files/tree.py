"""What a file of bytes is to the formats.

A reader or writer of a format knows files only by this protocol; where the bytes are is the business of who opened it.
"""

from __future__ import annotations

from typing import Protocol


class ByteSource(Protocol):
    """The bytes of one file that can be read. Offsets and lengths are in bytes; all may raise OSError."""

    def read_at(self, offset: int, length: int) -> bytes:
        """*length* bytes from *offset* on, fewer where the file ends."""

    @property
    def length(self) -> int:
        """Bytes of the file."""


class ByteFile(ByteSource, Protocol):
    """The bytes of one file that can be written, too."""

    def write_at(self, offset: int, data: bytes) -> None:
        """Store *data*; a file that was shorter than *offset* reads as zeroes in between."""
