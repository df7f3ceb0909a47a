"""Programs in processes that are forked from one that has imported all they load, which is quick.

Such a process is what ``python -m qbitsim`` or ``qbitsim.programs.table.start`` begins; some tests start those.
"""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from importlib import import_module
from multiprocessing.reduction import DupFd
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any, Self

from qbitsim import cli, programs, qemu_img, serving, shell, web
from qbitsim.profiles import profile
from qbitsim.programs.table import PROGRAMS

PATIENCE = 30.0
_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(
    [
        module.name
        for package in (programs, qemu_img, serving, cli, shell, web)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
)


class Process:
    """A process that runs a function; it is used like :class:`subprocess.Popen`, as far as tests need that.

    :param function: one of a module; its value is the exit status.
    """

    def __init__(
        self,
        function: Callable[..., int],
        *arguments: Any,
        stdin: Any = DEVNULL,
        stdout: Any = PIPE,
        stderr: Any = PIPE,
        text: bool = False,
        cwd: str | Path | None = None,
    ) -> None:
        with ExitStack() as theirs:

            def stream(given: Any, mode: str) -> tuple[int, Any]:
                """Their end of it, and ours if it is a pipe."""
                if given == DEVNULL:
                    number = os.open(os.devnull, os.O_RDWR)
                elif given == PIPE:
                    number, our = os.pipe() if mode == "w" else reversed(os.pipe())
                else:
                    return given.fileno(), None
                theirs.callback(os.close, number)
                return number, open(our, mode if text else f"{mode}b") if given == PIPE else None

            streams, files = zip(stream(stdin, "w"), stream(stdout, "r"), stream(stderr, "r"), strict=True)
            self.stdin, self.stdout, self.stderr = files
            place = str(cwd or Path.cwd())
            numbers = [_Descriptor(number) for number in streams]
            self._process = _FORKING.Process(target=_become, args=(numbers, place, function, arguments))
            self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    poll = returncode.fget

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired([str(self.pid)], timeout)
        return self.returncode

    def send_signal(self, number: int) -> None:
        # That it has ended is told here later than it is gone.
        with suppress(ProcessLookupError):
            if self.returncode is None:
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def communicate(self, given: Any = None, timeout: float | None = None) -> tuple[Any, Any]:
        """Hand it all it reads, and take all it writes; it is killed when the time is over."""
        with ThreadPoolExecutor() as readers:
            reading = [readers.submit(_rest, each) for each in (self.stdout, self.stderr)]
            if self.stdin is not None and not self.stdin.closed:
                with suppress(BrokenPipeError), self.stdin:
                    if given:
                        self.stdin.write(given)
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        out, err = (each.result() for each in reading)
        return out, err

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in filter(None, (self.stdin, self.stdout, self.stderr)):
            each.close()
        self.wait()


class _Descriptor:
    """A number of an open file that is another one in the process that gets it."""

    def __init__(self, number: int) -> None:
        self._number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _inherited, (DupFd(self._number),)


def _inherited(descriptor: Any) -> int:
    number: int = descriptor.detach()
    return number


def _rest(file: Any) -> Any:
    """What is still to be read, or nothing."""
    if file is None or file.closed:
        return None
    with file:
        return file.read()


def _become(streams: list[int], cwd: str, function: Callable[..., int], arguments: tuple[Any, ...]) -> None:
    os.chdir(cwd)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    for stream in {*streams} - {0, 1, 2}:
        os.close(stream)
    # Python has looked at the streams of the process that this one is forked from.
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the process
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - likewise
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115 - likewise
    sys.exit(function(*arguments))


def qbitsim(*argv: str) -> int:
    """What ``python -m qbitsim`` does."""
    status: int = import_module("qbitsim.cli.main").main(list(argv))
    return status


def qbitsim_with_descriptors(most: int, *argv: str) -> int:
    """The same where a process may have so many."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return qbitsim(*argv)


def python(text: str) -> int:
    """What the interpreter does with a program on its standard input."""
    exec(compile(text, "<stdin>", "exec"), {"__name__": "__main__"})
    return 0


def program(name: str, release: str, *argv: str) -> int:
    """What one of QEMU's names does."""
    status: int = import_module(f"qbitsim.programs.{PROGRAMS[name]}").main(list(argv), profile(release))
    return status


def run(
    name: str, release: str, *argv: str, stdin: bytes = b"", cwd: Path | None = None, together: bool = False
) -> tuple[int, bytes, bytes]:
    """Run a program of a release to its end: exit status, standard output, standard error.

    :param together: both have one file, so that what was said comes in its order.
    """
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        streams = {"stdin": given, "stdout": out, "stderr": out if together else err}
        status = Process(program, name, release, *argv, cwd=cwd, **streams).wait(PATIENCE)
        out.seek(0)
        err.seek(0)
        said = out.read()
        return status, said, said if together else err.read()
