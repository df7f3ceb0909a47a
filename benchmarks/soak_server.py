"""The process that :mod:`benchmarks.soak` loads: many machines, each with a monitor, in one event loop.

``python -m benchmarks.soak_server DIRECTORY MACHINES`` listens on ``DIRECTORY/NUMBER`` for each machine and says
``ready``. A line of JSON on its standard input ends it: it says what the clients know of each machine. The process then
looks at what is left, at what the machines hold, and answers with a line of JSON: the findings and some figures.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any

from qbitsim import Machine
from qbitsim.jobs.job import Job
from qbitsim.nbd.session import Session as NbdSession
from qbitsim.profiles import DEFAULT_PROFILE, PROFILES, Profile
from qbitsim.qmp.session import Session
from qbitsim.serving.server import REMEMBERED_EVENTS, Connection, Server
from qbitsim.testing.chains import any_dirty, differing, disk_of, files_of, find_bitmaps

if TYPE_CHECKING:
    from pathlib import Path

DISK = 1 << 17
"""Bytes of the disk of each machine."""

GRANULE = 4096
"""Bytes for each bit of its bitmaps."""

CHAIN = 3
"""The most files of a chain of backups."""

TARGETS = ("t0.qcow2", "t1.qcow2", "t2.qcow2")
"""The files that everybody writes his backups to."""

FILES = (*TARGETS, *(f"c{generation}-{number}.qcow2" for generation in range(2) for number in range(CHAIN)))
"""All files but the disk: the targets, and those of two generations of the chain."""

PACING = "realtime:20"
"""Virtual time passes faster than on the wall, so that delayed and slow jobs come to an end."""


class SilentMachine(Machine):
    """A machine whose standard output nobody reads."""

    __slots__ = ()

    def print(self, text: str) -> None:
        """Print nothing."""


RELEASES = tuple(each for each in PROFILES.values() if each.jobs_have_ids)
"""One machine after the other is of the next of them."""


def make_machine(profile: Profile = DEFAULT_PROFILE) -> Machine:
    """A machine with a bitmap that nobody ever clears and one for a chain of backups.

    Its disk and all files that it will ever have are full: memory that grows is not used for what they hold.
    """
    machine = SilentMachine(profile, control=True, pacing="immediate")
    drive = machine.add_disk("drive0", DISK)
    for offset in range(0, DISK, GRANULE):
        drive.write(offset, b"\x01" * GRANULE)
    for file in FILES:
        machine.qmp("drive-backup", device="drive0", target=file, sync="full", format="qcow2")
    for name in ("ref", "chain"):
        machine.qmp("block-dirty-bitmap-add", node="drive0", name=name, granularity=GRANULE)
    machine.pacing = "manual"
    return machine


class Population:
    """The machines and their servers.

    :ivar bugs: the last lines of the traceback of each server that has ended by itself.
    """

    def __init__(self, machines: list[Machine]) -> None:
        self.machines = machines
        self.servers: list[Server] = []
        self.bugs: list[str] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def listen(self, directory: str | Path) -> None:
        """Listen on ``directory/0`` and so on.

        :raises OSError: it cannot.
        """
        for number, machine in enumerate(self.machines):
            server = Server(machine, pacing=PACING, trim_events=True)
            await server.listen_unix(f"{directory}/{number}")
            self.servers.append(server)
            self._tasks.append(asyncio.create_task(server.run()))

    async def stop(self) -> None:
        """Stop serving; what went wrong is in :attr:`bugs`."""
        for server in self.servers:
            server.stop()
        for task in self._tasks:
            try:
                await task
            except Exception as bug:
                self.bugs.append("".join(traceback.format_exception(bug)[-8:]))
        self._tasks.clear()

    # -- what must not be left behind

    def unfinished(self) -> list[str]:
        """What a machine still has to do, or holds, although every client has gone and every job has ended."""
        found = []
        for number, (machine, server) in enumerate(zip(self.machines, self.servers, strict=True)):
            anonymous = [bitmap for node in machine.graph.nodes.values() for bitmap in node.bitmaps if not bitmap.name]
            left = {
                "connections": server.connections,
                "due tasks": machine.scheduler.ready(),
                "timers": [machine.next_deadline] if machine.next_deadline is not None else [],
                "jobs": machine.jobs.jobs,
                "exports": machine.exports.exports,
                "anonymous bitmaps": anonymous,
                "handles": machine.handles,
                "refusals": [each for each in machine.refusals if each.times != 0],
                "faults of monitors": [each for each in machine.monitor_faults if each.times != 0],
            }
            found += [f"machine {number} has {what}: {things}" for what, things in left.items() if things]
            if len(machine.events.read(machine.events.start)) > REMEMBERED_EVENTS:
                found.append(f"machine {number} keeps {machine.events.end - machine.events.start} events")
        return found

    # -- no dirty bit lost

    def lost_bits(self, worlds: list[dict[str, Any]]) -> list[str]:
        """Where a bitmap does not say what the clients know: what was written, and what may have been."""
        found = []
        for world in worlds:
            number = world["machine"]
            node = self.machines[number].drive("drive0").node
            reference, chain = (list(find_bitmaps(node, name)) for name in ("ref", "chain"))
            assert reference
            assert chain
            dirty = sum(1 << each for each in range(DISK // GRANULE) if any_dirty(reference, each * GRANULE))
            if lost := world["written"] & ~dirty:
                found.append(f"machine {number}: written, but not dirty: {lost:b}")
            if extra := dirty & ~world["attempted"]:
                found.append(f"machine {number}: dirty, but nobody wrote it: {extra:b}")
            if world["chain"]:
                files = files_of(self.machines[number], world["chain"])
                differs = differing(files, disk_of(node), GRANULE)
                wrong = [each for each in differs if not any_dirty(chain, each * GRANULE)]
                if wrong:
                    found.append(f"machine {number}: {' + '.join(world['chain'])} and the dirty bits lack {wrong}")
        return found


async def serve(directory: str, count: int) -> None:
    """Serve until a line comes in; print what was found."""
    descriptors = len(os.listdir("/proc/self/fd"))
    population = Population([make_machine(RELEASES[number % len(RELEASES)]) for number in range(count)])
    await population.listen(directory)
    loop = asyncio.get_running_loop()
    asked: asyncio.Future[str] = loop.create_future()
    loop.add_reader(sys.stdin.fileno(), lambda: asked.set_result(sys.stdin.readline()))
    print("ready", flush=True)
    worlds = json.loads(await asked)
    loop.remove_reader(sys.stdin.fileno())
    left = population.unfinished()
    lost = population.lost_bits(worlds)
    await population.stop()
    await asyncio.sleep(0.05)
    left += [f"{task!r}" for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    gc.collect()
    for kind in (Connection, Session, NbdSession, Job):
        things = [each for each in gc.get_objects() if isinstance(each, kind)]
        left += [f"{len(things)} objects such as {things[0]!r}"] if things else []
    open_now = len(os.listdir("/proc/self/fd"))
    if open_now > descriptors + 5:  # the event loop's own
        left.append(f"{open_now - descriptors} open files")
    steps = sum(machine.scheduler.steps for machine in population.machines)
    events = sum(machine.events.end for machine in population.machines)
    print(json.dumps({"left": left, "lost": lost, "bugs": population.bugs, "steps": steps, "events": events}))


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
