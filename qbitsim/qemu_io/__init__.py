"""qemu-io's commands on a drive."""
