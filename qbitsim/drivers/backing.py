"""The backing file below a node of a format (bdrv_open_backing_file, block.c, QEMU 10.0)."""

from __future__ import annotations

from qbitsim.drivers.driver import DRIVERS
from qbitsim.drivers.filename_options import protocol_options
from qbitsim.drivers.options import Options, file_options
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.drivers.opener import Opener
    from qbitsim.images.image import Image


@record
class Backing:
    """A backing file that is to be opened.

    :ivar reference: the name of a node, or options.
    :ivar inherited: the options that it takes over from the node above.
    :ivar named: the header of the image above names it; the file's format was told from its content.
    """

    reference: str | Options
    inherited: Options
    named: bool = False
    probed: bool = False


def backing_of(opener: Opener, node: Node, options: Options) -> Backing | None:
    """The backing file of a node, as its options or else its image's header say; always read-only.

    :raises QmpError: the header's name makes no sense.
    """
    if not node.supports_backing:
        return None
    inherited = {**file_options(options), "read-only": True, "auto-read-only": False}
    given = options.get("backing", {})
    if given is None:
        return None
    if not isinstance(given, dict):
        assert isinstance(given, str)
        return Backing(given, inherited)
    image = node.image
    name = image.backing if image is not None else None
    if "driver" in given and name is not None:
        try:
            check_nothing_handed_down(given)
        except QmpError as error:
            raise failed_below(1, error) from None
    if "driver" in given and given.keys() - {"driver", "node-name"}:
        return Backing(given, inherited)
    if image is None or name is None:
        return Backing(given, inherited) if "driver" in given else None
    probed = not name.startswith("json:") and image.backing_format is None
    try:
        named = _named(opener, node, image, name)
    except UnsupportedError:
        raise
    except QmpError as error:
        raise failed_below(1, error) from None
    return Backing({**named, **given}, inherited, named=True, probed=probed)


def check_nothing_handed_down(options: Options) -> None:
    """Refuse options that say all of a backing file and leave no place for the name in the header above.

    Unless they have a file with a name, QEMU hands the header's down: from each node to its file, or the one that its
    driver takes a name for (bdrv_open_backing_file and bdrv_open_child_bs).

    :raises QmpError: something is in its way.
    """
    file = options.get("file")
    if isinstance(file, dict) and "filename" in file:
        return
    below: object = options
    while isinstance(below, dict):
        driver = below.get("driver", "")
        if "filename" in below:
            raise QmpError("Can't specify 'file' and 'filename' options at the same time")
        if driver == "quorum":
            raise QmpError("Block format 'quorum' does not support the option 'file'")
        if driver in {"null-co", "null-aio"}:
            raise QmpError(f"The only allowed filename for this driver is '{driver}://'")
        if driver == "nbd":
            raise QmpError("Option 'server.path' cannot be used with a file name")
        child = DRIVERS[driver].node.named_child if driver in DRIVERS else "file"
        if child not in below:
            return
        below = below[child]
    raise QmpError("Cannot reference an existing block device with additional options or a new filename")


def failed_below(layers: int, error: QmpError) -> QmpError:
    """What the opening of a node says if a backing file could not be opened, below so many that headers name."""
    return QmpError(f"{'Could not open backing file: ' * layers}{error.desc}")


def _named(opener: Opener, node: Node, image: Image, name: str) -> Options:
    """The options of the backing file that the image's header names."""
    if name.startswith("json:"):
        return opener.json_options(name, {} if image.backing_format is None else {"driver": image.backing_format})
    full_name = opener.graph.images.backing_name(node.filename, name)
    if image.backing_format is not None:
        return opener.options_for(image.backing_format, full_name)
    file = protocol_options(full_name)
    return {"driver": opener.format_of(file), "file": file}
