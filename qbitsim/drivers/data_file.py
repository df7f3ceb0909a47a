"""The external data file below a qcow2 node (qcow2_do_open, block/qcow2.c, QEMU 10.0)."""

from __future__ import annotations

from qbitsim.drivers.file import file_below
from qbitsim.errors import QmpError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.drivers.opener import Opener
    from qbitsim.drivers.options import Options
    from qbitsim.images.qcow2.image import Qcow2Image


def open_data_file(opener: Opener, node: Node, image: Qcow2Image, options: Options) -> None:
    """Open the data file as the options of *node* say, or else the one that its image's header names.

    :raises QmpError: it cannot be opened, or the image has none.
    :raises UnsupportedError: it leads to no file.
    """
    data = image.data_file
    if "data-file" in options:
        opener.open_child(node, "data-file", options)
        if data is None:
            raise QmpError("'data-file' can only be set for images with an external data file")
    elif data is None:
        return
    elif data.name is None:
        raise QmpError("'data-file' is required for this image")
    else:
        # The name is not relative to the image, as that of a backing file is.
        opener.open_child(node, "data-file", options, {"driver": "file", "filename": data.name})
    child = node.child("data-file")
    assert child is not None
    file = file_below(child.node)
    if file is None:
        raise UnsupportedError(f"a data file in a node of driver '{child.node.driver}'")
    data.file, data.is_held = file, True
