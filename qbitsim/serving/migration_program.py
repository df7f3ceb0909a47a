"""A program that takes or gives the stream of a migration (``exec:``; io/channel-command.c, QEMU 10.0)."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_PATIENCE = 10.0
"""Seconds that a program may keep everybody waiting that does not read, or does not end; QEMU waits for ever."""
_READ_AT_ONCE = 1 << 16


class MigrationProgram:
    """A child process with pipes to its input and from its output (:class:`qbitsim.files.network.Connection`).

    :param argv: its arguments; the first one is looked for in PATH.
    :raises OSError: it cannot be started; ``strerror`` is what GLib says.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        try:
            self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        except OSError as error:
            reason = f"Failed to execute child process “{argv[0]}” ({error.strerror})"
            raise OSError(error.errno, reason) from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._input, self._output = self._process.stdin, self._process.stdout
        os.set_blocking(self._input.fileno(), False)

    def fileno(self) -> int:
        """The descriptor of its output."""
        return self._output.fileno()

    @property
    def is_open(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def send(self, data: bytes) -> None:
        """Write to its input.

        :raises OSError: it reads no more, or not now.
        """
        rest, room = memoryview(data), select.poll()
        room.register(self._input, select.POLLOUT)
        while rest:
            if not room.poll(_PATIENCE * 1000):
                raise TimeoutError
            rest = rest[os.write(self._input.fileno(), rest) :]

    def receive(self) -> bytes:
        """What it has written, waited for; empty at its end."""
        return os.read(self._output.fileno(), _READ_AT_ONCE)

    def close(self) -> None:
        """Close both pipes, and wait for its end."""
        for pipe in (self._output, self._input):
            pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
