"""What ``qemu-img check`` finds in a qcow2 file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.images.qcow2.allocator import TABLE_ENTRY

if TYPE_CHECKING:
    from qbitsim.images.qcow2.layout import HostLayout


def fragments(layout: HostLayout) -> tuple[int, int, int]:
    """How many guest clusters are allocated, do not follow the one before, are compressed (check_refcounts_l2)."""
    places, packed, per_table = layout.active.places, layout.active.packed, layout.cluster_size // TABLE_ENTRY
    broken, table, expected = len(packed), -1, -1
    for guest in sorted(places):
        if guest // per_table != table:
            table, expected = guest // per_table, places[guest]
        broken += places[guest] != expected
        expected = places[guest] + 1
    return len(places) + len(packed), broken, len(packed)


def leaks(layout: HostLayout) -> list[tuple[int, int, int]]:
    """The clusters that are counted too often, ascending, each with its count and what that should be."""
    counts = {cluster: layout.clusters.refcount(cluster) for cluster in layout.leaked}
    return [(cluster, counts[cluster], counts[cluster] - more) for cluster, more in sorted(layout.leaked.items())]


def free_leaks(layout: HostLayout) -> None:
    """Give up the references that nothing holds (``qemu-img check -r leaks``)."""
    for cluster, count in sorted(layout.leaked.items()):
        for _ in range(count):
            layout.clusters.free(cluster)
    layout.leaked.clear()
