"""``qemu-img bench``: many requests in a row; here they take no time (img_bench, qemu-img.c, 10.0)."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from qbitsim.images.chain import reader
from qbitsim.light_library import partial
from qbitsim.qemu_img.files import CACHE_MODES, Call, contents, open_image
from qbitsim.qemu_img.options import ToolError, parse_number, size_argument

if TYPE_CHECKING:
    from qbitsim.images.image import Image
    from qbitsim.profiles import Profile

_COUNT, _DEPTH, _BUFFER = 75000, 64, 4096
_MAXIMUM = 2**31 - 1


def bench(call: Call) -> int:
    """``qemu-img bench``."""
    options = call.options
    options.only(
        *("c", "d", "f", "n", "i", "o", "q", "s", "S", "t", "w", "U", "flush-interval", "pattern", "no-drain"),
        "image-opts",
    )
    numbers = options.numbers
    count, depth = numbers.get("c", _COUNT), numbers.get("d", _DEPTH)
    start, buffer = numbers.get("o", 0), numbers.get("s", _BUFFER)
    step = numbers.get("S", 0) or buffer
    pattern, flush = numbers.get("pattern", 0), numbers.get("flush-interval", 0)
    write = "w" in options
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


def _number(what: str, least: int, most: int, text: str, profile: Profile) -> int:
    number, modern = parse_number(text), profile.qemu_img_commands_complain
    if number is None and modern:
        end = "" if profile.qemu_img_texts_polished else "."
        raise ToolError(f"Invalid {what} specified: '{text}'{end}")
    if number is None or not (least if modern else 0) <= number <= most:
        limits = f". Must be between {least} and {most}." if modern else ""
        raise ToolError(f"Invalid {what} specified{limits}")
    return number


def _buffer(text: str, profile: Profile) -> int:
    least = 1 if profile.qemu_img_commands_complain else 0
    return size_argument("buffer size", text, profile, least=least, most=_MAXIMUM)


def _step(text: str, profile: Profile) -> int:
    what = "step size" if profile.qemu_img_commands_complain else "step_size"
    return size_argument(what, text, profile, most=_MAXIMUM)


def _aio(text: str, _profile: Profile) -> int:
    if text not in {"threads", "native", "io_uring"}:
        raise ToolError(f"Invalid aio option: {text}")
    return 0


def _cache(text: str, _profile: Profile) -> int:
    if text not in CACHE_MODES:
        raise ToolError("Invalid cache mode")
    return 0


READERS = {
    "bench": {
        "c": partial(_number, "request count", 1, _MAXIMUM),
        "d": partial(_number, "queue depth", 1, _MAXIMUM),
        "flush-interval": partial(_number, "flush interval", 0, _MAXIMUM),
        "i": _aio,
        "o": partial(size_argument, "offset"),
        "pattern": partial(_number, "pattern byte", 0, 255),
        "s": _buffer,
        "S": _step,
        "t": _cache,
    }
}


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
