"""qbitsim: an in-memory emulator of QEMU's dirty bitmaps, backup jobs and transactions, driven over QMP.

What the package exports is imported when it is first wanted, so that its pytest plugin costs nothing where it is
not used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.moved import find_moved_modules

if TYPE_CHECKING:
    from qbitsim.errors import QmpError, UnsupportedError
    from qbitsim.images.store import ImageStore
    from qbitsim.machine.machine import Machine
else:
    _HOMES = {
        "ImageStore": "qbitsim.images.store",
        "Machine": "qbitsim.machine.machine",
        "QmpError": "qbitsim.errors",
        "UnsupportedError": "qbitsim.errors",
    }

    def __getattr__(name: str) -> object:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - wanted once

        globals()[name] = found = getattr(import_module(_HOMES[name]), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOMES})


find_moved_modules()

__all__ = ["ImageStore", "Machine", "QmpError", "UnsupportedError"]
