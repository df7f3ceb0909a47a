"""What the programs share with every program that is written in C: where their output goes, and what ends them."""

from __future__ import annotations

import os
import signal
import time

from qbitsim.standard_streams import STDOUT, StandardStreams


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


def end_on_interrupt() -> None:
    """Let Ctrl-C end the process at once, by the signal itself."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def now() -> int:
    """Nanoseconds since 1970."""
    return time.time_ns()
