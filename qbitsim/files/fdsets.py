"""Sets of file descriptors that others handed over, which files are opened from by the name ``/dev/fdset/N``.

(monitor/fds.c and qemu_open_internal() in util/osdep.c, QEMU 10.0; measured with 7.2, 10.0 and 11.1.) The descriptors
of a set are several ways to open one file: for reading only, or for writing, too. Who opens it gets a duplicate.
"""

from __future__ import annotations

import errno
import fcntl
import os

from qbitsim.errors import QmpError
from qbitsim.files.failures import StepError

PREFIX = "/dev/fdset/"


class FdsetError(StepError):
    """A file cannot be opened from a set; ``strerror`` is all that QEMU says."""


class FdSets:
    """The sets of a process.

    :ivar explained: whether a refusal says what is missing, and not only the number of the error.
    """

    __slots__ = ("_sets", "_users", "explained")

    def __init__(self) -> None:
        self._sets: dict[int, list[tuple[int, str | None]]] = {}
        self._users: dict[int, int] = {}
        self.explained = True

    def add(self, descriptor: int, number: int | None, opaque: str | None) -> int:
        """Put a descriptor into a set, the first free one if none is named; the set's number.

        :raises QmpError: the number is negative; the descriptor is the caller's then.
        """
        if number is None:
            number = next(each for each in range(len(self._sets) + 1) if each not in self._sets)
        elif number < 0:
            raise QmpError("Parameter 'fdset-id' expects a non-negative value")
        self._sets.setdefault(number, []).insert(0, (descriptor, opaque))
        return number

    def remove(self, number: int, descriptor: int | None) -> None:
        """Close a descriptor of a set, or all of them; the set stays for as long as somebody has it open.

        :raises QmpError: there is no such set or descriptor.
        """
        found = self._sets.get(number)
        gone = [each for each, _ in found or () if descriptor in (None, each)]
        if found is None or (descriptor is not None and not gone):
            which = f"fdset-id:{number}" if descriptor is None else f"fdset-id:{number}, fd:{descriptor}"
            raise QmpError(f"File descriptor named '{which}' not found")
        for each in gone:
            os.close(each)
        self._sets[number] = [member for member in found if member[0] not in gone]
        self._forget_if_empty(number)

    def listed(self) -> list[tuple[int, list[tuple[int, str | None]]]]:
        """The sets from the highest number down, with their descriptors in the order in which they came."""
        return [(number, self._sets[number][::-1]) for number in sorted(self._sets, reverse=True)]

    def remove_unused(self) -> None:
        """Close what nobody has open."""
        for number in [each for each in self._sets if not self._users.get(each)]:
            self.remove(number, None)

    # -- files

    def open(self, name: str, *, writable: bool) -> int:
        """A duplicate of the descriptor that a name means.

        :raises FdsetError: there is none that fits.
        """
        number = self._number(name)
        wanted = os.O_RDWR if writable else os.O_RDONLY
        if number not in self._sets:
            raise self._refusal(errno.ENOENT, name, wanted, f"Failed to find fdset {name}")
        modes = {fcntl.fcntl(each, fcntl.F_GETFL) & os.O_ACCMODE: each for each, _ in self._sets[number]}
        fitting = modes.get(wanted, modes.get(os.O_RDWR))
        if fitting is None:
            raise self._no_fitting(name, wanted)
        self._users[number] = self._users.get(number, 0) + 1
        return fcntl.fcntl(fitting, fcntl.F_DUPFD_CLOEXEC, 0)

    def close(self, name: str) -> None:
        """A duplicate that :meth:`open` gave out is closed."""
        number = self._number(name)
        self._users[number] -= 1
        self._forget_if_empty(number)

    def stat(self, name: str) -> os.stat_result:
        """As os.stat() of the file that a name means.

        :raises FdsetError: there is none.
        """
        number = self._number(name)
        if number not in self._sets:
            raise self._refusal(errno.ENOENT, name, os.O_RDWR, f"Failed to find fdset {name}")
        for descriptor, _ in self._sets[number]:
            return os.fstat(descriptor)
        raise self._no_fitting(name, os.O_RDWR)

    def _no_fitting(self, name: str, wanted: int) -> FdsetError:
        text = f"Failed to find file descriptor with matching flags=0x{wanted:x}"
        return self._refusal(errno.EACCES, name, wanted, text)

    def _refusal(self, number: int, name: str, wanted: int, text: str) -> FdsetError:
        plain = f"Could not dup FD for {name} flags {wanted:x}: {os.strerror(number)}"
        return FdsetError(number, text if self.explained else plain)

    def _number(self, name: str) -> int:
        text = name.removeprefix(PREFIX)
        if not (text.isascii() and text.isdigit()):
            raise FdsetError(errno.EINVAL, f"Could not parse fdset {name}")
        return int(text)

    def _forget_if_empty(self, number: int) -> None:
        if not self._sets.get(number) and not self._users.get(number):
            self._sets.pop(number, None)
            self._users.pop(number, None)


class MonitorDescriptors:
    """What the client of a monitor has handed over.

    :ivar received: came with what it sent last, and was not yet asked for.
    :ivar named: by the names that ``getfd`` gave them.
    """

    __slots__ = ("named", "received")

    def __init__(self) -> None:
        self.received: list[int] = []
        self.named: dict[str, int] = {}

    def receive(self, descriptors: list[int]) -> None:
        """Some came; those before them that nobody asked for are lost."""
        self._close_received()
        self.received = descriptors

    def take(self) -> int:
        """The first one that came; the others are lost.

        :raises QmpError: none came.
        """
        if not self.received:
            raise QmpError("No file descriptor supplied via SCM_RIGHTS")
        first = self.received.pop(0)
        self._close_received()
        return first

    def name(self, name: str, descriptor: int) -> None:
        """Keep a descriptor, in place of one that has the name."""
        if name in self.named:
            os.close(self.named[name])
        self.named[name] = descriptor

    def take_named(self, name: str) -> int:
        """The descriptor of that name, which is the caller's from now on (monitor_get_fd).

        :raises QmpError: there is none.
        """
        if name not in self.named:
            raise QmpError(f"File descriptor named '{name}' has not been found")
        return self.named.pop(name)

    def close(self, name: str) -> None:
        """Close the descriptor of that name.

        :raises QmpError: there is none.
        """
        if name not in self.named:
            raise QmpError(f"File descriptor named '{name}' not found")
        os.close(self.named.pop(name))

    def forget_received(self) -> None:
        """The client has gone: what it sent and nobody asked for is lost."""
        self._close_received()

    def _close_received(self) -> None:
        for descriptor in self.received:
            os.close(descriptor)
        self.received = []
