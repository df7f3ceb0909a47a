"""What is written to files of the host, in order, so that each state can be had that a killed process may leave."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qbitsim.files.host import HostFile

PAGE = 4096
_METHODS = ("write_at", "punch", "zero", "allocate", "truncate")


class Journal:
    """The changes of all files, as they are made.

    :ivar entries: what happened: a change of a file as (file, method, arguments), or a note of the test.
    """

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self._inside = False

    def note(self, *what: Any) -> None:
        """Something happened that the judge wants to know of."""
        self.entries.append(("note", *what))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record all changes meanwhile."""
        with pytest.MonkeyPatch.context() as patch:
            for name in _METHODS:
                patch.setattr(HostFile, name, self._recorder(name, getattr(HostFile, name)))
            yield

    def _recorder(self, name: str, method: Callable[..., None]) -> Callable[..., None]:
        def record(file: HostFile, *arguments: Any) -> None:
            if self._inside:
                method(file, *arguments)
                return
            self._inside = True
            try:
                self.entries.append((file.identity, name, arguments))
                method(file, *arguments)
            finally:
                self._inside = False

        return record


class Replica:
    """The bytes of one file as far as the changes were made."""

    def __init__(self) -> None:
        self.data = bytearray()

    def apply(self, method: str, arguments: tuple[Any, ...], *, most: int | None = None) -> None:
        """Make one change; *most*: only so many bytes of it are written before the process dies."""
        if method == "truncate":
            (size,) = arguments
            del self.data[size:]
            self.data.extend(bytes(size - len(self.data)))
            return
        offset, what = arguments
        if method == "write_at":
            found = what if most is None else what[:most]
            self._reach(offset + len(found))
            self.data[offset : offset + len(found)] = found
        elif method == "punch":
            end = min(offset + what, len(self.data))
            self.data[offset:end] = bytes(max(0, end - offset))
        else:
            self._reach(offset + what)
            if method == "zero":
                self.data[offset : offset + what] = bytes(what)

    def _reach(self, end: int) -> None:
        if len(self.data) < end:
            self.data.extend(bytes(end - len(self.data)))

    def write(self, path: Path) -> None:
        """Make a file of them."""
        with open(path, "wb") as file:
            file.write(self.data)


def identity(path: Path) -> tuple[int, int]:
    """As of :attr:`.HostFile.identity`."""
    found = os.stat(path)
    return found.st_dev, found.st_ino
