"""The qcow2 format: what a file holds, and where in it."""
