"""A machine in this process, reached as if it were behind a socket.

The bytes are those of a monitor (:class:`qbitsim.qmp.session.Session`), so a client need not know which of the two it
is. Nothing happens between two commands but what the pacing says.
"""

from __future__ import annotations

from collections.abc import Callable

from qbitsim.machine.machine import PACINGS, Machine
from qbitsim.qmp.session import Session


class MachineChannel:
    """A connection to a machine in this process.

    :param machine: made with ``control=True``.
    :param show: is given what QEMU would print by itself, such as the results of ``qemu-io``.
    :raises ConnectionRefusedError: the machine has ended.
    """

    def __init__(self, machine: Machine, show: Callable[[str], None]) -> None:
        if machine.closing:
            raise ConnectionRefusedError(None, "the machine has ended")
        self.machine = machine
        self._show = show
        self._session = Session(machine)
        self._unread = self._session.connect()
        self._closed = False

    def send(self, data: bytes) -> None:
        """Let the machine answer, and go on as its pacing says.

        :raises BrokenPipeError: the machine has ended, or was started anew.
        """
        if self._ended:
            raise BrokenPipeError
        self._unread += self._session.feed(data)
        self._set_pacing()
        if self.machine.pacing == "immediate" and not self.machine.closing:
            self.machine.settle()
        self._unread += self._session.feed(b"") + self._session.pump()
        self._show(self.machine.take_stdout())

    def receive(self, seconds: float) -> bytes:
        """What the machine has said; none if it has ended. It never says anything later by itself.

        :raises TimeoutError: it has said nothing.
        """
        data, self._unread = self._unread, b""
        if not data and not self._ended:
            raise TimeoutError
        return data

    def close(self) -> None:
        """Hang up."""
        self._closed = True

    @property
    def _ended(self) -> bool:
        return self._closed or self.machine.closing or self._session.ended

    def _set_pacing(self) -> None:
        control = self.machine.control
        if control is None or control.pacing is None:
            return
        pacing, control.pacing = control.pacing, None
        if pacing in PACINGS:
            self.machine.pacing = pacing
        else:
            self._show(f"a machine of the shell's own is never {pacing}; it stays {self.machine.pacing}\n")
