"""``change-backing-file``: what the header of an image calls its backing file (blockdev.c, QEMU 10.0)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from qbitsim.block.chain import chain
from qbitsim.commands.context import Context
from qbitsim.commands.mirrors import root_node
from qbitsim.errors import QmpError
from qbitsim.jobs.loop import kept_writable
from qbitsim.qapi.registry import command
from qbitsim.qapi.structs import struct

if TYPE_CHECKING:
    pass

MAXIMUM_BACKING_NAME = 1023
"""Bytes that a header has room for."""


@struct
class ChangeBackingFile:
    """Arguments of change-backing-file: the drive or its root node, and a node of its chain."""

    device: str
    image_node_name: str
    backing_file: str


@command("change-backing-file", ChangeBackingFile, since="2.1")
def change_backing_file(context: Context, args: ChangeBackingFile) -> None:
    """Write another name of the backing file into the header of an image; what is open stays open."""
    graph = context.graph
    root = root_node(context, args.device)
    image_node = graph.lookup(None, args.image_node_name)
    if image_node.skip_filters() is image_node and image_node.backing is None:
        raise QmpError("not allowing backing file change on an image without a backing file")
    root.check_not_blocked("change")
    if image_node not in list(chain(root)):
        raise QmpError(f"'{args.device}' and image file are not in the same chain")
    if len(args.backing_file.encode()) > MAXIMUM_BACKING_NAME:
        raise QmpError(f"Could not change backing file to '{args.backing_file}': {os.strerror(errno.EINVAL)}")
    name = args.backing_file or None
    with kept_writable(graph, image_node):
        try:
            image_node.change_backing_file(name, image_node.driver if name is not None else None)
        except OSError as error:
            raise QmpError(f"Could not change backing file to '{args.backing_file}': {error.strerror}") from None
