"""``qemu-nbd``: one image over NBD, or what the exports of another server are."""
