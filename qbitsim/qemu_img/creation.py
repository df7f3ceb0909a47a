"""The creation options of an image: how they are given, and what a format says of them.

What a format refuses, it refuses when an existing file is already gone (block.c, bdrv_co_create_opts_simple, 10.0).
"""

from __future__ import annotations

from qbitsim.errors import UnsupportedError
from qbitsim.files.failures import StepError, failure_text, step
from qbitsim.images.image import PREALLOCATIONS, Image, Preallocation
from qbitsim.images.pages import FILE_PAGE
from qbitsim.images.qcow2.data_file import DataFile
from qbitsim.images.qcow2.packing import COMPRESSION_TYPES
from qbitsim.images.store import LockConflictError
from qbitsim.images.wanted import Wanted
from qbitsim.qemu_img.files import Call, plain_name
from qbitsim.qemu_img.formats import known_format
from qbitsim.qemu_img.options import INT64_MAX, ToolError, key_values, number_parameter, signed, size_parameter
from qbitsim.records import changed
from qbitsim.sizes import SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSIONS = {"0.10": "0.10", "v2": "0.10", "1.1": "1.1", "v3": "1.1"}
_DEFAULTS = {"extended_l2": "off", "encryption": "off"}
_NOT_DONE = {*_DEFAULTS, "help", "?"}
_MAX_L1_BYTES = 32 << 20


def option_pairs(call: Call, backing_option: str = "b") -> list[tuple[str, str]]:
    """The creation options of the command line, with the backing file and its format.

    :param backing_option: how the option for the backing file is called.
    """
    pairs = [pair for key, value in call.options.given if key == "o" for pair in key_values(value)]
    backing, backing_format = call.options.last(backing_option), call.options.last("F")
    if backing is not None:
        pairs.append(("backing_file", backing))
    if backing_format is not None:
        pairs.append(("backing_fmt", backing_format))
    return pairs


def parse_creation(call: Call, wanted: Wanted, pairs: list[tuple[str, str]]) -> Wanted:
    """What is wanted with the options *pairs* put in; ToolError for one that the format does not have."""
    for name, value in pairs:
        if wanted.format == "raw" and name in {"backing_file", "backing_fmt"}:
            what = "Backing file" if name == "backing_file" else "Backing file format"
            raise ToolError(f"{what} not supported for file format 'raw'")
        if name in {"size", "preallocation", "nocow", "extent_size_hint"} or wanted.format == "qcow2":
            wanted = _set(call, wanted, name, value)
        elif wanted.format == "vmdk":
            wanted = _set_of_vmdk(wanted, name, value)
        else:
            raise ToolError(f"Invalid parameter '{name}'")
    return wanted


def _set_of_vmdk(wanted: Wanted, name: str, value: str) -> Wanted:
    if name == "backing_file":
        return changed(wanted, backing=value)
    if name == "backing_fmt":
        return changed(wanted, backing_format=value)
    from qbitsim.qemu_img.vmdk_creation import with_option  # noqa: PLC0415 - few make one

    return with_option(wanted, name, value)


def _set(call: Call, wanted: Wanted, name: str, value: str) -> Wanted:
    """One option of ``-o``."""
    match name:
        case "compat":
            return changed(wanted, compat=value)
        case "preallocation":
            return changed(wanted, preallocation=value)
        case "compression_type":
            return changed(wanted, compression=value)
        case "backing_file":
            return changed(wanted, backing=value)
        case "backing_fmt":
            return changed(wanted, backing_format=value)
        case "data_file":
            return changed(wanted, data_file=value)
        case _:
            return _set_number(call, wanted, name, value)


def _set_size(call: Call, wanted: Wanted, value: str) -> Wanted:
    """The size; a copy has that of its source, whatever is given (img_convert and img_measure, qemu-img.c, 10.0)."""
    is_new = call.options.command == "create"
    if is_new and wanted.size is not None and call.options.words[1:]:
        raise ToolError("The image size must be specified only once")
    size = signed(size_parameter("size", value, call.profile))
    return changed(wanted, size=size) if is_new else wanted


def _set_number(call: Call, wanted: Wanted, name: str, value: str) -> Wanted:
    if name == "size":
        return _set_size(call, wanted, value)
    if name == "cluster_size":
        return changed(wanted, cluster_size=size_parameter(name, value, call.profile))
    if name == "extent_size_hint":
        return changed(wanted, extent_size_hint=size_parameter(name, value, call.profile))
    if name in {"lazy_refcounts", "data_file_raw", "nocow"}:
        if value not in {"on", "off"}:
            raise ToolError(f"Parameter '{name}' expects 'on' or 'off'")
        return changed(wanted, **{name: value == "on"})
    if name == "refcount_bits":
        return changed(wanted, refcount_bits=number_parameter(name, value))
    if _DEFAULTS.get(name) == value:
        return wanted
    if name in _NOT_DONE or name.startswith("encrypt."):
        raise UnsupportedError(f"the image creation option '{name}={value}'")
    raise ToolError(f"Invalid parameter '{name}'")


def make_image(call: Call, name: str, wanted: Wanted) -> Image:
    """Create the file; a format that refuses the options leaves no file (block.c, bdrv_co_create_opts_simple, 10.0)."""
    name = _place(call, name, wanted)
    if wanted.format == "vmdk":
        from qbitsim.qemu_img.vmdk_creation import check_wanted  # noqa: PLC0415 - few make one

        return _create_file(call, name, wanted.format, wanted.size, options=check_wanted(wanted))
    preallocation = PREALLOCATIONS.get(wanted.preallocation or "off")
    if preallocation is None:
        refusal: str | None = f"Parameter 'preallocation' does not accept value '{wanted.preallocation}'"
    else:
        refusal = refusal_of(wanted)
    if preallocation == "off" and wanted.data_file_raw:
        preallocation = "metadata"  # the tables must say that all of the data file is in use
    options = _qcow2_options(call, name, wanted, refused=refusal is not None) if wanted.format == "qcow2" else {}
    size = 0 if refusal or preallocation != "off" else wanted.size
    image = _create_file(call, name, wanted.format, size, **options)
    if refusal is not None:
        _unmake(call, name)
        if wanted.data_file is not None:
            _unmake(call, wanted.data_file)
        raise ToolError(refusal)
    if preallocation is not None and preallocation != "off":
        if wanted.format == "raw" and preallocation == "metadata":
            raise ToolError("Unsupported preallocation mode: metadata")
        assert wanted.size is not None
        _preallocate(call, name, image, -(-wanted.size // SECTOR) * SECTOR, preallocation)
    return image


def _qcow2_options(call: Call, name: str, wanted: Wanted, *, refused: bool) -> dict[str, Any]:
    """How to make a qcow2 image; one that is refused is not what was wanted, and goes again."""
    return {
        "backing": wanted.backing,
        "backing_format": wanted.backing_format,
        "cluster_size": 65536 if refused else wanted.cluster_size,
        "compat": VERSIONS.get(wanted.compat or "1.1", "1.1"),
        "lazy_refcounts": wanted.lazy_refcounts,
        "refcount_bits": 16 if refused else wanted.refcount_bits,
        "data_file": _make_data_file(call, name, wanted),
        "compression": "zlib" if refused else wanted.compression,
    }


def _place(call: Call, name: str, wanted: Wanted) -> str:
    """The file in which an image is to be made; on a server it has to be there.

    :raises ToolError: it is not, or nobody may write.
    """
    if not name.startswith(("nbd:", "nbd+")):
        return plain_name(call.store, name)
    if wanted.format == "raw" and wanted.preallocation not in (None, "off"):
        raise ToolError(f"Unsupported preallocation mode '{wanted.preallocation}'")
    from qbitsim.drivers.nbd import explained_creation_failure  # noqa: PLC0415 - for those who are clients
    from qbitsim.qemu_img.remote import check_writable  # noqa: PLC0415

    try:
        place = plain_name(call.store, name)
        check_writable(call.store.file(place))
    except ToolError as error:
        raise ToolError(explained_creation_failure(error.text, call.profile)) from None
    return place


def _unmake(call: Call, name: str) -> None:
    """Remove a file in which there is no image; what is on a server stays."""
    if not call.store.is_remote(name):
        call.store.remove(name)


def _preallocate(call: Call, name: str, image: Image, size: int, preallocation: Preallocation) -> None:
    """Let a new image have its size; a file that cannot become one of that format does not stay."""
    try:
        if image.format == "raw":
            image.resize(size, preallocation=preallocation)
            image.write(0, bytes(min(FILE_PAGE, image.size)))  # as any new file (allocate_first_block)
        else:
            with step("Could not resize image"):
                image.resize(size, preallocation=preallocation)
    except StepError as error:
        if image.format != "raw":
            _unmake(call, name)
        raise ToolError(str(error.strerror)) from None
    image.reopen()


def _create_file(call: Call, name: str, format_name: str, size: int | None, **options: Any) -> Image:
    try:
        if call.store.is_remote(name):
            from qbitsim.qemu_img import remote  # noqa: PLC0415 - for those who are clients

            return remote.make_image(call.store.file(name), format_name, size or 0, **options)
        return call.store.create(name, format_name, size, **options)
    except LockConflictError as error:
        raise ToolError(f"{error.strerror}\nIs another process using the image [{name}]?") from None
    except OSError as error:
        raise ToolError(failure_text("create", name, error)) from None


def _make_data_file(call: Call, name: str, wanted: Wanted) -> DataFile | None:
    """The external data file of a new image called *name*, made anew; no file of that name is left if it cannot be."""
    if wanted.data_file is None:
        return None
    _create_file(call, name, "raw", 0)
    try:
        if call.store.same_file(name, wanted.data_file):
            raise ToolError(f'Failed to get shared "resize" lock\nIs another process using the image [{name}]?')
        made = _create_file(call, wanted.data_file, "raw", wanted.size)
        if wanted.preallocation in {"falloc", "full"}:
            made.resize(0)
            made.resize(wanted.size or 0, preallocation=PREALLOCATIONS[wanted.preallocation])
            made.write(0, bytes(min(FILE_PAGE, made.size)))
    except ToolError:
        call.store.remove(name)
        raise
    return DataFile(wanted.data_file, is_raw=bool(wanted.data_file_raw), file=made.file)


def refusal_of(wanted: Wanted) -> str | None:
    """Why the format does not want such an image (block/qcow2.c, qcow2_co_create, 10.0)."""
    if wanted.extent_size_hint is not None and wanted.extent_size_hint >= 1 << 32:
        return "Extent size hint is too large"
    if wanted.format == "raw":
        return None
    for name, value, values in (
        ("version", wanted.compat, (None, *VERSIONS)),
        ("compression-type", wanted.compression, COMPRESSION_TYPES),
    ):
        if value not in values:
            return f"Parameter '{name}' does not accept value '{value}'"
    if wanted.backing_format is not None and not known_format(wanted.backing_format):
        return f"Parameter 'backing-fmt' does not accept value '{wanted.backing_format}'"
    cluster, old = wanted.cluster_size, VERSIONS.get(wanted.compat or "1.1") == "0.10"
    if cluster & (cluster - 1) or not 512 <= cluster <= 2 << 20:
        return "Cluster size must be a power of two between 512 and 2048k"
    return _refusal_of_backing(wanted) or _refusal_of_features(wanted, old=old) or _refusal_of_size(wanted)


def _refusal_of_features(wanted: Wanted, *, old: bool) -> str | None:
    """Why there is no such image with its refcounts, its data file or its compression type.

    :param old: it is to be of version 2.
    """
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
    if wanted.data_file_raw and wanted.data_file is None:
        return "data-file-raw requires data-file"
    if wanted.data_file_raw and wanted.backing is not None:
        return "Backing file and data-file-raw cannot be used at the same time"
    if wanted.data_file is not None and old:
        return (
            "External data files are only supported with compatibility level 1.1 and above (use version=v3 or greater)"
        )
    if old and wanted.compression != "zlib":
        return (
            "Non-zlib compression type is only supported with compatibility level 1.1 and above "
            "(use version=v3 or greater)"
        )
    return None


def _refusal_of_backing(wanted: Wanted) -> str | None:
    if wanted.backing is not None and wanted.preallocation not in {None, "off"}:
        return "Backing file and preallocation can only be used at the same time if extended_l2 is on"
    if wanted.backing is None and wanted.backing_format is not None:
        return "Backing format cannot be used without backing file"
    return None


def _refusal_of_size(wanted: Wanted) -> str | None:
    assert wanted.size is not None
    cluster = wanted.cluster_size
    size = -(-wanted.size // SECTOR) * SECTOR
    if not 0 <= size <= INT64_MAX:
        return "Could not resize image: Image size cannot be negative"
    if -(-size // (cluster * cluster // 8)) * 8 > _MAX_L1_BYTES:
        return "The image size is too large for file format 'qcow2' (try using a larger cluster size)"
    return None
