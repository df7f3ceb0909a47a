"""The descriptor: the text in a VMDK file, or a file of its own, that says what image it is.

Values are found as QEMU finds them: at the first place where their name stands (block/vmdk.c, 10.0).
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.images.vmdk.options import SUBFORMATS

if TYPE_CHECKING:
    from qbitsim.images.vmdk.options import VmdkOptions

NO_PARENT = 0xFFFF_FFFF
"""The content identifier of the parent of an image that has none."""

_MULTIPLE_FILES = (*(name for name in SUBFORMATS if name not in {"monolithicSparse", "streamOptimized"}),)
_OF_ESX = ("vmfs", "vmfsSparse", "seSparse")
_VERSION = re.compile(rb"(#[^\n]*\n| *\r?\n)*version=[123]\r?\n")
_TEXT = """\
# Disk DescriptorFile
version=1
CID={cid:x}
parentCID={parent:x}
createType="{subformat}"

# Extent description
RW {sectors} SPARSE "{file}"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "{hardware}"
ddb.geometry.cylinders = "{cylinders}"
ddb.geometry.heads = "{heads}"
ddb.geometry.sectors = "63"
ddb.adapterType = "{adapter}"
ddb.toolsVersion = "{tools}"
"""


def new_descriptor(name: str, size: int, cid: int, options: VmdkOptions) -> bytes:
    """That of a new image in the one file *name*, whose disk has *size* bytes."""
    heads = 16 if options.adapter == "ide" else 255
    return _TEXT.format(
        cid=cid,
        parent=NO_PARENT,
        subformat=options.type,
        sectors=size // 512,
        file=posixpath.basename(name),
        hardware=options.hardware,
        cylinders=size // (63 * heads * 512),
        heads=heads,
        adapter=options.adapter,
        tools=options.toolsversion or "2147483647",
    ).encode("utf-8", "surrogateescape")


def is_descriptor(beginning: bytes) -> bool:
    """Whether a file that begins so is a descriptor of its own (vmdk_probe): comments, empty lines, a version."""
    return _VERSION.match(beginning) is not None


def content_ids(descriptor: bytes) -> tuple[int, int] | None:
    """The content identifiers of an image and of its parent; None if one is missing (vmdk_read_cid)."""
    own, parent = (re.search(name + rb".\s*(?:0x)?([0-9a-fA-F]+)", descriptor) for name in (b"CID", b"parentCID"))
    return None if own is None or parent is None else (int(own[1][-8:], 16), int(parent[1][-8:], 16))


def with_content_id(descriptor: bytes, cid: int) -> bytes:
    """A descriptor with another content identifier, as long as it was (vmdk_write_cid)."""
    text, length = descriptor.partition(b"\0")[0], len(descriptor)
    rest = text[text.index(b"parentCID") :]
    start = text.index(b"CID") + len(b"CID=")
    return (text[:start] + f"{cid:x}\n".encode() + rest)[: length - 1].ljust(length, b"\0")


def has_parent(descriptor: bytes) -> bool:
    """Whether the image is a layer above another one."""
    return b"parentFileNameHint" in descriptor.partition(b"\0")[0]


def refuse_descriptor(text: bytes) -> None:
    """Refuse what a descriptor of its own leads to (vmdk_open_desc_file).

    :raises QmpError: always: it is none, or an :class:`UnsupportedError` if it leads to files that QEMU would open.
    """
    found = re.search(rb'createType..([^"]*)"', text.partition(b"\0")[0], re.DOTALL)
    if found is None:
        raise QmpError("invalid VMDK image descriptor")
    name = found[1].decode("utf-8", "replace")
    if name in (*_MULTIPLE_FILES, *_OF_ESX):
        raise UnsupportedError(f"vmdk images of the type '{name}'")
    raise QmpError(f"Unsupported image type '{name}'")
