"""Failures on purpose, and what others do to a machine: guests that write by themselves, jobs of other clients."""
