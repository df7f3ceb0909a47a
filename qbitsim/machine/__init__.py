"""One QEMU: graph, jobs, clock, events, faults, and how it is started."""
