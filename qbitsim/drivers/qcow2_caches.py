"""The sizes of qcow2's caches, which change nothing here, but which QEMU checks."""

from __future__ import annotations

from collections.abc import Mapping

from qbitsim.errors import QmpError


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
