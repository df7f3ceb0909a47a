"""The state of a machine as plain values, kept, put back and compared.

* :func:`describe` gives everything that matters as dictionaries, lists, numbers and texts.
* :class:`Snapshot` keeps the whole machine, running jobs included. Stored blocks are shared, so a snapshot costs what
  the graph costs, not the size of the disks.
* :func:`differences` says in words where two machines differ.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from qbitsim.errors import SnapshotError
from qbitsim.images.chain import digest
from qbitsim.jsontypes import Json

if TYPE_CHECKING:
    from qbitsim.block.bitmap import DirtyBitmap
    from qbitsim.block.drive import Drive
    from qbitsim.block.graph import Graph
    from qbitsim.block.node import Node
    from qbitsim.commands.parts import MachineLike
    from qbitsim.devices.device import Device
    from qbitsim.images.image import Image
    from qbitsim.jobs.job import Job


PARTS = (
    *("profile", "registry", "pacing"),
    *("images", "graph", "scheduler", "jobs", "exports", "migration", "outgoing", "incoming"),
    *("events", "clock", "faults", "devices", "objects", "networks", "chardevs"),
    *("run_state", "closing", "_stdout"),
)
"""The attributes of a machine that a snapshot keeps and puts back."""


class Snapshot:
    """What a machine was at one moment; made by :meth:`.Machine.snapshot`.

    :ivar profile: the name of the release that the machine is.
    :ivar now: nanoseconds of virtual time.
    """

    __slots__ = ("_origin", "_state", "now", "profile")

    def __init__(self, machine: MachineLike) -> None:
        self._origin = machine
        self._state = _copied(machine, {name: getattr(machine, name) for name in PARTS}, machine)
        self.profile = machine.profile.name
        self.now = machine.scheduler.now

    def __repr__(self) -> str:
        return f"<Snapshot of a machine as QEMU {self.profile} at {self.now} ns>"

    def put_back(self, machine: MachineLike) -> None:
        """Make ``machine`` what the snapshot holds; the snapshot can be used again.

        :raises SnapshotError: the machine is of another release; nothing has changed then.
        """
        if machine.profile is not self._state["profile"]:
            raise SnapshotError(f"the snapshot is of QEMU {self.profile}, the machine is QEMU {machine.profile.name}")
        for fault in machine.faults.monitor_faults:
            fault.release_held()
        observer, exports = machine.scheduler.observer, machine.exports
        nodes = list(machine.graph.nodes.values())
        for name, value in _copied(self._origin, self._state, machine).items():
            setattr(machine, name, value)
        machine.events.resumed_at = machine.events.end
        machine.scheduler.observer = observer
        if observer is not None:
            observer.noted("look", "the machine is what it was before")
        machine.exports.take_over(exports)
        for node in nodes:
            node.disconnect()


def _copied(origin: MachineLike, state: Json, target: MachineLike) -> Json:
    """A deep copy in which ``target`` stands where ``origin`` stood; what never changes is shared.

    The nodes are made first and filled then, so that no copying goes down a chain, which can be longer than the stack.
    """
    memo: dict[int, Any] = {id(origin): target}
    for shared in (origin.registry, origin.profile, state["registry"], state["profile"]):
        memo[id(shared)] = shared
    graph: Graph = state["graph"]
    nodes = [(node, type(node).__new__(type(node))) for node in graph.nodes.values()]
    memo |= {id(node): empty for node, empty in nodes}
    copy.deepcopy(state["images"], memo)  # first, for those of the host refuse
    for node, empty in nodes:
        _fill(empty, node, memo)
    return copy.deepcopy(state, memo)


def _fill(empty: Node, node: Node, memo: dict[int, Any]) -> None:
    state = node.__getstate__()
    assert isinstance(state, tuple), "nodes have slots"
    for part in state:
        for name, value in (part or {}).items():
            setattr(empty, name, copy.deepcopy(value, memo))


def describe(machine: MachineLike) -> Json:
    """Everything that matters, as plain values. Offsets, lengths and sizes are in bytes, times in nanoseconds."""
    graph = machine.graph
    devices = machine.devices.devices if machine.devices is not None else {}
    return {
        "profile": machine.profile.name,
        "now": machine.scheduler.now,
        "run-state": machine.run_state,
        "closing": machine.closing,
        "drives": {name: _drive(drive) for name, drive in graph.drives.items()},
        "devices": {path: _device(each) for path, each in devices.items()},
        "objects": dict(machine.objects),
        "nodes": {name: _node(node) for name, node in graph.nodes.items()},
        "jobs": [_job(job) for job in machine.jobs.jobs],
        "images": {name: _image(image) for name, image in machine.images.items()},
        "due": [task.label for task in machine.scheduler.ready()],
        "events": machine.events.read(machine.events.start),
    }


def _drive(drive: Drive) -> Json:
    return {"node": drive.root.node.name if drive.root is not None else None, "device": drive.qdev}


def _device(device: Device) -> Json:
    bus = device.bus.name if device.bus is not None else None
    return {"type": device.type.name, "bus": bus, "leaving": device.leaving, "tray-open": device.tray_open}


def _node(node: Node) -> Json:
    return {
        "driver": node.driver,
        "filter": node.is_filter,
        "length": node.length,
        "read-only": node.read_only,
        "children": {edge.name: edge.node.name for edge in node.children},
        "bitmaps": [bitmap_state(bitmap) for bitmap in node.bitmaps],
        "blocked": list(node.blockers),
    }


def bitmap_state(bitmap: DirtyBitmap) -> Json:
    """One bitmap; ``dirty`` are (offset, length) in bytes."""
    flags = ("disabled", "busy", "persistent", "readonly", "inconsistent")
    return {
        "name": bitmap.name,
        "granularity": bitmap.granularity,
        "flags": [flag for flag in flags if getattr(bitmap, flag)],
        "successor": bitmap_state(bitmap.successor) if bitmap.successor is not None else None,
        "dirty": bitmap.dirty_ranges,
    }


def _job(job: Job) -> Json:
    return {
        "id": job.id,
        "type": job.kind,
        "status": str(job.status),
        "progress": [job.progress.current, job.progress.total],
        "speed": job.speed,
        "io-status": job.io_status,
        "error": job.error,
    }


def _image(image: Image) -> Json:
    return {
        "format": image.format,
        "size": image.size,
        "backing": image.backing,
        "capacity": image.file.capacity,
        "content": digest([image.content]),
        "bitmaps": [(stored.name, stored.in_use, stored.auto, stored.bits.count) for stored in image.bitmaps],
        "snapshots": [(kept.id, kept.name, kept.state_size, digest([kept.content])) for kept in image.snapshots],
    }


def differences(one: MachineLike, other: MachineLike) -> list[str]:
    """Where two machines differ: ``nodes.node0.bitmaps[0].dirty: [(0, 65536)] != []``; empty if nowhere."""
    return list(_differences(describe(one), describe(other), ""))


def _differences(one: Any, other: Any, path: str) -> list[str]:
    if isinstance(one, dict) and isinstance(other, dict):
        found: list[str] = []
        for key in [*one, *(key for key in other if key not in one)]:
            place = f"{path}.{key}" if path else str(key)
            if key not in one or key not in other:
                found.append(f"{place}: only in the {'second' if key not in one else 'first'}")
            else:
                found += _differences(one[key], other[key], place)
        return found
    if isinstance(one, list) and isinstance(other, list) and (len(one) == len(other) or _holds_dicts(one, other)):
        return _list_differences(one, other, path)
    return [] if one == other else [f"{path}: {one!r} != {other!r}"]


def _holds_dicts(one: list[Any], other: list[Any]) -> bool:
    return any(isinstance(each, dict) for each in (*one, *other))


def _list_differences(one: list[Any], other: list[Any], path: str) -> list[str]:
    found = [
        line
        for index, pair in enumerate(zip(one, other, strict=False))
        for line in _differences(*pair, f"{path}[{index}]")
    ]
    common = min(len(one), len(other))
    for which, rest in (("first", one[common:]), ("second", other[common:])):
        found += [f"{path}[{common + index}]: only in the {which}: {each!r}" for index, each in enumerate(rest)]
    return found
