"""What a file is to an image: bytes at offsets, wherever they are kept."""

from __future__ import annotations

from typing import Protocol


class ByteFile(Protocol):
    """One open file. Offsets and lengths are bytes; failures are :class:`OSError` with an errno."""

    @property
    def length(self) -> int:
        """Bytes of the file."""
        ...

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes of a range; fewer at the end of the file."""
        ...

    def write_at(self, offset: int, data: bytes) -> None:
        """Write bytes; a file that ends before them becomes longer, with a hole between."""
        ...

    def punch(self, offset: int, length: int) -> None:
        """Turn a range into a hole, as far as the file reaches; what is no whole page is zeroed."""
        ...

    def truncate(self, size: int) -> None:
        """Make the file *size* bytes long; what is new is a hole."""
        ...

    def flush(self) -> None:
        """Let what was written survive a failure of the power."""
        ...
