"""The subcommands of qemu-img that make or reshape images: create, convert, resize, rebase.

The order of the checks of ``create`` is that of bdrv_img_create (block.c, 10.0): those before the line
``Formatting ...`` need only the arguments and the backing file, those after it come from the format, when an existing
file is already gone.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace

from qbitsim.drivers.not_emulated import known_format
from qbitsim.errors import UnsupportedError
from qbitsim.images.chain import read_chain
from qbitsim.images.content import Kind
from qbitsim.images.image import Image
from qbitsim.images.store import LockConflictError
from qbitsim.qemu_img.files import Call, contents, find_file, open_backing, open_image
from qbitsim.qemu_img.options import (
    INT64_MAX,
    ToolError,
    key_values,
    size_argument,
    size_parameter,
)
from qbitsim.sizes import SECTOR

_VERSIONS = {"0.10": "0.10", "v2": "0.10", "1.1": "1.1", "v3": "1.1"}
_DEFAULTS = {"extended_l2": "off", "compression_type": "zlib", "encryption": "off"}
_NOT_DONE = {*_DEFAULTS, "data_file", "data_file_raw", "help", "?"}
_MAX_L1_BYTES = 32 << 20
_SHRINK_WARNING = (
    "Use the --shrink option to perform a shrink operation.\n"
    "qemu-img: warning: Shrinking an image will delete all data beyond the shrunken image's end. "
    "Before performing such an operation, make sure there is no important data there."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wanted:
    """The creation options of an image, as far as they are known."""

    format: str
    size: int | None = None
    backing: str | None = None
    backing_format: str | None = None
    cluster_size: int = 65536
    compat: str | None = None
    lazy_refcounts: bool = False
    refcount_bits: int = 16
    preallocation: str | None = None

    def describe(self) -> str:
        """The options as the line ``Formatting ...`` shows them, in the order of the format's own table."""
        if self.format == "raw":
            return f"fmt=raw size={self.size}" + self._optional("preallocation")
        lazy = "on" if self.lazy_refcounts else "off"
        return (
            f"fmt=qcow2 cluster_size={self.cluster_size} extended_l2=off{self._optional('preallocation')}"
            f" compression_type=zlib size={self.size}"
            f"{self._optional('compat')}{self._optional('backing_file')}{self._optional('backing_fmt')}"
            f" lazy_refcounts={lazy} refcount_bits={self.refcount_bits}"
        )

    def _optional(self, name: str) -> str:
        member = {"backing_file": "backing", "backing_fmt": "backing_format"}.get(name, name)
        value = getattr(self, member)
        return "" if value is None else f" {name}={str(value).replace(',', ',,')}"


# -- create


def create(call: Call) -> int:
    """``qemu-img create``."""
    options = call.options
    options.only("q", "f", "o", "b", "F", "u")
    if not options.words:
        raise ToolError("Expecting image file name", usage=True)
    name, format_name = options.words[0], options.last("f") or "raw"
    size = size_argument("image size", options.words[1], call.profile) if len(options.words) > 1 else None
    if len(options.words) > 2:
        raise ToolError(f"Unexpected argument: {options.words[2]}", usage=True)
    try:
        if not known_format(format_name):
            raise ToolError(f"Unknown file format '{format_name}'")
        wanted = _parse(call, _Wanted(format=format_name, size=size), _option_pairs(call))
        wanted = _with_backing(call, name, wanted)
        call.say(f"Formatting '{name}', {wanted.describe()}")
        _make(call, name, wanted)
    except ToolError as error:
        raise ToolError(f"{name}: {error.text}") from None
    return 0


def _option_pairs(call: Call) -> list[tuple[str, str]]:
    pairs = [pair for key, value in call.options.given if key == "o" for pair in key_values(value)]
    backing, backing_format = call.options.last("b"), call.options.last("F")
    if backing is not None:
        pairs.append(("backing_file", backing))
    if backing_format is not None:
        pairs.append(("backing_fmt", backing_format))
    return pairs


def _parse(call: Call, wanted: _Wanted, pairs: list[tuple[str, str]]) -> _Wanted:
    for name, value in pairs:
        if wanted.format == "raw" and name in {"backing_file", "backing_fmt"}:
            what = "Backing file" if name == "backing_file" else "Backing file format"
            raise ToolError(f"{what} not supported for file format 'raw'")
        if name in {"size", "preallocation"} or wanted.format == "qcow2":
            wanted = _set(call, wanted, name, value)
        else:
            raise ToolError(f"Invalid parameter '{name}'")
    return wanted


def _set(call: Call, wanted: _Wanted, name: str, value: str) -> _Wanted:
    """One option of ``-o``."""
    match name:
        case "compat":
            return replace(wanted, compat=value)
        case "preallocation":
            return replace(wanted, preallocation=value)
        case "backing_file":
            return replace(wanted, backing=value)
        case "backing_fmt":
            return replace(wanted, backing_format=value)
        case _:
            return _set_number(call, wanted, name, value)


def _set_number(call: Call, wanted: _Wanted, name: str, value: str) -> _Wanted:
    if name == "size":
        if wanted.size is not None and call.options.words[1:]:
            raise ToolError("The image size must be specified only once")
        return replace(wanted, size=_signed(size_parameter(name, value, call.profile)))
    if name == "cluster_size":
        return replace(wanted, cluster_size=size_parameter(name, value, call.profile))
    if name == "lazy_refcounts":
        if value not in {"on", "off"}:
            raise ToolError(f"Parameter '{name}' expects 'on' or 'off'")
        return replace(wanted, lazy_refcounts=value == "on")
    if name == "refcount_bits":
        if not value.isdecimal():
            raise ToolError(f"Parameter '{name}' expects a number")
        return replace(wanted, refcount_bits=int(value))
    if _DEFAULTS.get(name) == value:
        return wanted
    if name in _NOT_DONE or name.startswith("encrypt."):
        raise UnsupportedError(f"the image creation option '{name}={value}'")
    raise ToolError(f"Invalid parameter '{name}'")


def _signed(size: int) -> int:
    return size if size <= INT64_MAX else size - 2**64


def _with_backing(call: Call, name: str, wanted: _Wanted) -> _Wanted:
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


def _open_backing_of_new(call: Call, name: str, wanted: _Wanted) -> _Wanted:
    assert wanted.backing is not None
    full, chosen = call.store.backing_name(name, wanted.backing), wanted.backing_format
    try:
        if chosen is not None and not known_format(chosen):
            raise ToolError(f"Unknown driver '{chosen}'")
        backing = find_file(call.store, full)
        if chosen == "qcow2" and backing.format == "raw":
            raise ToolError("Image is not in qcow2 format")
        if chosen not in {None, backing.format}:
            raise UnsupportedError("a qcow2 file as a raw backing file")
        open_backing(call, backing, full)
    except ToolError as error:
        raise ToolError(f"{error.text}\nCould not open backing image.") from None
    if chosen is None:
        end = "" if call.profile.qemu_img_hint_ends_line else "\0"
        raise ToolError(f"Backing file specified without backing format\nDetected format of {backing.format}.{end}")
    return wanted if wanted.size is not None else replace(wanted, size=backing.size)


def _make(call: Call, name: str, wanted: _Wanted) -> Image:
    """Create the file; a format that refuses the options leaves no file (block.c, bdrv_co_create_opts_simple, 10.0)."""
    if wanted.preallocation not in {None, "off", "metadata", "falloc", "full"}:
        refusal: str | None = f"Parameter 'preallocation' does not accept value '{wanted.preallocation}'"
    else:
        refusal = _refusal(wanted)
        if refusal is None and wanted.preallocation not in {None, "off"}:
            raise UnsupportedError(f"preallocation={wanted.preallocation}")
    try:
        image = call.store.create(
            name,
            wanted.format,
            0 if refusal else wanted.size,
            backing=wanted.backing,
            backing_format=wanted.backing_format,
            cluster_size=65536 if refusal else wanted.cluster_size,
            compat=_VERSIONS.get(wanted.compat or "1.1", "1.1"),
            lazy_refcounts=wanted.lazy_refcounts,
            refcount_bits=16 if refusal else wanted.refcount_bits,
        )
    except LockConflictError as error:
        raise ToolError(f"{error.strerror}\nIs another process using the image [{name}]?") from None
    except OSError as error:
        raise ToolError(f"Could not create '{name}': {error.strerror}") from None
    if refusal is not None:
        call.store.remove(name)
        raise ToolError(refusal)
    return image


def _refusal(wanted: _Wanted) -> str | None:
    """Why the format does not want such an image (block/qcow2.c, qcow2_co_create, 10.0)."""
    assert wanted.size is not None
    if wanted.format == "raw":
        return None
    if wanted.compat is not None and wanted.compat not in _VERSIONS:
        return f"Parameter 'version' does not accept value '{wanted.compat}'"
    cluster, old = wanted.cluster_size, _VERSIONS.get(wanted.compat or "1.1") == "0.10"
    if cluster & (cluster - 1) or not 512 <= cluster <= 2 << 20:
        return "Cluster size must be a power of two between 512 and 2048k"
    if old and wanted.lazy_refcounts:
        return "Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or greater)"
    bits = wanted.refcount_bits
    if bits & (bits - 1) or not 1 <= bits <= 64:
        return "Refcount width must be a power of two and may not exceed 64 bits"
    if old and bits != 16:
        return (
            "Different refcount widths than 16 bits require compatibility level 1.1 or above "
            "(use version=v3 or greater)"
        )
    if wanted.backing is None and wanted.backing_format is not None:
        return "Backing format cannot be used without backing file"
    size = -(-wanted.size // SECTOR) * SECTOR
    if not 0 <= size <= INT64_MAX:
        return "Could not resize image: Image size cannot be negative"
    if -(-size // (cluster * cluster // 8)) * 8 > _MAX_L1_BYTES:
        return "The image size is too large for file format 'qcow2' (try using a larger cluster size)"
    return None


# -- convert


def convert(call: Call) -> int:
    """``qemu-img convert`` of one image without a backing file for the result."""
    options = call.options
    options.only("q", "f", "O", "o", "n", "U", "T", "t", "W", "m", "bitmaps", "F")
    if len(options.words) < 2:
        raise ToolError("Must specify image file name")
    if len(options.words) > 2:
        raise UnsupportedError("qemu-img convert of several images into one")
    name, target = options.words
    image = open_image(call, name, options.last("f"))
    format_name = options.last("O") or "raw"
    if not known_format(format_name):
        raise ToolError(f"Unknown file format '{format_name}'")
    wanted = _parse(call, _Wanted(format=format_name, size=image.size), _option_pairs(call))
    if "bitmaps" in options and (format_name == "raw" or image.format == "raw"):
        broken = image.format if image.format == "raw" else format_name
        raise ToolError(f"Format driver '{broken}' does not support bitmaps")
    if wanted.backing is not None:
        raise UnsupportedError("qemu-img convert with a backing file")
    if "bitmaps" in options:
        _refuse_broken_bitmaps(image)
    if "n" in options:
        made = open_image(call, target, format_name, write=True, backing=False)
        if made.size < image.size:
            raise ToolError("output file is smaller than input file")
        if made.backing is not None:
            raise UnsupportedError("qemu-img convert -n onto an image with a backing file")
    else:
        made = _make_converted(call, name, target, wanted)
    _copy(call, name, made)
    if "bitmaps" in options:
        _copy_bitmaps(image, made)
    return 0


def _refuse_broken_bitmaps(image: Image) -> None:
    for bitmap in reversed(image.bitmaps):  # the order of the list in memory
        if bitmap.in_use:
            raise ToolError(
                f"Cannot copy inconsistent bitmap '{bitmap.name}'\n"
                "Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it"
            )


def _make_converted(call: Call, name: str, target: str, wanted: _Wanted) -> Image:
    try:
        if target in call.store and call.store.lookup(name) is call.store.lookup(target):
            raise ToolError(f'Failed to get "write" lock\nIs another process using the image [{target}]?')
        return _make(call, target, wanted)
    except ToolError as error:
        raise ToolError(f"{target}: error while converting {wanted.format}: {error.text}") from None


def _copy(call: Call, name: str, target: Image) -> None:
    """Write the source's non-zero units; a unit is what the target can leave out: a cluster or a page."""
    chain, unit = contents(call, name), target.content.allocation
    size = chain[0].size
    if any(True for _ in target.content.ranges(Kind.DATA)) and target.format == "qcow2":
        target.write_zeroes(0, target.size)
    elif target.format == "raw":
        target.write_zeroes(0, target.size)
        target.write(0, bytes(min(unit, target.size)))
    step = max(content.cluster_size for content in [*chain, target.content])
    starts = {cluster * content.cluster_size // step for content in chain for cluster in content.stored_clusters()}
    for start in (number * step + at for number in sorted(starts) for at in range(0, step, unit)):
        data = read_chain(chain, start, min(unit, size - start)) if start < size else b""
        if data.strip(b"\0"):
            target.write(start, data)


def _copy_bitmaps(source: Image, target: Image) -> None:
    kept = [*target.bitmaps, *(bitmap.copy() for bitmap in source.bitmaps)]
    if len({bitmap.name for bitmap in kept}) != len(kept):
        raise UnsupportedError("qemu-img convert --bitmaps onto an image with bitmaps of the same name")
    target.store_bitmaps(kept)


# -- resize


def resize(call: Call) -> int:
    """``qemu-img resize``."""
    options = call.options
    options.only("q", "f", "shrink")
    if len(options.words) != 2:
        many = len(options.words) > 2 and call.profile.qemu_img_commands_complain
        text = "Extra argument(s) in command line" if many else "Expecting image file name and size"
        raise ToolError(text, usage=True)
    name, text = options.words
    relative = {"+": 1, "-": -1}.get(text[:1], 0)
    given = _signed(size_parameter("size", text[1:] if relative else text, call.profile))
    image = open_image(call, name, options.last("f"), write=True)
    size = image.size + relative * given if relative else given
    if size <= 0:
        raise ToolError("New image size must be positive")
    if size <= image.size - SECTOR and "shrink" not in options:
        raise ToolError(_SHRINK_WARNING)
    if size % SECTOR and image.format == "qcow2":
        raise ToolError(f"The new size must be a multiple of {SECTOR}")
    for bitmap in image.bitmaps:
        if bitmap.in_use:
            raise ToolError(inconsistent(bitmap.name))
    below = call.store.chain(name)[1:]
    image.resize(-(-size // SECTOR) * SECTOR, zero_new=bool(below) and below[0].size > image.size)
    close_written(image)
    call.say("Image resized.")
    return 0


# -- rebase


def rebase(call: Call) -> int:
    """``qemu-img rebase -u``."""
    options = call.options
    options.only("q", "f", "b", "F", "u", "U")
    if len(options.words) != 1:
        raise ToolError("Expecting one image file name", usage=True)
    backing, backing_format = options.last("b"), options.last("F")
    if "u" not in options:
        if backing is None:
            raise ToolError("Must specify backing file (-b) or use unsafe mode (-u)", usage=True)
        raise UnsupportedError("qemu-img rebase without -u")
    image = open_image(call, options.words[0], options.last("f"), write=True, backing=False)
    if backing_format is not None and not known_format(backing_format):
        raise ToolError(f"Invalid format name: '{backing_format}'")
    if image.format == "raw":
        raise ToolError(f"Could not change the backing file to '{backing}': {os.strerror(errno.EOPNOTSUPP)}")
    if backing and backing_format is None:
        raise ToolError(f"Could not change the backing file to '{backing}': backing format must be specified")
    image.backing, image.backing_format = backing or None, backing_format if backing else None
    close_written(image)
    return 0


def inconsistent(name: str) -> str:
    """What QEMU says of an inconsistent bitmap, with its advice."""
    advice = "Try block-dirty-bitmap-remove to delete this bitmap from disk"
    return f"Bitmap '{name}' is inconsistent and cannot be used\n{advice}"


def close_written(image: Image) -> None:
    """An image that was open for writing is closed: all its bitmaps are stored anew."""
    if image.bitmaps:
        image.store_bitmaps(image.bitmaps)
