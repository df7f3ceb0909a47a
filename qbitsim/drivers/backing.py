"""The backing file below a node of a format (bdrv_open_backing_file, block.c, QEMU 10.0)."""

from __future__ import annotations

from copy import deepcopy

from qbitsim.drivers.driver import DRIVERS
from qbitsim.drivers.options import Options, file_options
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.drivers.opener import Opener


@record
class Backing:
    """A backing file that is to be opened.

    :ivar reference: the name of a node, or options.
    :ivar inherited: the options that it takes over from the node above.
    :ivar named: it has the name in the header of the image above; :ivar implicit: and nothing else was said of it.
    :ivar probed: the file's format was told from its content.
    """

    reference: str | Options
    inherited: Options
    named: bool = False
    implicit: bool = False
    probed: bool = False


def backing_of(opener: Opener, node: Node, options: Options) -> Backing | None:
    """The backing file of a node, as its options and its image's header say; always read-only.

    The name in the header is handed down unless a name was given for the file of the backing file.

    :raises QmpError: they make no sense together.
    """
    given = options.get("backing", {})
    if given is None:
        return None
    if not node.supports_backing:
        if given and isinstance(given, dict):
            raise QmpError("Driver doesn't support backing files")
        return None
    inherited = {**file_options(options), "read-only": True, "auto-read-only": False}
    if isinstance(given, str):
        return Backing(given, inherited)
    image, file = node.image, given.get("file")
    name = image.backing if image is not None else None
    if isinstance(file, dict) and "filename" in file:
        name = None
    elif name is None and not given:
        return None
    try:
        completed, probed = _completed(opener, node, given, name)
    except UnsupportedError:
        raise
    except QmpError as error:
        raise failed_below(1, error) from None
    return Backing(completed, inherited, named=name is not None, implicit=not given, probed=probed)


def _completed(opener: Opener, node: Node, given: Options, name: str | None) -> tuple[Options, bool]:
    """The options of a backing file with what the header above says of it; and whether its format was looked up."""
    options, image = deepcopy(given), node.image
    if "driver" not in options and image is not None and image.backing_format is not None:
        options["driver"] = image.backing_format
    if name is not None and not name.startswith("json:"):
        name = opener.graph.images.backing_name(node.filename, name)
    completed, probed = opener.complete(options, name)
    is_plain = not given and DRIVERS[completed["driver"]].node.is_format and not (name or "").startswith("json:")
    return completed if is_plain else opener.checked(completed), probed


def failed_below(layers: int, error: QmpError) -> QmpError:
    """What the opening of a node says if a backing file could not be opened, below so many that headers name."""
    return QmpError(f"{'Could not open backing file: ' * layers}{error.desc}", hint=error.hint)
