"""Logs in which clients of QEMU have written down what was said."""
