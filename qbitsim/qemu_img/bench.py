"""``qemu-img bench``: many requests in a row; here they take no time (img_bench, qemu-img.c, 10.0)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from qbitsim.images.chain import reader
from qbitsim.qemu_img.files import CACHE_MODES, Call, contents, open_image
from qbitsim.qemu_img.options import NEGATIVE, ToolError, parse_size, size_argument

if TYPE_CHECKING:
    from qbitsim.images.image import Image

_COUNT, _DEPTH, _BUFFER = 75000, 64, 4096
_MAXIMUM = 2**31 - 1


def bench(call: Call) -> int:
    """``qemu-img bench``."""
    options = call.options
    options.only(
        *("c", "d", "f", "n", "i", "o", "q", "s", "S", "t", "w", "U", "flush-interval", "pattern", "no-drain"),
        "image-opts",
    )
    count, depth = _number(call, "c", "request count", _COUNT), _number(call, "d", "queue depth", _DEPTH)
    start = _size(call, "o", "offset", 0)
    buffer = _size(call, "s", "buffer size", _BUFFER)
    step = _size(call, "S", "step size" if call.profile.qemu_img_commands_complain else "step_size", 0) or buffer
    pattern = _pattern(call)
    flush = _number(call, "flush-interval", "flush interval", 0)
    write = "w" in options
    if options.last("i") not in {None, "threads", "native", "io_uring"}:
        raise ToolError(f"Invalid aio option: {options.last('i')}")
    if options.last("t") is not None and options.last("t") not in CACHE_MODES:
        raise ToolError("Invalid cache mode")
    if len(options.words) != 1:
        raise ToolError("Expecting one image file name", usage=True)
    if not write and flush:
        raise ToolError("--flush-interval is only available in write tests")
    if flush and flush < depth:
        raise ToolError("Flush interval can't be smaller than depth")
    image = _open(call, write=write)
    call.print(
        f"Sending {count} {'write' if write else 'read'} requests, {buffer} bytes each, {depth} in parallel "
        f"(starting at offset {start}, step size {step})\n"
    )
    if flush:
        call.print(f"Sending flush every {flush} requests\n")
    _run(call, image, [start] + [(start + n * step) % max(image.size, 1) for n in range(1, count)], buffer, pattern)
    call.print("Run completed in 0.000 seconds.\n")
    return 0


def _number(call: Call, key: str, what: str, default: int) -> int:
    text = call.options.last(key)
    if text is None:
        return default
    number, modern = parse_size(text), call.profile.qemu_img_commands_complain
    if number is None and not (modern and NEGATIVE.fullmatch(text)):
        raise ToolError(f"Invalid {what} specified: '{text}'." if modern else f"Invalid {what} specified")
    least = 1 if key in {"c", "d"} and modern else 0
    if number is None or not least <= number <= _MAXIMUM:
        limits = f". Must be between {least} and {_MAXIMUM}." if modern else ""
        raise ToolError(f"Invalid {what} specified{limits}")
    return number


def _size(call: Call, key: str, what: str, default: int) -> int:
    text = call.options.last(key)
    return default if text is None else size_argument(what, text, call.profile)


def _pattern(call: Call) -> int:
    text = call.options.last("pattern")
    number = 0 if text is None else parse_size(text)
    modern = call.profile.qemu_img_commands_complain
    if number is None and text is not None and modern and not NEGATIVE.fullmatch(text):
        end = "" if call.profile.qemu_img_texts_polished else "."
        raise ToolError(f"Invalid pattern byte specified: '{text}'{end}")
    if number is None or number > 255:
        limits = ". Must be between 0 and 255." if modern else ""
        raise ToolError(f"Invalid pattern byte specified{limits}")
    return number


def _open(call: Call, *, write: bool) -> Image:
    options, word = call.options, call.options.words[0]
    if "n" in options or options.last("i") == "native":
        text = "aio=native was specified, but it requires cache.direct=on, which was not specified."
        if options.last("t") not in {"none", "off", "directsync"}:
            raise ToolError(f"Could not open '{word}': {text}")
    if write and "U" in options:
        raise ToolError(f"Could not open '{word}': force-share=on can only be used with read-only images")
    return open_image(call, word, options.last("f"), write=write)


def _run(call: Call, image: Image, offsets: list[int], length: int, pattern: int) -> None:
    below = reader(contents(call, call.options.words[0])[1:])
    data = bytes((pattern,)) * length
    for offset in offsets:
        if offset + length > image.size:
            raise ToolError(f"Failed request: {os.strerror(errno.EIO)}")
        if "w" in call.options:
            image.write(offset, data, below)
            image.mark_bitmaps(offset, length)
