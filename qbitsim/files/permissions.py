"""The permissions that a user of a node, or of a file, needs and shares (include/block/block-common.h, QEMU 10.0)."""

from __future__ import annotations

CONSISTENT_READ = 1
WRITE = 2
WRITE_UNCHANGED = 4
RESIZE = 8
ALL = 15

NAMES = {CONSISTENT_READ: "consistent read", WRITE: "write", WRITE_UNCHANGED: "write unchanged", RESIZE: "resize"}


def names(bits: int) -> str:
    """``write, resize``: the names of the permission bits."""
    return ", ".join(name for bit, name in NAMES.items() if bits & bit)
