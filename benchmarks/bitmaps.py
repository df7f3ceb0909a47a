"""Whole bitmaps of 1 TiB at 64 KiB granularity, 1 % of them dirty where it says scattered, and one of 1 PiB.

QEMU's times are those of a command over its socket without that of ``query-status``, which does nothing; qbitsim's are
those of the same command in process.
"""

from __future__ import annotations

import os
import tempfile
import tracemalloc
from random import Random
from typing import TYPE_CHECKING

from benchmarks.harness import GRANULE, Row, Run, main, median_time
from benchmarks.qemu import null_node, running, store_bitmap, stored_node
from qbitsim import Machine
from qbitsim.bits.bits import Bits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_COARSE = 1 << 31


def scattered(run: Run, seed: int) -> Bits:
    """A vector with 1 % of its bits set."""
    bits = Bits(run.granules)
    for i in run.scattered(seed):
        bits.set(i, i + 1)
    return bits


def owning_copy(bits: Bits) -> Bits:
    """A copy that shares nothing: one bit of every chunk was changed and changed back."""
    twin = bits.copy()
    for i in range(0, bits.length, 1 << 10):
        flip, restore = (twin.clear, twin.set) if twin.get(i) else (twin.set, twin.clear)
        flip(i, i + 1)
        restore(i, i + 1)
    return twin


def whole(run: Run) -> Iterator[Row]:
    """Set, clear, merge and count all of a bitmap, the first three by the same commands on both."""
    ours = _time(run, _machine(run).qmp)
    theirs = _time_qemu(run) if run.qemu else {}
    five_fold = {name: theirs[name] / 5 if theirs else seen for name, seen in (("set", 240e-6), ("merge", 220e-6))}
    for key, name, aim in (
        ("set", "set all of a bitmap, merging a coarse one", five_fold["set"]),
        ("clear", "clear a scattered bitmap", 50e-6),
        ("merge", "merge a scattered bitmap into another", five_fold["merge"]),
    ):
        yield Row(name=name, unit="µs", measured=ours[key], aim=aim, qemu=theirs.get(key))
    one, two = scattered(run, 1), scattered(run, 2)

    def merged() -> Bits:
        bits = one.copy()
        bits.merge(two)
        return bits

    needed = median_time(lambda bits: bits.count, merged, run.repeats)
    yield Row(name="count a bitmap after a merge", unit="µs", measured=needed, aim=1100e-6)


def _machine(run: Run) -> Machine:
    """A machine with the disk ``n0`` and two that have a scattered bitmap ``b``."""
    machine = Machine()
    machine.add_node({"driver": "null-co", "node-name": "n0", "size": run.disk})
    for seed in (1, 2):
        node = machine.add_node({"driver": "null-co", "node-name": f"stored{seed}", "size": run.disk})
        node.create_bitmap("b", GRANULE).bits = scattered(run, seed)
    return machine


def _time_qemu(run: Run) -> dict[str, float]:
    """What :func:`_time` gives on QEMU, without the time that a command needs to do nothing."""
    assert run.qemu is not None
    with tempfile.TemporaryDirectory() as directory:
        paths = [os.path.join(directory, f"{seed}.qcow2") for seed in (1, 2)]
        for seed, path in enumerate(paths, 1):
            store_bitmap(path, run.disk, run.scattered(seed))
        stored = [stored_node(f"stored{seed}", path) for seed, path in enumerate(paths, 1)]
        with running(run.qemu, null_node("n0", run.disk), *stored) as qemu:
            nothing = median_time(lambda _: qemu.call("query-status"), lambda: None, run.repeats)
            return {name: max(0.0, needed - nothing) for name, needed in _time(run, qemu.call).items()}


def _time(run: Run, call: Callable[..., object]) -> dict[str, float]:
    """Seconds for ``set``, ``clear`` and ``merge`` with ``call``, which runs a command on a disk ``n0``."""
    for name, granularity in (("coarse", _COARSE), ("one", GRANULE), ("two", GRANULE), ("work", GRANULE)):
        call("block-dirty-bitmap-add", node="n0", name=name, granularity=granularity)
    for offset in range(0, run.disk, _COARSE):
        call("human-monitor-command", command_line=f'qemu-io n0 "write {offset} 512"')

    def merge(target: str, source: object) -> None:
        call("block-dirty-bitmap-merge", node="n0", target=target, bitmaps=[source])

    def clear(name: str = "work") -> None:
        call("block-dirty-bitmap-clear", node="n0", name=name)

    for seed, name in enumerate(("one", "two"), 1):
        clear(name)
        merge(name, {"node": f"stored{seed}", "name": "b"})

    def fill() -> None:
        clear()
        merge("work", "one")

    return {
        "set": median_time(lambda _: merge("work", "coarse"), clear, run.repeats),
        "clear": median_time(lambda _: clear(), fill, run.repeats),
        "merge": median_time(lambda _: merge("work", "two"), fill, run.repeats),
    }


def iteration(run: Run) -> Iterator[Row]:
    """From one scattered dirty granule to the next."""
    bits = scattered(run, 1)
    for name, iterate in (("visit a scattered dirty granule", bits.indices), ("... as a run of granules", bits.ranges)):
        needed = median_time(_consume, iterate, run.few_repeats)
        yield Row(name=name, unit="µs", measured=needed / bits.count, aim=0.5e-6, note="QEMU has no such command")


def _consume(items: Iterable[object]) -> None:
    for _ in items:
        pass


def giant(run: Run) -> Iterator[Row]:
    """A bitmap on a disk of 1 PiB, with a hundred scattered writes."""

    def machine() -> Machine:
        fresh = Machine()
        fresh.add_disk("drive0", run.giant)
        return fresh

    def bitmap(machine: Machine) -> None:
        machine.qmp("block-dirty-bitmap-add", node="drive0", name="bitmap0", granularity=GRANULE)

    needed = median_time(bitmap, machine, run.repeats)
    qemu = _qemu_giant(run) if run.qemu else None
    yield Row(name="add a bitmap to a disk of 1 PiB", unit="µs", measured=needed, aim=1e-3, qemu=qemu)
    fresh = machine()
    tracemalloc.start()
    bitmap(fresh)
    for i in Random(4).sample(range(run.giant // GRANULE), 100):
        fresh.drive("drive0").write_zeroes(i * GRANULE, GRANULE)
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    yield Row(name="... its memory, with 100 scattered writes", unit="KiB", measured=size, aim=1 << 20)


def _qemu_giant(run: Run) -> float:
    assert run.qemu is not None
    with running(run.qemu, null_node("n0", run.giant)) as qemu:
        added = {"node": "n0", "name": "bitmap0"}

        def remove() -> None:
            if qemu.call("query-named-block-nodes")[0].get("dirty-bitmaps"):
                qemu.call("block-dirty-bitmap-remove", **added)

        return median_time(lambda _: qemu.call("block-dirty-bitmap-add", **added), remove, run.repeats)


BENCHMARKS = (whole, iteration, giant)

if __name__ == "__main__":
    main(*BENCHMARKS)
