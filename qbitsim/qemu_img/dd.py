"""``qemu-img dd``: copy a part of an image block by block into a new one (img_dd, qemu-img.c, 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.files.failures import step
from qbitsim.images.chain import read_chain
from qbitsim.images.wanted import Wanted
from qbitsim.qemu_img.creation import make_image
from qbitsim.qemu_img.files import Call, check_not_open, contents, open_image
from qbitsim.qemu_img.formats import known_format
from qbitsim.qemu_img.options import INT64_MAX, ToolError, parse_size, size_argument

if TYPE_CHECKING:
    from qbitsim.images.image import Image

_BLOCK = 512
_MAXIMUM_BLOCK = 2**31 - 1


def dd(call: Call) -> int:
    """``qemu-img dd``."""
    options = call.options
    options.only("f", "O", "U", "image-opts")
    operands = _operands(call)
    if "if" not in operands or "of" not in operands:
        raise ToolError("Must specify both input and output files")
    source, target_name = str(operands["if"]), str(operands["of"])
    block, count, skip = (operands.get(name) for name in ("bs", "count", "skip"))
    image = open_image(call, source, options.last("f"))
    format_name = options.last("O", "raw")
    if not known_format(format_name):
        raise ToolError("Unknown file format")
    chain, unit = contents(call, source), int(block or _BLOCK)
    end = image.size if count is None else min(image.size, int(count) * unit)  # the skipped ones count, too
    begin = int(skip or 0) * unit
    target = _make(call, target_name, Wanted(format=format_name, size=max(end - begin, 0)), source)
    if begin > end:
        call.complain(f"qemu-img: {source}: cannot skip to specified offset\n")
        return 0
    for offset in range(begin, end, unit):
        data = read_chain(chain, offset, min(unit, end - offset))
        with step("error while writing to output image file"):
            target.write(offset - begin, data)
    return 0


def _operands(call: Call) -> dict[str, str | int]:
    """``bs``, ``count``, ``if``, ``of`` and ``skip`` as given."""
    found: dict[str, str | int] = {}
    for word in call.options.words:
        name, _, value = word.partition("=")
        if name in {"if", "of"}:
            found[name] = value
        elif name in {"bs", "count", "skip"}:
            found[name] = _number(call, name, value)
        else:
            raise ToolError(f"unrecognized operand {name}")
    return found


def _number(call: Call, name: str, text: str) -> int:
    if name == "bs":
        size = parse_size(text)
        if size is not None and not 1 <= size <= _MAXIMUM_BLOCK:
            raise ToolError(f"Invalid bs specified. Must be between 1 and {_MAXIMUM_BLOCK}.")
    number = size_argument(name, text, call.profile)
    assert number <= INT64_MAX
    return number


def _make(call: Call, name: str, wanted: Wanted, source: str) -> Image:
    try:
        check_not_open(call, name, [source])
        return make_image(call, name, wanted)
    except ToolError as error:
        raise ToolError(f"{name}: error while creating output image: {error.text}") from None
