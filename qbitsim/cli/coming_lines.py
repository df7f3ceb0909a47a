"""The lines of a pipe that somebody may still be writing into."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator


class ComingLines:
    """The lines of a pipe that somebody may still be writing into, as they come.

    :param descriptor: its number.
    """

    def __init__(self, descriptor: int) -> None:
        self._waits = True
        self._descriptor = descriptor
        self._data = bytearray()
        self._over = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        looked = 0
        while (end := self._data.find(b"\n", looked) + 1) == 0 and not self._over:
            if not (self._waits or self._has_come()):
                raise StopIteration
            looked = len(self._data)
            chunk = os.read(self._descriptor, 1 << 16)
            self._data += chunk
            self._over = not chunk
        line = bytes(self._data[:end] if end else self._data)
        if not line:
            raise StopIteration
        del self._data[: len(line)]
        return line.decode("utf-8", "surrogateescape")

    def stop_waiting(self) -> None:
        """End where a line would have to be waited for."""
        self._waits = False

    def _has_come(self) -> bool:
        looking = select.poll()
        looking.register(self._descriptor, select.POLLIN)
        return bool(looking.poll(0))
