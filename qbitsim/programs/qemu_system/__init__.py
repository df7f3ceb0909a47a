"""``qemu-system-x86_64``: a machine on the files of the host, with the command line, monitors and manners of QEMU."""
