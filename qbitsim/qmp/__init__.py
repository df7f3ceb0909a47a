"""The protocol of a monitor, bytes to bytes: JSON as QEMU reads and writes it, sessions, faults of monitors."""
