"""What one command costs, in process and over the socket from a blocking client."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.harness import (
    Clock,
    Needed,
    Row,
    Run,
    Work,
    beside_qemu,
    main,
    median_of_each,
    medians_by_turns,
    processor_time,
)
from benchmarks.qemu import null_node, running
from benchmarks.qmp_client import Client, message
from benchmarks.startup import ready_machine
from benchmarks.yardsticks import TOP

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
    yield Row(name=f"{name}, 1 TiB, in process", unit="µs", measured=needed, beside=run.turns, aim=140)


def over_socket(run: Run) -> Iterator[Row]:
    """What a command costs the server; the same client asks qbitsim and QEMU, by turns."""
    with both(run) as servers:
        for name, (command, arguments) in _REQUESTS.items():
            request = message(command, **arguments)
            for client, _ in servers:
                client.exchange(request)  # it is not refused
            works = [Work(partial(client.round_trip, request), clock) for client, clock in servers]
            yield _row(f"{name}, over the socket", "µs", 1 / 3, medians_by_turns(works, run.repeats, 20))


def session(run: Run) -> Iterator[Row]:
    """What libvirt does for a backup that is incremental: a bitmap, writes, the job and its end, each waited for."""
    with both(run) as servers:
        for client, _ in servers:
            client.call("blockdev-add", driver="null-co", node_name="target", size=1 << 40)
        works = [Work(partial(_session, client), clock) for client, clock in servers]
        name = "add, 10 writes, backup, dismiss, remove over the socket"
        yield _row(name, "ms", 0.5, medians_by_turns(works, run.repeats))


def _session(client: Client) -> None:
    bitmap = {"node": "drive0", "name": "incremental"}
    client.call("block-dirty-bitmap-add", **bitmap)
    for number in range(10):
        client.call("human-monitor-command", command_line=f'qemu-io drive0 "write {number << 20} 64k"')
    backup = {"job_id": "job0", "device": "drive0", "target": "target", "sync": "incremental", "bitmap": bitmap["name"]}
    client.call("blockdev-backup", **backup, auto_dismiss=False)
    client.wait_for("JOB_STATUS_CHANGE", id="job0", status="concluded")
    (job,) = client.call("query-jobs")
    assert job["status"] == "concluded", job
    assert "error" not in job, job
    client.call("job-dismiss", id="job0")
    client.call("block-dirty-bitmap-remove", **bitmap)


def _row(name: str, unit: str, aim: float, needed: list[Needed]) -> Row:
    """A row of what qbitsim needed and, if it was there, QEMU."""
    ours, *others = needed
    theirs = others[0].processor if others else None
    note = f"of the processor; the client waits {ours.wall * 1e6:,.0f} µs"
    note += "".join(f", for QEMU {other.wall * 1e6:,.0f} µs" for other in others)
    return Row(name=name, unit=unit, measured=ours.processor, beside=beside_qemu(theirs), aim=aim, note=note)


class Served(NamedTuple):
    """A client, and the processor time of its server."""

    client: Client
    clock: Clock


@contextmanager
def both(run: Run) -> Iterator[list[Served]]:
    """qbitsim and, where there is one, QEMU: both with a disk and a bitmap."""
    with ExitStack() as stack:
        servers = [stack.enter_context(serving())]
        if run.qemu is not None:
            qemu = stack.enter_context(running(run.qemu, null_node("drive0", 1 << 40)))
            qemu.call("block-dirty-bitmap-add", node="drive0", name="bitmap0")
            servers.append(Served(qemu.client, processor_time(qemu.pid)))
        yield servers


@contextmanager
def serving() -> Iterator[Served]:
    """A server in another process, whose machine is :func:`ready_machine`."""
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "qmp.sock")
        server = subprocess.Popen([sys.executable, "-m", "benchmarks.serve", path], cwd=TOP)
        try:
            client = Client(path)
            yield Served(client, processor_time(server.pid))
            client.call("quit")
            client.close()
        finally:
            server.terminate()
            server.wait()


BENCHMARKS = (in_process, over_socket, session)

if __name__ == "__main__":
    main(*BENCHMARKS)
