"""qemu-img's commands on an image store."""
