"""qbitsim: an in-memory emulator of QEMU's dirty bitmaps, backup jobs and transactions, driven over QMP.

What the package exports is imported when it is first wanted, so that its pytest plugin costs nothing where it is
not used.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    from qbitsim.errors import QmpError, UnsupportedError
    from qbitsim.images.host.store import HostImageStore
    from qbitsim.images.store import ImageStore
    from qbitsim.machine.machine import Machine

    __version__: str
else:
    _HOMES = {
        "HostImageStore": "qbitsim.images.host.store",
        "ImageStore": "qbitsim.images.store",
        "Machine": "qbitsim.machine.machine",
        "QmpError": "qbitsim.errors",
        "UnsupportedError": "qbitsim.errors",
    }

    def __getattr__(name: str) -> object:
        if name == "__version__":
            from importlib.metadata import version  # noqa: PLC0415 - wanted once

            globals()[name] = version(__name__)
            return globals()[name]
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - wanted once

        globals()[name] = found = getattr(import_module(_HOMES[name]), name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOMES, "__version__"})


class _OldNames:
    """Comes last on ``sys.meta_path``, for modules that nobody has found."""

    @staticmethod
    def find_spec(name: str, *_: object) -> ModuleSpec | None:
        """A module that has moved, under its old name."""
        if not name.startswith(f"{__name__}."):
            return None
        from qbitsim.moved import spec_of  # noqa: PLC0415 - wanted where a name is old

        return spec_of(name)


sys.meta_path.append(_OldNames())

__all__ = ["HostImageStore", "ImageStore", "Machine", "QmpError", "UnsupportedError"]
