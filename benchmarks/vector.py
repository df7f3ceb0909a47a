"""The bit vector itself: single bits, walks and whole-vector operations that the other areas only touch upon."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from benchmarks.bitmaps import owning_copy, scattered
from benchmarks.harness import Row, Run, main, median_time
from qbitsim.bits.bits import Bits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def single_bits(run: Run) -> Iterator[Row]:
    """One bit at a time, at random places."""
    places = Random(3).sample(range(run.granules), min(20_000, run.granules))

    def each(operation: Callable[[Bits, int], object]) -> Callable[[Bits], None]:
        def work(bits: Bits) -> None:
            for i in places:
                operation(bits, i)

        return work

    base = median_time(each(lambda _bits, _i: None), lambda: Bits(run.granules), run.few_repeats)
    full = scattered(run, 1)
    for name, operation, aim, prepare in (
        ("set", lambda bits, i: bits.set(i, i + 1), 7, lambda: owning_copy(full)),
        ("set in a shared copy", lambda bits, i: bits.set(i, i + 1), 7, full.copy),
        ("clear", lambda bits, i: bits.clear(i, i + 1), 7, lambda: owning_copy(full)),
        ("set 16", lambda bits, i: bits.set(i & ~15, (i & ~15) + 16), 14, lambda: owning_copy(full)),
        ("get", lambda bits, i: bits.get(i), 7, lambda: owning_copy(full)),
        ("next_set", lambda bits, i: bits.next_set(i), 14, lambda: owning_copy(full)),
    ):
        needed = median_time(each(operation), prepare, run.few_repeats) - base
        yield Row(name=f"vector: {name}", unit="µs", measured=needed / len(places), beside=run.turns, aim=aim)


def walks(run: Run) -> Iterator[Row]:
    """What a job does: from one area to the next, clearing it or not."""
    bits = scattered(run, 1)
    for name, clears, aim in (("next_area", False, 14), ("next_area and clear", True, 21)):
        needed = median_time(_clear_areas if clears else _visit_areas, bits.copy, run.few_repeats)
        yield Row(name=f"vector: {name}", unit="µs", measured=needed / bits.count, beside=run.turns, aim=aim)


def _visit_areas(bits: Bits) -> None:
    area: tuple[int, int] | None = (0, 0)
    while area is not None:
        area = bits.next_area(area[1], bits.length, 16)


def _clear_areas(bits: Bits) -> None:
    area: tuple[int, int] | None = (0, 0)
    while area is not None:
        area = bits.next_area(area[1], bits.length, 16)
        if area is not None:
            bits.clear(*area)


def whole_vectors(run: Run) -> Iterator[Row]:
    """What combines, compares or hashes all bits."""
    length = run.granules
    one, two, full = scattered(run, 1), scattered(run, 2), Bits(length)
    full.set_all()
    fine, quarter = Bits(length * 4), Bits(length // 4)
    fine.merge_scaled(one, 1, 4, length * 4)
    quarter.merge_scaled(one, 4, 1, length)

    def own() -> Bits:
        return owning_copy(one)

    def empty() -> Bits:
        return Bits(length)

    for name, action, aim, prepare in (
        ("copy", Bits.copy, 710, own),
        ("set all", Bits.set_all, 3_400, own),
        ("clear all", Bits.clear_all, 710, own),
        ("merge scattered into scattered", lambda bits: bits.merge(two), 6_300, own),
        ("merge scattered into empty", lambda bits: bits.merge(two), 3_100, empty),
        ("set all but one bit", lambda bits: bits.set(1, length), 16_000, own),
        ("merge into what shares its chunks", lambda bits: bits.merge(two), 6_300, one.copy),
        ("merge full into scattered", lambda bits: bits.merge(full), 3_100, own),
        ("subtract scattered", lambda bits: bits.subtract(two), 6_300, own),
        ("==", lambda bits: bits == one, 16_000, own),
        ("intersects", lambda bits: bits.intersects(two), 16_000, own),
        ("merge from 4 times finer", lambda bits: bits.merge_scaled(fine, 4, 1, length * 4), 290_000, empty),
        ("merge from 4 times coarser", lambda bits: bits.merge_scaled(quarter, 1, 4, length), 2_900_000, empty),
        ("sha256", Bits.sha256, 71_000, own),
    ):
        needed = median_time(action, prepare, run.few_repeats)
        yield Row(name=f"vector: {name}", unit="µs", measured=needed, beside=run.turns, aim=aim)


BENCHMARKS = (single_bits, walks, whole_vectors)

if __name__ == "__main__":
    main(*BENCHMARKS)
