"""``qemu-img commit``: copy what an image has into a backing file below it, then empty it.

Copying is that of an active commit (block/mirror.c, 10.0): in chunks of the target's cluster, at least a page; ranges
that read as zeroes are zeroed in the target, and give their places back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.files.failures import step
from qbitsim.images.chain import Chain, chain_status, is_all_zeroes, known_zero, read_chain, reader
from qbitsim.images.content import Kind
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.spans import Spans
from qbitsim.light_library import partial
from qbitsim.qemu_img.files import Call, check_cache, open_image
from qbitsim.qemu_img.options import ToolError, size_argument

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.images.image import Image

MAXIMUM_REQUEST = 1 << 20
_SMALLEST_CHUNK = 4096
_LARGEST_CHUNK = 65536


READERS = {"commit": {"r": partial(size_argument, "rate limit")}}


def commit(call: Call) -> int:
    """``qemu-img commit``."""
    options = call.options
    options.only("q", "p", "f", "t", "b", "d", "r", "image-opts")
    if len(options.words) != 1:
        raise ToolError("Expecting one image file name", usage=True)
    check_cache(call)
    word = options.words[0]
    image = open_image(call, word, options.last("f"), write=True)
    call.progress(0)
    try:
        chain = call.chain(word)
        depth = _base_depth(call, word, chain)
        call.note_written(chain[depth])
        with step("Block job failed"):
            _copy_down(chain, depth, knows_zeroes=call.profile.mirror_knows_zeroes)
        if options.last("b") is None and "d" not in options:
            assert isinstance(image, Qcow2Image)
            image.make_empty()
        call.progress(100)
    finally:
        call.end_progress()
    call.say("Image committed.")
    return 0


def _base_depth(call: Call, word: str, chain: list[Image]) -> int:
    base = call.options.last("b")
    if base is None:
        if len(chain) == 1:
            raise ToolError("Image does not have a backing file")
        return 1
    name = call.file_name(word)
    for depth, image in enumerate(chain[:-1], 1):
        assert image.backing is not None
        wanted = call.store.backing_name(name, base)  # relative to the image above it (bdrv_find_backing_image)
        name = call.store.backing_name(name, image.backing)
        if base == image.backing or (base and call.store.same_file(wanted, name)):
            return depth
    raise ToolError(f"Did not find '{base}' in the backing chain of '{word}'")


def _copy_down(chain: list[Image], depth: int, *, knows_zeroes: bool) -> None:
    """Make the image at *depth* read as the whole chain does.

    :param knows_zeroes: a base that reads as zeroes is not zeroed (mirror_dirty_init, since QEMU 10.1).
    """
    base, contents = chain[depth], [image.content for image in chain]
    below = reader(contents[depth + 1 :])
    if base.size < chain[0].size:
        zero_new = depth + 1 < len(chain) and chain[depth + 1].size > base.size
        base.resize(chain[0].size, zero_new=zero_new, below=below)
    is_zero = knows_zeroes and _is_all_zeroes(contents[depth:], base.size)
    for start, length, kind in list(_requests(chain, depth)):
        if kind is Kind.DATA:
            base.write(start, read_chain(contents, start, length), below)
        elif is_zero:
            continue
        else:
            base.write_zeroes(start, length, below, known_zero(contents[depth + 1 :]), unmap=True)
        base.mark_bitmaps(start, length)


def _is_all_zeroes(chain: Chain, size: int) -> bool:
    """As :func:`.is_all_zeroes`."""

    def known(offset: int, length: int) -> tuple[bool, int]:
        kind, run, _ = chain_status(chain, offset, length)
        return kind is not Kind.DATA, run

    return is_all_zeroes(size, known, partial(read_chain, chain))


def _requests(chain: list[Image], depth: int) -> Iterator[tuple[int, int, Kind]]:
    """What is copied, as (offset, length, kind), ZERO or DATA (mirror_iteration)."""
    base, size, contents = chain[depth], chain[0].size, [image.content for image in chain]
    unit = base.cluster_size or _LARGEST_CHUNK
    chunk = min(max(unit, _SMALLEST_CHUNK), _LARGEST_CHUNK)
    for offset, end in _dirty_runs(contents[:depth], chunk, size):
        position = offset
        while position < end:
            kind, length, _ = chain_status(contents, position, end - position)
            length = min(length, MAXIMUM_REQUEST) if kind is Kind.DATA else length
            length -= length % chunk
            if length < chunk or kind is Kind.DATA or position % unit or length % unit:
                length = min(max(length, chunk), MAXIMUM_REQUEST, size - position)
                yield position, length, Kind.DATA
            else:
                yield position, length, Kind.ZERO
            position += length


def _dirty_runs(upper: Chain, chunk: int, size: int) -> Iterator[tuple[int, int]]:
    """The runs (start, end) of chunks in which the upper layers have something."""
    dirty, offset = Spans(), 0
    while offset < size:
        kind, length, _ = chain_status(upper, offset, size - offset)
        if kind is not Kind.HOLE:
            dirty.add(offset // chunk, -(-(offset + length) // chunk))
        offset += length
    for first, stop in dirty:
        yield first * chunk, min(stop * chunk, size)
