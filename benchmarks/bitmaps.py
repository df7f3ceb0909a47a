"""Whole bitmaps of 1 TiB at 64 KiB granularity, 1 % of them dirty where it says scattered, and one of 1 PiB.

QEMU's times are those of its process for a command over its socket without that for ``query-status``, which does
nothing; qbitsim's are those of the same command in process.
"""

from __future__ import annotations

import os
import tempfile
import time
import tracemalloc
from random import Random
from typing import TYPE_CHECKING

from benchmarks.harness import GRANULE, Clock, Row, Run, beside_qemu, main, median_time, processor_time
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
    """Set, clear and merge all of a bitmap, and ask for its count after a merge, by the same commands on both."""
    ours = _time(run, _machine(run).qmp)
    theirs = _time_qemu(run) if run.qemu else {}
    for key, name, aim in (
        ("set", "set all of a bitmap, merging a coarse one", 0.2),
        ("clear", "clear a scattered bitmap", 0.2),
        ("merge", "merge a scattered bitmap into another", 0.2),
        ("count", "... and ask for its count", 1),
    ):
        yield Row(name=name, unit="µs", measured=ours[key], beside=beside_qemu(theirs.get(key)), aim=aim)


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
            clock = processor_time(qemu.pid)
            nothing = median_time(lambda _: qemu.call("query-status"), lambda: None, run.repeats, clock)
            times = _time(run, qemu.call, clock)
            return {name: max(1e-9, needed - nothing * (1 + (name == "count"))) for name, needed in times.items()}


def _time(run: Run, call: Callable[..., object], clock: Clock = time.process_time) -> dict[str, float]:
    """Seconds for each kind of work with ``call``, which runs a command on a disk ``n0``."""
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

    def merge_and_count() -> None:
        merge("work", "two")
        call("query-named-block-nodes")

    return {
        "set": median_time(lambda _: merge("work", "coarse"), clear, run.repeats, clock),
        "clear": median_time(lambda _: clear(), fill, run.repeats, clock),
        "merge": median_time(lambda _: merge("work", "two"), fill, run.repeats, clock),
        "count": median_time(lambda _: merge_and_count(), fill, run.repeats, clock),
    }


def iteration(run: Run) -> Iterator[Row]:
    """From one scattered dirty granule to the next."""
    bits = scattered(run, 1)
    for name, iterate in (("visit a scattered dirty granule", bits.indices), ("... as a run of granules", bits.ranges)):
        needed = median_time(_consume, iterate, run.few_repeats)
        each = needed / bits.count
        yield Row(
            name=name, unit="µs", measured=each, beside=run.turns, aim=7, note="QEMU has no command for this alone"
        )


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
    yield Row(name="add a bitmap to a disk of 1 PiB", unit="µs", measured=needed, beside=beside_qemu(qemu), aim=0.2)
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

        clock = processor_time(qemu.pid)
        return median_time(lambda _: qemu.call("block-dirty-bitmap-add", **added), remove, run.repeats, clock)


BENCHMARKS = (whole, iteration, giant)

if __name__ == "__main__":
    main(*BENCHMARKS)
