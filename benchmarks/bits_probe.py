"""How fast the bit vector is: prints one line for each operation, with the best time and the target.

Run it with ``python benchmarks/bits_probe.py`` from the top of the repository. Bitmaps of 1 TiB at 64 KiB have
16,777,216 bits; "scattered" means that 1 % of them, chosen with a fixed seed, are set.
"""

from __future__ import annotations

import random
import time
import tracemalloc
from typing import TYPE_CHECKING, TypeVar

from qbitsim.block.bits import Bits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

LENGTH = 1 << 24
SCATTERED = LENGTH // 100


def scattered(seed: int) -> Bits:
    """A vector of LENGTH bits with SCATTERED of them set."""
    bits = Bits(LENGTH)
    for i in random.Random(seed).sample(range(LENGTH), SCATTERED):
        bits.set(i, i + 1)
    return bits


def owning_copy(bits: Bits) -> Bits:
    """A copy that shares nothing: one bit of every chunk was changed and changed back."""
    twin = bits.copy()
    for i in range(0, LENGTH, 1 << 10):
        flip, restore = (twin.clear, twin.set) if twin.get(i) else (twin.set, twin.clear)
        flip(i, i + 1)
        restore(i, i + 1)
    return twin


def best(run: Callable[[T], object], prepare: Callable[[], T], repeats: int = 30) -> float:
    """The shortest time of `run` in microseconds; `prepare` makes its argument and is not timed."""
    times = []
    for _ in range(repeats):
        argument = prepare()
        start = time.perf_counter()
        run(argument)
        times.append(time.perf_counter() - start)
    return min(times) * 1e6


def single_bits() -> Iterator[tuple[str, float, float]]:
    """Operations on one bit, in microseconds each."""
    places = random.Random(3).sample(range(LENGTH), 20_000)

    def each(operation: Callable[[Bits, int], object]) -> Callable[[Bits], None]:
        def run(bits: Bits) -> None:
            for i in places:
                operation(bits, i)

        return run

    base = best(each(lambda _bits, _i: None), lambda: Bits(LENGTH))
    full = scattered(1)

    def own() -> Bits:
        return owning_copy(full)

    def shared() -> Bits:
        return full.copy()

    for name, operation, target, prepare in (
        ("set a bit", lambda bits, i: bits.set(i, i + 1), 0.5, own),
        ("set a bit (copies the chunk at first)", lambda bits, i: bits.set(i, i + 1), 0.5, shared),
        ("clear a bit", lambda bits, i: bits.clear(i, i + 1), 0.5, own),
        ("set 16 bits", lambda bits, i: bits.set(i & ~15, (i & ~15) + 16), 1.0, own),
        ("get a bit", lambda bits, i: bits.get(i), 0.5, own),
        ("count", lambda bits, _i: bits.count, 0.5, own),
        ("next_set", lambda bits, i: bits.next_set(i), 1.0, own),
    ):
        yield name, (best(each(operation), prepare, 8) - base) / len(places), target


def walk_areas(bits: Bits) -> None:
    """What a job does: from one area to the next."""
    area: tuple[int, int] | None = (0, 0)
    while area is not None:
        area = bits.next_area(area[1], LENGTH, 16)


def copy_areas(bits: Bits) -> None:
    """The same, clearing each area."""
    area: tuple[int, int] | None = (0, 0)
    while area is not None:
        area = bits.next_area(area[1], LENGTH, 16)
        if area is not None:
            bits.clear(*area)


def consume(iterator: Iterator[object]) -> None:
    """Run an iterator to its end."""
    for _ in iterator:
        pass


def iteration() -> Iterator[tuple[str, float, float]]:
    """Walking over scattered bits, in microseconds for each bit."""
    bits = scattered(1)
    for name, run, target in (
        ("indices, a bit", lambda bits: consume(bits.indices()), 0.5),
        ("ranges, a run", lambda bits: consume(bits.ranges()), 0.5),
        ("next_area, an area", walk_areas, 1.0),
        ("next_area and clear, an area", copy_areas, 1.5),
    ):
        yield name, best(run, bits.copy, 5) / SCATTERED, target


def whole_vectors() -> Iterator[tuple[str, float, float]]:
    """Operations on whole vectors of LENGTH bits, in microseconds."""
    one, two = scattered(1), scattered(2)
    full = Bits(LENGTH)
    full.set_all()

    def uncounted() -> Bits:
        bits = one.copy()
        bits.merge(two)
        return bits

    def owned() -> Bits:
        return owning_copy(one)

    def empty() -> Bits:
        return Bits(LENGTH)

    def eighth() -> Bits:
        return Bits(LENGTH // 8)

    merged = owned()

    def same() -> Bits:
        return merged

    fine_length = LENGTH * 4
    fine, quarter = Bits(fine_length), Bits(LENGTH // 4)
    fine.merge_scaled(one, 1, 4, fine_length)
    quarter.merge_scaled(one, 4, 1, LENGTH)
    for name, run, target, prepare in (
        ("set_all", Bits.set_all, 240.0, owned),
        ("clear_all", Bits.clear_all, 50.0, owned),
        ("set all but one bit", lambda bits: bits.set(1, LENGTH), 1100.0, owned),
        ("copy", Bits.copy, 50.0, owned),
        ("merge scattered into empty", lambda bits: bits.merge(one), 220.0, empty),
        ("merge scattered into scattered", lambda bits: bits.merge(two), 220.0, same),
        ("... that is not in the cache yet", lambda bits: bits.merge(two), 440.0, owned),
        ("... that shares its chunks", lambda bits: bits.merge(two), 440.0, one.copy),
        ("merge full into scattered", lambda bits: bits.merge(full), 220.0, owned),
        ("subtract scattered", lambda bits: bits.subtract(two), 440.0, owned),
        ("count after a merge", lambda bits: bits.count, 1100.0, uncounted),
        ("==", lambda bits: bits == one, 1100.0, owned),
        ("intersects", lambda bits: bits.intersects(two), 1100.0, owned),
        ("merge_scaled, 4 times finer", lambda bits: bits.merge_scaled(fine, 4, 1, fine_length), 2e4, empty),
        ("merge_scaled, 8 times finer", lambda bits: bits.merge_scaled(one, 8, 1, LENGTH), 6e3, eighth),
        ("merge_scaled, 4 times coarser", lambda bits: bits.merge_scaled(quarter, 1, 4, LENGTH), 2e5, empty),
        ("sha256", Bits.sha256, 5e3, owned),
    ):
        yield name, best(run, prepare, 5 if target > 5e3 else 40), target


def bytes_of(make: Callable[[], object]) -> int:
    """Bytes allocated for what `make` returns."""
    tracemalloc.start()
    kept = make()
    size = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    del kept
    return size


def giants() -> Iterator[tuple[str, float, float]]:
    """1 PiB at 64 KiB: 2**34 bits, in microseconds and bytes."""

    def some_sets() -> Bits:
        bits = Bits(1 << 34)
        for i in random.Random(4).sample(range(1 << 34), 100):
            bits.set(i, i + 1)
        return bits

    yield "create 2**34 bits", best(Bits, lambda: 1 << 34), 1000.0
    yield "set 100 scattered bits of 2**34", best(lambda _: some_sets(), lambda: None), 1000.0
    yield "walk those 100", best(lambda bits: consume(bits.ranges()), some_sets), 1000.0
    yield "set_all of 2**34", best(Bits.set_all, some_sets), 1000.0
    yield "bytes of an empty vector", bytes_of(lambda: [Bits(1 << 24) for _ in range(10_000)]) / 1e4, 512.0
    yield "bytes by memory(), empty", float(Bits(1 << 24).memory()), 512.0
    yield "bytes by memory(), 100 of 2**34 set", float(some_sets().memory()), 1048576.0


def main() -> None:
    """Print the table."""
    print(f"{'':45}{'measured':>12}{'target':>12}")
    for group in (single_bits, iteration, whole_vectors, giants):
        print(group.__doc__)
        for name, measured, target in group():
            print(f"  {name:43}{measured:12.3f}{target:12.1f}{'' if measured <= target else '  MISSED'}")


if __name__ == "__main__":
    main()
