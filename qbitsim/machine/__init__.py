"""One QEMU: graph, jobs, clock, events, faults, and how it is started."""

from qbitsim.machine.machine import Machine

__all__ = ["Machine"]
