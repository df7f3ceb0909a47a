"""The character device of a machine that is no process of its own."""

from __future__ import annotations

from qbitsim.records import record

MONITOR = "compat_monitor0"
"""What QEMU calls the character device of the first ``-qmp``."""


@record
class MonitorChardev:
    """A monitor's socket, at which the client sits, as ``-qmp unix:qmp.sock,server=on`` makes it."""

    kind: str = "chardev-socket"
    filename: str = "unix:qmp.sock,server=on"
    in_use: bool = True


ONE_MONITOR = {MONITOR: MonitorChardev()}
"""All that such a machine has."""
