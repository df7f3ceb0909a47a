"""Logs of clients, in which is what was said to QEMU: read, compared with a machine, told as histories."""
