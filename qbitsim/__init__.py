"""qbitsim: an in-memory emulator of QEMU's dirty bitmaps, backup jobs and transactions, driven over QMP."""

from __future__ import annotations

from qbitsim.block.images import ImageStore
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.machine import Machine

__all__ = ["ImageStore", "Machine", "QmpError", "UnsupportedError"]
