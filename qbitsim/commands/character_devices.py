"""Character devices: what monitors and devices of the guest talk through."""

from __future__ import annotations

from qbitsim.records import record

MONITOR = "compat_monitor0"
"""What QEMU calls the character device of the first ``-qmp``."""


@record
class CharacterDevice:
    """A character device as clients are told of it.

    :ivar filename: how QEMU describes what is behind it.
    """

    filename: str
    is_monitor: bool = False


ONE_MONITOR = {MONITOR: CharacterDevice("unix:qmp.sock,server=on", is_monitor=True)}
"""The character devices of ``-qmp unix:qmp.sock,server=on``."""
