"""``vmdk``: disks of VMware in one sparse file, as VMware's "Virtual Disk Format 5.0" describes them."""
