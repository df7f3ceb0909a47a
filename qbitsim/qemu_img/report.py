"""The subcommands of qemu-img that only look: info, check, map, compare."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from qbitsim.block.limits import Limits, merged
from qbitsim.drivers.not_emulated import known_format
from qbitsim.errors import UnsupportedError
from qbitsim.images.chain import first_difference
from qbitsim.images.content import Kind
from qbitsim.images.image import Image
from qbitsim.qemu_img.files import Call, contents, find_file, open_image, output_format
from qbitsim.qemu_img.options import ToolError, size_argument
from qbitsim.records import changed

_PAGE = 4096
_WITHOUT_HOST_CACHE = ("none", "off", "directsync")
_CACHE_MODES = (None, *_WITHOUT_HOST_CACHE, "writeback", "writethrough", "unsafe")
_Json = dict[str, object]


# -- info


def info(call: Call) -> int:
    """``qemu-img info``."""
    options = call.options
    options.only("f", "output", "backing-chain", "U", "t", "limits")
    output = output_format(call)
    if len(options.words) != 1:
        raise ToolError("Expecting one image file name", usage=True)
    name, chosen, found = options.words[0], options.last("f"), []
    cache = options.last("t")
    if cache not in _CACHE_MODES:
        raise ToolError(f"Invalid cache option: {cache}")
    while True:
        image = _open_for_info(call, name, chosen)
        found.append(_image_info(call, image, name, chosen))
        if "backing-chain" not in options or image.backing is None:
            break
        name, chosen = call.store.backing_name(name, image.backing), image.backing_format
    if output == "json":
        call.print(_pretty(found if "backing-chain" in options else found[0]) + "\n")
    else:
        call.print("\n".join(map(_human_info, found)))
    return 0


def _open_for_info(call: Call, name: str, chosen: str | None) -> Image:
    if chosen == "raw" and known_format(chosen):
        try:
            return find_file(call.store, name)
        except ToolError as error:
            raise ToolError(f"Could not open '{name}': {error.text}") from None
    return open_image(call, name, chosen, backing=False)


def _image_info(call: Call, image: Image, name: str, chosen: str | None) -> _Json:
    """The members of ImageInfo in the order of QEMU's hash table."""
    qcow2 = image.format == "qcow2" and chosen != "raw"
    full = None if image.backing is None or not qcow2 else call.store.backing_name(name, image.backing)
    file, limits = _file_info(call, image, name), _limits(call, image, chosen)
    members: list[tuple[str, object, bool]] = [
        ("limits", limits, "limits" in call.options),
        ("children", [{"name": "file", "info": file}], call.profile.qemu_img_info_shows_children),
        ("backing-filename-format", image.backing_format, full is not None and image.backing_format is not None),
        ("virtual-size", image.size if qcow2 else image.file_length, True),
        ("filename", name, True),
        ("cluster-size", image.cluster_size, qcow2),
        ("format", "qcow2" if qcow2 else "raw", True),
        ("actual-size", _actual_size(image), True),
        ("format-specific", {"type": "qcow2", "data": _qcow2_info(image)}, qcow2),
        ("full-backing-filename", full, full is not None),
        ("backing-filename", image.backing, full is not None),
        ("dirty-flag", False, True),
    ]
    return {key: value for key, value, present in members if present}


def _limits(call: Call, image: Image, chosen: str | None) -> _Json:
    """What the format asks of requests; a format that was only guessed to be raw asks for whole sectors."""
    file = _file_limits(call)
    if image.format == "qcow2" and chosen != "raw":
        own = changed(merged([file]), discard=image.content.cluster_size, zeroes=image.content.cluster_size)
    else:
        own = changed(merged([file]), request=512 if chosen is None else 1)
    return {**own.described()}


def _file_limits(call: Call) -> Limits:
    alignment = 512 if call.options.last("t") in _WITHOUT_HOST_CACHE else 1
    return Limits(request=alignment, memory=alignment)


def _file_info(call: Call, image: Image, name: str) -> _Json:
    limits = {"limits": _file_limits(call).described()} if "limits" in call.options else {}
    return {
        **limits,
        "children": [],
        "virtual-size": image.file_length,
        "filename": name,
        "format": "file",
        "actual-size": _actual_size(image),
        "format-specific": {"type": "file", "data": {}},
        "dirty-flag": False,
    }


def _qcow2_info(image: Image) -> _Json:
    if image.compat == "0.10":
        return {"compat": "0.10", "compression-type": "zlib", "refcount-bits": image.refcount_bits}
    bitmaps = [
        {
            "flags": [flag for flag, on in (("in-use", bitmap.in_use), ("auto", bitmap.auto)) if on],
            "name": bitmap.name,
            "granularity": bitmap.granularity,
        }
        for bitmap in image.bitmaps
    ]
    return {
        "compat": "1.1",
        "compression-type": "zlib",
        "lazy-refcounts": image.lazy_refcounts,
        **({"bitmaps": bitmaps} if bitmaps else {}),
        "refcount-bits": image.refcount_bits,
        "corrupt": image.corrupt,
        "extended-l2": False,
    }


def _actual_size(image: Image) -> int:
    """Bytes on the disk of the host, in whole pages: a fact of the host's file system, so only about right."""
    if image.format == "raw":
        return -(-image.content.allocated // _PAGE) * _PAGE
    return image.content.allocated + 3 * image.content.cluster_size + _PAGE


def human_size(size: int) -> str:
    """``1.5 MiB``: three significant digits (util/cutils.c, size_to_str, 10.0)."""
    power = max(math.frexp(size)[1] - 1, 0) // 10
    return f"{size / (1 << 10 * power):0.3g} {['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'][power]}B"


def _human_info(found: _Json) -> str:
    size, actual = found["virtual-size"], found["actual-size"]
    assert isinstance(size, int)
    assert isinstance(actual, int)
    lines = [
        f"image: {found['filename']}",
        f"file format: {found['format']}",
        f"virtual size: {human_size(size)} ({size} bytes)",
        f"disk size: {human_size(actual)}",
    ]
    if "cluster-size" in found:
        lines.append(f"cluster_size: {found['cluster-size']}")
    if "backing-filename" in found:
        backing, full = found["backing-filename"], found["full-backing-filename"]
        lines.append(f"backing file: {backing}" + (f" (actual path: {full})" if full != backing else ""))
        if "backing-filename-format" in found:
            lines.append(f"backing file format: {found['backing-filename-format']}")
    if "limits" in found:
        lines += ["Block limits:", *tree(found["limits"], 1)]
    specific = found.get("format-specific")
    if isinstance(specific, dict):
        lines += ["Format specific information:", *tree(specific["data"], 1)]
    if "children" in found:
        length = size if found["format"] == "raw" else _child(found)["virtual-size"]
        assert isinstance(length, int)
        lines += [
            "Child node '/file':",
            f"    filename: {found['filename']}",
            "    protocol type: file",
            f"    file length: {human_size(length)} ({length} bytes)",
            f"    disk size: {human_size(actual)}",
        ]
        if "limits" in found:
            lines += ["    Block limits:", *tree(_child(found)["limits"], 2)]
    return "\n".join(lines) + "\n"


def _child(found: _Json) -> _Json:
    match found["children"]:
        case [{"info": dict(info)}]:
            return info
    raise AssertionError(found)


def tree(value: object, depth: int) -> Iterator[str]:
    """Nested objects and lists as indented lines (block/qapi.c, dump_qdict and dump_qlist, 10.0)."""
    items: list[tuple[str, object]] = []
    if isinstance(value, dict):
        items = [(str(key).replace("-", " "), inner) for key, inner in value.items()]
    elif isinstance(value, list):
        items = [(f"[{place}]", inner) for place, inner in enumerate(value)]
    for label, inner in items:
        if isinstance(inner, dict | list):
            yield f"{'    ' * depth}{label}:"
            yield from tree(inner, depth + 1)
        else:
            shown = str(inner).lower() if isinstance(inner, bool) else inner
            yield f"{'    ' * depth}{label}: {shown}"


def _pretty(value: object, indent: str = "") -> str:
    """JSON as QEMU prints it for people: an empty list or object takes two lines."""
    inner = indent + "    "
    if isinstance(value, dict):
        lines = [f"{inner}{_pretty(key)}: {_pretty(item, inner)}" for key, item in value.items()]
        return "{\n" + ",\n".join(lines) + ("\n" if lines else "") + indent + "}"
    if isinstance(value, list):
        lines = [inner + _pretty(item, inner) for item in value]
        return "[\n" + ",\n".join(lines) + ("\n" if lines else "") + indent + "]"
    return json.dumps(value)


# -- check


def check(call: Call) -> int:
    """``qemu-img check``; images of qbitsim are never damaged."""
    options = call.options
    options.only("q", "f", "output", "r", "U")
    output = output_format(call)
    if len(options.words) != 1:
        raise ToolError("Expecting one image file name", usage=True)
    repair, name = options.last("r"), options.words[0]
    if repair not in {None, "leaks", "all"}:
        raise UnsupportedError(f"qemu-img check -r {repair}")
    image = open_image(call, name, options.last("f"), write=repair is not None)
    if image.format == "raw":
        raise ToolError("This image format does not support checks", 63)
    clusters = image.content.stored_clusters()
    places = [image.host_offset(cluster * image.content.cluster_size) for cluster in clusters]
    fragmented = sum(1 for one, other in pairwise(places) if one is None or other != one + image.content.cluster_size)
    total = -(-image.size // image.content.cluster_size)
    if output == "json":
        found: _Json = {"image-end-offset": image.image_end, "total-clusters": total, "check-errors": 0}
        if clusters:
            found["allocated-clusters"] = len(clusters)
        found.update({"filename": name, "format": "qcow2"})
        if fragmented:
            found["fragmented-clusters"] = fragmented
        call.print(_pretty(found) + "\n")
        return 0
    call.say("No errors were found on the image.")
    if clusters:
        share, broken = len(clusters) * 100 / total, fragmented * 100 / len(clusters)
        call.say(
            f"{len(clusters)}/{total} = {share:.2f}% allocated, {broken:.2f}% fragmented, 0.00% compressed clusters"
        )
    call.say(f"Image end offset: {image.image_end}")
    return 0


# -- compare


def compare(call: Call) -> int:
    """``qemu-img compare``: 0 the same, 1 different, 2 could not open."""
    options = call.options
    options.only("q", "f", "F", "s", "U")
    if len(options.words) != 2:
        raise ToolError("Expecting two image file names", usage=True)
    one, other = options.words
    images = [
        open_image(call, one, options.last("f"), status=2),
        open_image(call, other, options.last("F"), status=2),
    ]
    if "s" in options:
        if images[0].size != images[1].size:
            call.say("Strict mode: Image size mismatch!")
            return 1
        raise UnsupportedError("qemu-img compare -s of images of the same size")
    found = first_difference(contents(call, one), contents(call, other))
    common = min(image.size for image in images)
    if images[0].size != images[1].size and (found is None or found >= common):
        call.say("Warning: Image size mismatch!")
    if found is None:
        call.say("Images are identical.")
        return 0
    call.say(f"Content mismatch at offset {found // 512 * 512}!")
    return 1


# -- map


@dataclass(slots=True)
class _Extent:
    """A range of the disk whose bytes come from one place."""

    start: int
    length: int
    depth: int
    present: bool
    zero: bool
    data: bool
    offset: int | None
    file: str

    def joins(self, other: _Extent) -> bool:
        """Whether *other*, which comes right after, is printed as one with this."""
        mine = (self.depth, self.present, self.zero, self.data, self.offset is None, self.file)
        if mine != (other.depth, other.present, other.zero, other.data, other.offset is None, other.file):
            return False
        return self.offset is None or other.offset == self.offset + self.length


def map_image(call: Call) -> int:
    """``qemu-img map``."""
    options = call.options
    options.only("f", "s", "l", "output", "U")
    output = output_format(call)
    first, most = options.last("s"), options.last("l")
    start = 0 if first is None else size_argument("start offset", first, call.profile)
    length = None if most is None else size_argument("max length", most, call.profile)
    if len(options.words) != 1:
        raise ToolError("Expecting one image file name", usage=True)
    name = options.words[0]
    image = open_image(call, name, options.last("f"))
    end = image.size if length is None else min(image.size, start + length)
    extents: list[_Extent] = []
    for extent in _extents(call, name, start, end):
        if extents and extents[-1].joins(extent):
            extents[-1].length += extent.length
        else:
            extents.append(extent)
    if output == "json":
        call.print("[" + ",\n".join(_json_extent(extent, call) for extent in extents) + "]\n")
        return 0
    call.print(f"{'Offset':<16}{'Length':<16}{'Mapped to':<16}File\n")
    for extent in extents:
        if extent.data and not extent.zero:
            numbers = (extent.start, extent.length, extent.offset or 0)
            call.print("".join(f"{hex(number) if number else '0':<16}" for number in numbers) + extent.file + "\n")
    return 0


def _json_extent(extent: _Extent, call: Call) -> str:
    flags = {"present": extent.present, "zero": extent.zero, "data": extent.data}
    if call.profile.qemu_img_map_shows_compression:
        flags["compressed"] = False
    text = "".join(f', "{name}": {str(value).lower()}' for name, value in flags.items())
    offset = "" if extent.offset is None else f', "offset": {extent.offset}'
    return f'{{ "start": {extent.start}, "length": {extent.length}, "depth": {extent.depth}{text}{offset}}}'


def _extents(call: Call, name: str, start: int, end: int) -> Iterator[_Extent]:
    chain, names = call.store.chain(name), [name]
    for image in chain[:-1]:
        names.append(call.store.backing_name(names[-1], image.backing or ""))
    while start < end:
        length = end - start
        for depth, image in enumerate(chain):
            length = min(length, image.size - start)
            kind, length = image.content.status(start, length)
            present, zero = kind is Kind.ZERO, kind is not Kind.DATA
            extent = _Extent(start, length, depth, present, zero, data=False, offset=None, file=names[depth])
            if image.format == "raw" or kind is Kind.DATA:
                extent = _stored_extent(image, extent, kind)
            if extent.present or depth + 1 == len(chain) or start >= chain[depth + 1].size:
                break
        yield extent
        start += extent.length


def _stored_extent(image: Image, extent: _Extent, kind: Kind) -> _Extent:
    extent.present, extent.data, extent.zero = True, kind is Kind.DATA, kind is not Kind.DATA
    extent.offset = image.host_offset(extent.start)
    if image.format == "qcow2":
        unit = image.content.cluster_size
        extent.length = min(extent.length, unit - extent.start % unit)
    return extent
