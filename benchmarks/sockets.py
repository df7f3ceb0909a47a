"""What it costs to serve many machines in one process, each at a UNIX socket of its own.

A process of its own makes the machines and listens; this one connects to each of them once and runs a command, and the
other says how much memory it has got by then.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING

from benchmarks.harness import Row, Run, beside_qemu, main, processor_time
from benchmarks.qemu import running
from benchmarks.qmp_client import Client
from benchmarks.startup import ready_machine, resident
from benchmarks.yardsticks import TOP
from qbitsim.serving.server import Server

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPARE = 100
"""Open files that are needed for other things than listening."""

_FILES = 2
"""Open files of a server: its socket, and one in reserve."""


def allowed(count: int) -> int:
    """How many machines of ``count`` may listen at once; the limit of open files is raised as far as it may be."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return count if hard == resource.RLIM_INFINITY else min(count, (hard - _SPARE) // _FILES)


async def serve(directory: str, count: int) -> None:
    """Serve machines at ``directory/0`` and so on, say how many, and the bytes for each when a line comes in."""
    warm = Server(ready_machine(), trim_events=True)
    await warm.listen_unix(f"{directory}/warm")
    count = allowed(count)
    before = resident()
    servers = [Server(ready_machine(), trim_events=True) for _ in range(count)]
    for number, server in enumerate(servers):
        await server.listen_unix(f"{directory}/{number}")
    tasks = [asyncio.create_task(server.run()) for server in (warm, *servers)]
    print(count, flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print((resident() - before) / count, flush=True)
    for server in (warm, *servers):
        server.stop()
    await asyncio.gather(*tasks)


def sockets(run: Run) -> Iterator[Row]:
    """Machines with a disk, a bitmap and an open socket in one process."""
    wanted = run.machines
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "benchmarks.sockets", "--serve", directory, str(wanted)]
        with subprocess.Popen(command, cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdin is not None
            assert server.stdout is not None
            count = int(server.stdout.readline())
            clock = processor_time(server.pid)
            start = clock()
            for number in range(count):
                client = Client(f"{directory}/{number}")
                assert client.call("query-status")["running"]
                client.close()
            needed = (clock() - start) / count
            server.stdin.write("\n")
            server.stdin.flush()
            memory = float(server.stdout.readline())
    note = (
        "resident memory, after a command to each" if count == wanted else f"only {count:,}: no more files may be open"
    )
    yield Row(name=f"each of {wanted:,} machines with a socket", unit="KiB", measured=memory, aim=60 * 1024, note=note)
    beside = beside_qemu(_connecting_to_qemu(run, min(count, 1000)))
    yield Row(name="... to connect, run a command and hang up", unit="µs", measured=needed, beside=beside, aim=1)


def _connecting_to_qemu(run: Run, count: int) -> float | None:
    """The same for each of so many connections to the only monitor of one process."""
    if run.qemu is None:
        return None
    with running(run.qemu) as qemu:
        qemu.client.close()
        clock = processor_time(qemu.pid)
        start = clock()
        for _ in range(count):
            client = Client(qemu.path)
            assert client.call("query-status")["status"]
            client.close()
        return (clock() - start) / count


BENCHMARKS = (sockets,)

if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(sys.argv[2], int(sys.argv[3])))
    else:
        main(*BENCHMARKS)
