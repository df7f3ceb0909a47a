"""``qemu-img resize``."""

from __future__ import annotations

from qbitsim.errors import UnsupportedError
from qbitsim.images.chain import reader
from qbitsim.images.image import PREALLOCATIONS
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.qemu_img.files import Call, check_resizable, open_image
from qbitsim.qemu_img.options import ToolError, signed, size_parameter
from qbitsim.sizes import SECTOR

_SHRINK_WARNING = (
    "Use the --shrink option to perform a shrink operation.\n"
    "qemu-img: warning: Shrinking an image will delete all data beyond the shrunken image's end. "
    "Before performing such an operation, make sure there is no important data there."
)


_NOT_IN_FILE = ("off", "metadata")
"""With these kinds of preallocation the clusters that are new have to say that they are zero."""


def resize(call: Call) -> int:
    """``qemu-img resize``."""
    options = call.options
    options.only("q", "f", "shrink", "image-opts", "preallocation")
    given_mode = "off" if (found := options.last("preallocation")) is None else found
    mode = PREALLOCATIONS.get(given_mode)
    if mode is None:
        raise ToolError(f"Invalid preallocation mode '{given_mode}'")
    if len(options.words) != 2:
        many = len(options.words) > 2 and call.profile.qemu_img_commands_complain
        text = "Extra argument(s) in command line" if many else "Expecting image file name and size"
        raise ToolError(text, usage=True)
    name, text = options.words
    relative = {"+": 1, "-": -1}.get(text[:1], 0)
    given = signed(size_parameter("size", text[1:] if relative else text, call.profile))
    image = open_image(call, name, options.last("f"), write=True)
    size = image.size + relative * given if relative else given
    if size <= 0:
        raise ToolError("New image size must be positive")
    if size <= image.size and mode != "off":
        raise ToolError("Preallocation can only be used for growing images")
    if size <= image.size - SECTOR and "shrink" not in options:
        raise ToolError(_SHRINK_WARNING)
    if size % SECTOR and image.format == "qcow2":
        raise ToolError(f"The new size must be a multiple of {SECTOR}")
    check_resizable(image)
    if mode == "metadata" and image.format == "raw":
        raise UnsupportedError(f"preallocation={mode}")
    below = call.chain(name)[1:]
    contents = [each.content for each in below]
    zero_new = bool(below) and below[0].size > image.size
    last = -(-image.size // image.content.cluster_size) * image.content.cluster_size
    if isinstance(image, Qcow2Image) and image.compat == "0.10" and zero_new and size > last and mode in _NOT_IN_FILE:
        raise ToolError("Failed to zero out new clusters: Operation not supported")
    exact, size = size, -(-size // SECTOR) * SECTOR
    image.resize(size, zero_new=zero_new, below=reader(contents), preallocation=mode)
    if exact < size:
        image.file.end_at(exact)
    call.say("Image resized.")
    return 0
