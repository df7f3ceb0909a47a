"""The backing file below a node of a format (bdrv_open_backing_file, block.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.drivers.filename_options import json_options, protocol_options
from qbitsim.drivers.options import Options, file_options
from qbitsim.errors import QmpError, UnsupportedError

if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.drivers.opener import Opener
    from qbitsim.images.image import Image


def open_backing(opener: Opener, node: Node, image: Image, options: Options) -> None:
    """Open the backing file as the options of *node* say, or else as its image's header does; always read-only.

    :raises QmpError: ``Could not open backing file: ...`` for the one in the header.
    :raises UnsupportedError: they lead in a circle; QEMU goes round until it has no memory.
    """
    inherited = {**file_options(options), "read-only": True, "auto-read-only": False}
    given = options.get("backing", {})
    if given is None:
        return
    if not isinstance(given, dict) or ("driver" in given and given.keys() - {"driver", "node-name"}):
        opener.open_child(node, "backing", options, inherited=inherited)
        return
    name = image.backing
    if name is None:
        return
    if image in opener.opening:
        raise UnsupportedError(f"backing files in a circle, such as that of '{node.filename}'")
    opener.opening.append(image)
    try:
        named = {**_named(opener, node, image, name), **given}
        opener.open_child(node, "backing", options, named, inherited=inherited)
        assert node.backing is not None
        node.backing.probed = not name.startswith("json:") and image.backing_format is None
    except QmpError as error:
        if isinstance(error, UnsupportedError):
            raise
        raise QmpError(f"Could not open backing file: {error.desc}") from None
    finally:
        opener.opening.pop()


def _named(opener: Opener, node: Node, image: Image, name: str) -> Options:
    """The options of the backing file that the image's header names."""
    if name.startswith("json:"):
        return json_options(name)
    file = protocol_options(opener.graph.images.backing_name(node.filename, name))
    return {"driver": image.backing_format or opener.format_of(file), "file": file}
