"""``qemu-img rebase``: give an image another backing file.

In safe mode, what reads otherwise through the new backing file is written into the image before (img_rebase, 10.0);
with ``-u`` only the header changes.
"""

from __future__ import annotations

import errno
import os

from qbitsim.images.chain import chain_status, known_zero, read_chain, reader
from qbitsim.images.content import Kind
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.qemu_img.files import Call, check_cache, open_backing_file, open_image
from qbitsim.qemu_img.formats import known_format
from qbitsim.qemu_img.options import ToolError
from qbitsim.sizes import SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.images.chain import Chain
    from qbitsim.images.content import Reader
    from qbitsim.images.image import Image

BUFFER = 2 << 20


def rebase(call: Call) -> int:
    """``qemu-img rebase``."""
    options = call.options
    options.only("q", "p", "f", "b", "F", "t", "T", "u", "c", "U", "image-opts")
    if len(options.words) != 1:
        raise ToolError("Expecting one image file name", usage=True)
    backing, backing_format, unsafe = options.last("b"), options.last("F"), "u" in options
    if not unsafe and backing is None:
        raise ToolError("Must specify backing file (-b) or use unsafe mode (-u)", usage=True)
    call.progress(0)
    check_cache(call)
    check_cache(call, "T", "source cache")
    image = open_image(call, options.words[0], options.last("f"), write=True, backing=not unsafe)
    if "c" in options and not isinstance(image, Qcow2Image):
        raise ToolError("Compression not supported for this file format")
    if backing_format is not None and not _can_be_named(call, backing_format, opened=not unsafe):
        raise ToolError(f"Invalid format name: '{backing_format}'")
    if not unsafe:
        _keep_what_it_reads_as(call, image)
    call.progress(100)
    _change_header(image, backing, backing_format)
    return 0


def _can_be_named(call: Call, name: str, *, opened: bool) -> bool:
    """Whether there is a driver for the backing file; for one that is not opened any will do, such as host_device.

    :raises UnsupportedError: there is one, which would be needed here.
    """
    if opened:
        return known_format(name)
    from qbitsim.drivers.not_emulated import known_driver  # noqa: PLC0415 - loads all drivers

    return known_driver(name, call.profile) is not None


def _change_header(image: Image, backing: str | None, backing_format: str | None) -> None:
    refusal = f"Could not change the backing file to '{'(null)' if backing is None else backing}': "
    if backing and backing_format is None:
        raise ToolError(refusal + "backing format must be specified")
    if not isinstance(image, Qcow2Image):
        raise ToolError(refusal + os.strerror(errno.EOPNOTSUPP))
    image.backing, image.backing_format = backing or None, backing_format if backing else None


def _keep_what_it_reads_as(call: Call, image: Image) -> None:
    old = call.chain(call.options.words[0])[1:]
    new, shared = _new_chain(call, old)
    contents = [each.content for each in old]
    below, zero = reader(contents), known_zero(contents)
    unit = image.content.cluster_size if call.profile.qemu_img_rebase_writes_clusters else SECTOR
    for offset, length in list(_differences(image, contents, [each.content for each in new], shared, unit)):
        data = read_chain(contents, offset, length)
        if offset >= (old[0].size if old else 0):
            image.write_zeroes(offset, length, below, zero)
        elif "c" in call.options:
            _write_compressed(image, offset, data, below)
        else:
            image.write(offset, data, below)
        image.mark_bitmaps(offset, length)


def _write_compressed(image: Image, offset: int, data: bytes, below: Reader | None) -> None:
    """Store clusters, each compressed if it can be."""
    assert isinstance(image, Qcow2Image)
    unit = image.cluster_size
    for start in range(0, len(data), unit):
        cluster = data[start : start + unit]
        if image.takes_compressed(offset + start) and image.shrinks(cluster):
            image.write_compressed(offset + start, cluster)
        else:
            image.write(offset + start, cluster, below)


def _new_chain(call: Call, old: list[Image]) -> tuple[list[Image], int | None]:
    """The new backing file with those below it; and which of the old ones it is, if it is one of them."""
    backing, word = call.options.last("b"), call.file_name(call.options.words[0])
    if not backing:
        return [], None
    name, position = call.store.backing_name(word, backing), word
    image = call.store.lookup(word)
    for depth, lower in enumerate(old):
        assert image.backing is not None
        position = call.store.backing_name(position, image.backing)
        if call.store.same_file(position, name):
            return old[depth:], depth
        image = lower
    return open_backing_file(call, name, call.options.last("F"), busy=call.store.lookup(word)), None


def _differences(image: Image, old: Chain, new: Chain, shared: int | None, unit: int) -> Iterator[tuple[int, int]]:
    """The ranges (offset, length) that the image has not and that read otherwise through the new backing file.

    :param shared: the new chain is the old one from here on.
    :param unit: bytes that are compared as one.
    """
    offset, size, old_size = 0, image.size, old[0].size if old else 0
    while offset < size:
        kind, length = image.content.status(offset, min(BUFFER, size - offset))
        if kind is not Kind.HOLE:
            offset += length
            continue
        if shared is not None and offset < old_size:
            length = min(length, old_size - offset)
            upper, length, _ = chain_status(old[:shared], offset, length) if shared else (Kind.HOLE, length, 0)
            if upper is Kind.HOLE:
                offset += length
                continue
        yield from _differing_units(offset, length, old, new, unit)
        offset += length


def _differing_units(offset: int, length: int, old: Chain, new: Chain, unit: int) -> Iterator[tuple[int, int]]:
    start, end = None, offset + length
    mine, theirs = read_chain(old, offset, length), read_chain(new, offset, length)
    for at in range(offset, end, unit):
        here = slice(at - offset, min(at + unit, end) - offset)
        differs = mine[here] != theirs[here]
        if differs and start is None:
            start = at
        elif not differs and start is not None:
            yield start, at - start
            start = None
    if start is not None:
        yield start, end - start
