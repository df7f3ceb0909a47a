"""What the programs share with every program that is written in C: where their output goes, and what ends them."""

from __future__ import annotations

import os
import sys
import time
from _signal import SIG_DFL, SIGINT, SIGPIPE, signal  # type: ignore[import-not-found] # signal itself declares enums

from qbitsim.light_library import suppress
from qbitsim.standard_streams import STDOUT, StandardStreams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.images.host.store import HostImageStore

_LONGEST_LINE = 1023
"""Bytes of a line that a program takes at once from standard input (fetchline_fgets, qemu-io.c, 10.0)."""


def standard_streams() -> StandardStreams:
    """The streams of this process. What nobody can read is lost without a word, as it is there."""
    return StandardStreams(_write, by_line=os.isatty(STDOUT))


def _write(descriptor: int, text: str) -> None:
    data = os.fsencode(text)
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except OSError:
            return


def write_output(text: str) -> None:
    """Write on standard output, which may be closed, or full: it is lost then, without a word."""
    if sys.stdout is not None:
        with suppress(OSError):
            sys.stdout.write(text)


def flush_output() -> None:
    """As :func:`write_output`, what was kept until now."""
    if sys.stdout is not None:
        with suppress(OSError):
            sys.stdout.flush()


def save(store: HostImageStore, program: str, streams: StandardStreams) -> None:
    """Write down what the end of the images has not; a host that refuses is complained of, and no more."""
    try:
        store.save()
    except OSError as error:
        streams.complain(f"{program}: Failed to flush the refcount block cache: {error.strerror}\n")
        streams.flush()


def end_on_interrupt() -> None:
    """Let Ctrl-C end the process at once, by the signal itself."""
    signal(SIGINT, SIG_DFL)


def now() -> int:
    """Nanoseconds since 1970."""
    return time.time_ns()


def timestamp() -> str:
    """Now, as lines on standard error begin with it on demand."""
    nanoseconds = time.time_ns()
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(nanoseconds // 10**9))
    return f"{now}.{nanoseconds // 1000 % 10**6:06}Z"


def ticks() -> int:
    """Nanoseconds since some moment, for what takes how long."""
    return time.perf_counter_ns()


def sleep(nanoseconds: int) -> None:
    """Wait."""
    time.sleep(nanoseconds / 1e9)


def lines() -> Iterator[str]:
    """The lines of standard input, each when it is asked for, without their ends."""
    while sys.stdin is not None and (line := sys.stdin.buffer.readline(_LONGEST_LINE)):
        yield os.fsdecode(line.removesuffix(b"\n"))


def raise_signal(number: int) -> None:
    """End by a signal, if it is one that ends a program."""
    if number in {SIGINT, SIGPIPE}:
        signal(number, SIG_DFL)
    os.kill(os.getpid(), number)
