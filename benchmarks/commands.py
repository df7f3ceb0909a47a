"""What one command costs, in process and over the socket from a blocking client."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from benchmarks.harness import Row, Run, main, median_of_each
from benchmarks.qemu import null_node, running
from benchmarks.qmp_client import Client, message
from benchmarks.startup import TOP, ready_machine

if TYPE_CHECKING:
    from collections.abc import Iterator

_CLEAR = ("block-dirty-bitmap-clear", {"node": "drive0", "name": "bitmap0"})
_REQUESTS = {
    "query-status": ("query-status", {}),
    "block-dirty-bitmap-clear, 1 TiB": _CLEAR,
    "guest write of 64 KiB by qemu-io": (
        "human-monitor-command",
        {"command_line": 'qemu-io drive0 "write -P 0x41 1M 64k"'},
    ),
}


def in_process(run: Run) -> Iterator[Row]:
    """``machine.qmp(...)``."""
    machine = ready_machine()
    name, arguments = _CLEAR
    needed = median_of_each(lambda _: machine.qmp(name, **arguments), run.repeats, 50)
    yield Row(name=f"{name}, 1 TiB, in process", unit="µs", measured=needed, aim=10e-6)


def over_socket(run: Run) -> Iterator[Row]:
    """The same client talks to qbitsim and to QEMU, by turns."""
    with serving() as client:
        if run.qemu is None:
            for name, (command, arguments) in _REQUESTS.items():
                (needed,) = _latency(run, client, request=message(command, **arguments))
                yield Row(name=f"{name}, over the socket", unit="µs", measured=needed)
            return
        with running(run.qemu, null_node("drive0", 1 << 40)) as qemu:
            qemu.call("block-dirty-bitmap-add", node="drive0", name="bitmap0")
            for name, (command, arguments) in _REQUESTS.items():
                ours, theirs = _latency(run, client, qemu.client, request=message(command, **arguments))
                aim = theirs / 2
                yield Row(name=f"{name}, over the socket", unit="µs", measured=ours, aim=aim, qemu=theirs)


def _latency(run: Run, *clients: Client, request: bytes) -> list[float]:
    """For each client the median of the seconds from sending ``request`` to having its reply."""
    times: list[list[float]] = [[] for _ in clients]
    for client in clients:
        client.exchange(request)  # it is not refused
    for _ in range(run.repeats):
        for client, needed in zip(clients, times, strict=True):
            for _ in range(20):
                start = time.perf_counter()
                client.round_trip(request)
                needed.append(time.perf_counter() - start)
    return list(map(statistics.median, times))


@contextmanager
def serving() -> Iterator[Client]:
    """A client of a server in another process, whose machine is :func:`ready_machine`."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "qmp.sock")
        server = subprocess.Popen([sys.executable, "-m", "benchmarks.serve", path], cwd=TOP)
        try:
            client = Client(path)
            yield client
            client.call("quit")
            client.close()
        finally:
            server.terminate()
            server.wait()


BENCHMARKS = (in_process, over_socket)

if __name__ == "__main__":
    main(*BENCHMARKS)
