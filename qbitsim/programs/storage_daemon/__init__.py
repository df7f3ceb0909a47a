"""``qemu-storage-daemon``: block nodes, jobs and exports without a guest, on the files of the host."""
