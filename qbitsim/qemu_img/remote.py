"""Images on NBD servers: names with the protocol ``nbd``, and the options that ``--image-opts`` has for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qbitsim.drivers.drive_options import nested
from qbitsim.drivers.nbd import check_options, connect
from qbitsim.drivers.nbd_names import name_of, take_server
from qbitsim.errors import QmpError
from qbitsim.nbd.remote_file import RemoteImageFile
from qbitsim.qemu_img.options import ToolError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qbitsim.block.limits import Limits
    from qbitsim.images.image import Image
    from qbitsim.images.image_file import ImageFile
    from qbitsim.images.store import ImageStore

_OPTIONS = {
    *("driver", "server", "export", "tls-creds", "tls-hostname", "x-dirty-bitmap", "reconnect-delay", "open-timeout"),
    *("path", "host", "port", "read-only", "auto-read-only", "discard", "cache", "node-name", "detect-zeroes"),
}


def add_export(store: ImageStore, options: Mapping[str, Any]) -> str:
    """Connect to an export and let the store have it under a name, which is returned.

    :param options: of a node with the driver ``nbd``.
    :raises QmpError: with QEMU's text.
    """
    check_options(options)
    place = name_of(options["server"], options.get("export")) or str(options["server"])
    name = place if "x-dirty-bitmap" not in options else f"{place}#{options['x-dirty-bitmap']}"
    if not store.is_remote(name):
        store.add_remote(name, RemoteImageFile(name, connect(store.network, options)))
    return name


def limits_of(file: ImageFile) -> Limits:
    """What the server that has a file asks of requests."""
    assert isinstance(file, RemoteImageFile)
    return file.limits


def check_writable(file: ImageFile) -> None:
    """Refuse an export that its server lets nobody write.

    :raises ToolError: it is one.
    """
    assert isinstance(file, RemoteImageFile)
    if file.bytes.export.read_only:
        raise ToolError("Could not open image: Permission denied")


def make_image(file: ImageFile, image_format: str, size: int, **options: Any) -> Image:
    """See :meth:`.RemoteImageFile.make_image`.

    :raises ToolError: it cannot be.
    :raises OSError: as the server says.
    """
    assert isinstance(file, RemoteImageFile)
    try:
        return file.make_image(image_format, size, **options)
    except QmpError as error:
        raise ToolError(error.desc) from None


def take_image_options(options: Mapping[str, str]) -> dict[str, Any]:
    """The options of a node from texts with dotted names.

    :raises ToolError: there is no such option.
    :raises QmpError: they do not fit together.
    """
    tree = nested(options)
    for name in tree:
        if name not in _OPTIONS:
            raise ToolError(f"Block protocol 'nbd' doesn't support the option '{name}'")
    take_server(tree)
    return tree
