"""How fast qbitsim is, and real QEMU beside it: ``python -m benchmarks`` prints one table."""
