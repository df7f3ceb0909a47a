"""``qemu-img create``.

The order of the checks of ``create`` is that of bdrv_img_create (block.c, 10.0): those before the line
``Formatting ...`` need only the arguments and the backing file, those after it come from the format, when an existing
file is already gone.
"""

from __future__ import annotations

from qbitsim.images.store import has_protocol
from qbitsim.images.wanted import Wanted
from qbitsim.qemu_img.creation import make_image, option_pairs, parse_creation
from qbitsim.qemu_img.files import Call, find_image, open_backing, plain_name
from qbitsim.qemu_img.formats import check_format, known_format
from qbitsim.qemu_img.options import ToolError, check_option_list, size_argument
from qbitsim.records import changed

READERS = {"create": {"o": check_option_list}}


def create(call: Call) -> int:
    """``qemu-img create``."""
    options = call.options
    options.only("q", "f", "o", "b", "F", "u")
    if options.wants_help:
        from qbitsim.qemu_img.option_lists import print_creation_options  # noqa: PLC0415 - reads what few ask for

        return print_creation_options(call, options.last("f", "raw"), next(iter(options.words), None))
    if not options.words:
        raise ToolError("Expecting image file name", usage=True)
    name, format_name = options.words[0], options.last("f", "raw")
    size = size_argument("image size", options.words[1], call.profile) if len(options.words) > 1 else None
    if len(options.words) > 2:
        raise ToolError(f"Unexpected argument: {options.words[2]}", usage=True)
    try:
        check_format(format_name)
        plain = name if name.startswith(("nbd:", "nbd+")) else plain_name(call.store, name)
        wanted = parse_creation(call, Wanted(format=format_name, size=size), option_pairs(call))
        wanted = _with_backing(call, plain, wanted)
        call.say(f"Formatting '{name}', {wanted.describe()}")
        call.streams.flush()
        make_image(call, name, wanted)
    except ToolError as error:
        raise ToolError(f"{name}: {error.text}") from None
    return 0


def _with_backing(call: Call, name: str, wanted: Wanted) -> Wanted:
    """The checks about the backing file; its size is the default size."""
    if wanted.backing is not None:
        if not wanted.backing:
            raise ToolError("Expected backing file name, got empty string")
        if wanted.backing == name:
            raise ToolError("Error: Trying to create an image with the same filename as the backing file")
        if "u" not in call.options:
            wanted = _open_backing_of_new(call, name, wanted)
        elif wanted.backing_format is None:
            raise ToolError("Backing file specified without backing format")
    if wanted.size is None:
        raise ToolError("Image creation needs a size parameter")
    return wanted


def _open_backing_of_new(call: Call, name: str, wanted: Wanted) -> Wanted:
    assert wanted.backing is not None
    full, chosen = call.store.backing_name(name, wanted.backing), wanted.backing_format
    try:
        if chosen is not None and not known_format(chosen):
            raise ToolError(f"Unknown driver '{chosen}'")
        if has_protocol(full) and not full.startswith("file:"):
            from qbitsim.qemu_img.nodes import disk_size  # noqa: PLC0415 - loads all drivers

            size, found = disk_size(call, full, chosen)
        else:
            backing = find_image(call.store, full, chosen)
            open_backing(call, backing, full)
            size, found = backing.size, backing.format
    except ToolError as error:
        raise ToolError(f"{error.text}\nCould not open backing image.") from None
    if chosen is None:
        end = "" if call.profile.qemu_img_hint_ends_line else "\0"
        raise ToolError(f"Backing file specified without backing format\nDetected format of {found}.{end}")
    return wanted if wanted.size is not None else changed(wanted, size=size)
