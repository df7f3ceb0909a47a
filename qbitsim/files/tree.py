"""What a file of bytes is to the formats.

A reader or writer of a format knows files only by this protocol; where the bytes are is the business of who opened it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


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


class OpenFile(ByteFile, Protocol):
    """A file that is open, on the host or on a server, and what its image can ask of it. All may raise OSError.

    :ivar path: by which it is opened for writing, too.
    :ivar touched: something was written; who has taken note of it says False.
    :ivar writable: it is open for writing.
    """

    path: str
    touched: bool
    writable: bool

    def punch(self, offset: int, length: int) -> None:
        """Let the range read as zeroes and take no room; the length of the file stays."""

    def truncate(self, size: int) -> None:
        """Make the file *size* bytes long; what is new reads as zeroes."""

    def flush(self) -> None:
        """Return when everything that was written is stable."""

    def make_writable(self) -> None:
        """Open it for writing, too, if it is not."""

    @property
    def is_open(self) -> bool:
        """Whether it was not closed yet."""

    @property
    def is_handed_over(self) -> bool:
        """Whether it comes from a set of descriptors, which may go when it is closed."""

    def close(self) -> None:
        """Close it. Closing twice does nothing."""

    @property
    def allocated(self) -> int:
        """Bytes that it takes where it is stored."""

    @property
    def stamp(self) -> tuple[int, int, int]:
        """Changes when somebody changes the file."""

    def zero(self, offset: int, length: int) -> None:
        """Zero a range, which stays allocated."""

    def write_zeroes(self, offset: int, length: int) -> None:
        """Write zeroes, byte by byte."""

    def allocate(self, offset: int, length: int) -> None:
        """Allocate a range, which keeps what it reads as."""

    def next_data(self, offset: int) -> int | None:
        """The first byte from *offset* on that is no hole; None if there is none."""

    def next_hole(self, offset: int) -> int:
        """The first byte from *offset* on that is a hole, or the end of the file."""

    def extents(self) -> Iterator[tuple[int, int]]:
        """What is no hole, as (offset, length), ascending."""

    def lock(self, used: int, unshared: int) -> str | None:
        """Hold the locks for these permissions; QEMU's text on a conflict, with nothing changed, or None."""

    def conflict(self, used: int, unshared: int) -> str | None:
        """What forbids the use of these permissions, or None."""
