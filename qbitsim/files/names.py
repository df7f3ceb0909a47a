"""Names of files, as clients say them and as the host has them."""

from __future__ import annotations


def host_name(name: str) -> str:
    """A name as the host can have it.

    QEMU keeps the U+0000 of a JSON text as the two bytes C0 80 (mod_utf8_encode(), util/unicode.c, 10.0), so that it
    ends no text in C, and files are called so.
    """
    return name.replace("\0", "\udcc0\udc80") if "\0" in name else name
