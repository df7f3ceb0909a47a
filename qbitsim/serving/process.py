"""What a server is as a process: its signals, its pid file, its life in the background (os-posix.c, QEMU 10.0)."""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
import struct
import sys
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from qbitsim.errors import QmpError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

_ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
GRACE = 1.5
"""Seconds for which a process that was told to end may go on with what it is at."""
_STDERR = 2
_LOCK = struct.Struct("hhqqi4x")  # struct flock with 64-bit offsets


class OverdueError(KeyboardInterrupt):
    """The process was told to end, and for :data:`GRACE` seconds it was at something else, which is left undone.

    (Whatever else is no KeyboardInterrupt is kept from ending by the loop of asyncio.)
    """


def run(program: Coroutine[None, None, None], leave: Callable[[], object] = lambda: None) -> bool:
    """Run what serves to its end; whether it came to it by itself.

    :param leave: is called if it was cut off, to leave everything as ``kill -9`` would.
    """
    try:
        asyncio.run(program)
    except OverdueError:
        _end_grace()
        leave()
        return False
    finally:
        _forget_signals()
    return True


def seconds() -> int:
    """Since 1970."""
    return int(time.time())


def hold_signals() -> None:
    """Let signals that end the process wait until :func:`on_ending_signal` is called; one that waits stays."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)


class _State:
    """What this process is told by signals.

    :cvar cut_off: it was told to end and did not in time.
    """

    cut_off = False


def finish(close: Callable[[], object]) -> None:
    """Do the last thing that a process does which was told to end, unless it was cut off before it came to it."""
    if not _State.cut_off:
        try:
            close()
        finally:
            _end_grace()


def when_told_to_end(act: Callable[[], object]) -> None:
    """Call *act* in this thread, between any two steps of it, at each signal that ends the process.

    Unless :func:`finish` is done within :data:`GRACE` seconds, :class:`OverdueError` is raised in this thread.
    """

    def note(_number: int, _frame: object) -> None:
        _begin_grace()
        act()

    signal.signal(signal.SIGALRM, _give_up)
    for number in _ENDING:
        signal.signal(number, note)


def _forget_signals() -> None:
    """Let signals do from now on what they do where nobody serves."""
    _end_grace()
    for number in _ENDING:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def _begin_grace() -> None:
    signal.setitimer(signal.ITIMER_REAL, GRACE, GRACE)


def _end_grace() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


def _give_up(_number: int, _frame: object) -> None:
    _State.cut_off = True
    raise OverdueError


def on_ending_signal(act: Callable[[str], object]) -> None:
    """Call *act*, in a thread of its own, with QEMU's words for the first signal that ends the process.

    As with :func:`when_told_to_end`, :func:`finish` has to be done in time.
    """
    signal.signal(signal.SIGALRM, _give_up)
    threading.Thread(target=_wait_for_signal, args=(act,), daemon=True).start()


def idle_threads(count: int) -> list[int]:
    """Threads that do nothing until the process ends, in place of the guest's; the host's numbers of them."""
    threads = [threading.Thread(target=threading.Event().wait, daemon=True) for _ in range(count)]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())  # that of the threads
    for each in threads:
        each.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    return [each.native_id or 0 for each in threads]  # which they have as soon as they are started


def _wait_for_signal(act: Callable[[str], object]) -> None:
    found = signal.sigwaitinfo(_ENDING)
    _begin_grace()
    sender = f" from pid {found.si_pid} ({_program_of(found.si_pid)})" if found.si_pid else ""
    act(f"terminating on signal {found.si_signo}{sender}")


def _program_of(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            name = os.fsdecode(file.read().split(b"\0")[0])
    except OSError:
        name = ""
    return name or "<unknown process>"


class PidFile:
    """A file with the number of the process, which is locked as long as the process lives.

    :param blame: what the texts of errors begin with.
    :raises QmpError: it cannot be made, or another process has it.
    """

    def __init__(self, path: str, blame: str = "cannot create PID file: ") -> None:
        self._path = os.path.abspath(path)
        try:
            self._descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise QmpError(f"{blame}Could not create '{path}': {error.strerror}") from None
        try:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        except OSError as error:
            os.close(self._descriptor)
            raise QmpError(f"{blame}Cannot lock pid file: {error.strerror}") from None
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, b"%d\n" % os.getpid())

    def remove(self) -> None:
        """The process ends."""
        with suppress(FileNotFoundError):
            os.unlink(self._path)
        os.close(self._descriptor)


class Background:
    """A process that goes on in the background once it is ready: the one that was started waits for that, and ends.

    The call returns in the new process only. :meth:`ready` lets the old one end with success; the end of the new one
    before that, with failure.
    """

    def __init__(self) -> None:
        read, self._write = os.pipe()
        if os.fork():
            os.close(self._write)
            status = os.read(read, 1)
            os._exit(0 if status == b"\0" else 1)
        os.close(read)
        os.setsid()
        if os.fork():
            os._exit(0)
        os.umask(0o027)

    def ready(self) -> None:
        """Let go of the terminal and of the process that was started."""
        os.chdir("/")
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.close(null)
        os.write(self._write, b"\0")
        os.close(self._write)


class Fork:
    """A process that goes on in the background, as ``qemu-nbd --fork`` does.

    The call returns in the new process only. The one that was started shows what the new one complains of until it is
    :meth:`ready`, and fails if it complains of anything.

    :param keeps_errors: standard error stays that of the one that was started; otherwise nobody reads it.
    """

    def __init__(self, *, keeps_errors: bool) -> None:
        read, write = os.pipe()
        if os.fork():
            os.close(write)
            os._exit(_pass_on(read))
        os.close(read)
        self._errors = os.dup(_STDERR) if keeps_errors else None
        os.setsid()
        if os.fork():
            os._exit(0)
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1):
            os.dup2(null, standard)
        os.close(null)
        os.dup2(write, _STDERR)
        os.close(write)

    def ready(self) -> None:
        """Let the one that was started end."""
        os.dup2(self._errors if self._errors is not None else 1, _STDERR)


def _pass_on(source: int) -> int:
    """Show what comes until nothing can come any more; the exit status."""
    status = 0
    while data := os.read(source, 1024):
        status = 1
        os.write(_STDERR, data)
    return status


@contextmanager
def raw_terminal() -> Iterator[None]:
    """Let what is typed at the terminal, if standard input is one, come at once and unseen."""
    if sys.stdin is None or not sys.stdin.isatty():
        yield
        return
    import termios  # noqa: PLC0415 - few have a terminal
    import tty  # noqa: PLC0415

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
