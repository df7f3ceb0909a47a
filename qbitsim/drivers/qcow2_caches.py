"""The sizes of qcow2's caches, which change nothing here, but which QEMU checks."""

from __future__ import annotations

from qbitsim.errors import QmpError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

SMALLEST_ENTRY = 512
LONGEST_INTERVAL = (1 << 32) - 1
"""Seconds."""


def check_entry_size(options: Mapping[str, int], cluster_size: int) -> None:
    """Refuse slices of L2 tables of another size than QEMU takes; bytes (read_cache_sizes, block/qcow2.c, QEMU 10.0).

    :raises QmpError: it is no power of two, or out of range.
    """
    size = options.get("l2-cache-entry-size", cluster_size)
    if not SMALLEST_ENTRY <= size <= cluster_size or size & (size - 1):
        limits = f"between {SMALLEST_ENTRY} and the cluster size ({cluster_size})"
        raise QmpError(f"L2 cache entry size must be a power of two {limits}")


def check_clean_interval(options: Mapping[str, int]) -> None:
    """Refuse an interval, in seconds, that is too long (qcow2_update_options_prepare).

    :raises QmpError: it is.
    """
    if not 0 <= options.get("cache-clean-interval", 0) <= LONGEST_INTERVAL:
        raise QmpError("Cache clean interval too big")


def check_cache_sizes(options: Mapping[str, int]) -> None:
    """Refuse sizes, in bytes, that contradict each other.

    :raises QmpError: with the texts and in the order of read_cache_sizes (block/qcow2.c, QEMU 10.0).
    """
    if "cache-size" not in options:
        return
    if "l2-cache-size" in options and "refcount-cache-size" in options:
        raise QmpError("cache-size, l2-cache-size and refcount-cache-size may not be set at the same time")
    for name in ("l2-cache-size", "refcount-cache-size"):
        if options.get(name, 0) > options["cache-size"]:
            raise QmpError(f"{name} may not exceed cache-size")
