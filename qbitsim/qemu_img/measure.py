"""``qemu-img measure``: how large a file would be (qcow2_measure, block/qcow2.c, 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.errors import UnsupportedError
from qbitsim.images.chain import Chain, chain_status
from qbitsim.images.content import Kind
from qbitsim.images.qcow2.allocator import TABLE_ENTRY, refcount_clusters
from qbitsim.images.qcow2.bitmap_places import directory_length
from qbitsim.images.qcow2.metadata import MAXIMUM_L1
from qbitsim.images.wanted import Wanted
from qbitsim.light_library import partial
from qbitsim.qemu_img.convert import load_snapshot
from qbitsim.qemu_img.creation import VERSIONS, option_pairs, parse_creation
from qbitsim.qemu_img.files import Call, contents, open_image, output_format, wrong_output_format
from qbitsim.qemu_img.formats import known_format
from qbitsim.qemu_img.map import status_runs
from qbitsim.qemu_img.options import ToolError, size_argument
from qbitsim.records import changed
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.images.image import Image
    from qbitsim.profiles import Profile

_MEASURED = ("raw", "qcow2")
_MODES = {None, "off", "metadata", "falloc", "full"}


def _output(text: str, profile: Profile) -> int:
    if text not in {"human", "json"}:
        raise wrong_output_format(text, profile)
    return 0


READERS = {
    "measure": {**dict.fromkeys(("size", "s"), partial(size_argument, "image size")), "output": _output},
}


def measure(call: Call) -> int:
    """``qemu-img measure``."""
    options = call.options
    options.only("f", "l", "o", "O", "output", "size", "s", "U", "image-opts")
    output, size = output_format(call), options.numbers.get("size", options.numbers.get("s"))
    image, end, runs = _source(call, size)
    format_name = options.last("O", "raw")
    if not known_format(format_name):
        raise ToolError(f"Unknown file format '{format_name}'")
    wanted = _wanted(call, format_name)
    if format_name not in _MEASURED:
        raise ToolError(f"Block driver '{format_name}' does not support size measurement")
    if format_name == "raw":
        required = full = end
        bitmaps = None
    else:
        required, full = _qcow2_size(wanted, end, None if image is None else runs)
        keeps = VERSIONS[wanted.compat or "1.1"] != "0.10" and image is not None and image.keeps_bitmaps
        bitmaps = _bitmaps_size(image, wanted.cluster_size) if keeps and image is not None else None
    if output == "json":
        first = "" if bitmaps is None else f'    "bitmaps": {bitmaps},\n'
        call.print(f'{{\n{first}    "required": {required},\n    "fully-allocated": {full}\n}}\n')
        return 0
    call.print(f"required size: {required}\nfully allocated size: {full}\n")
    if bitmaps is not None:
        call.print(f"bitmaps size: {bitmaps}\n")
    return 0


def _source(call: Call, size: int | None) -> tuple[Image | None, int, Iterator[tuple[int, int]]]:
    """What is measured, None for a disk of *size* bytes; how large its disk is; where it has data: offset, length."""
    options = call.options
    if len(options.words) > 1:
        raise ToolError("At most one filename argument is allowed.")
    if not options.words:
        if options.last("f") is not None or "image-opts" in options or "l" in options:
            raise ToolError("--image-opts, -f, and -l require a filename argument.")
        if size is None:
            raise ToolError("Either --size N or one filename must be specified.")
        return None, -(-size // SECTOR) * SECTOR, iter(())
    if size is not None:
        raise ToolError("--size N cannot be used together with a filename.")
    name, text = options.words[0], options.last("l")
    image = open_image(call, name, options.last("f"))
    if text is None:
        found = (run for run in status_runs(call, name, 0, image.size) if run.data and not run.zero)
        return image, image.size, ((run.start, run.length) for run in found)
    chain = [*load_snapshot(image, text), *contents(call, name)[1:]]
    return image, chain[0].size, _data_runs(chain)


def _data_runs(chain: Chain) -> Iterator[tuple[int, int]]:
    offset, size = 0, chain[0].size
    while offset < size:
        kind, length, _ = chain_status(chain, offset, size - offset)
        if kind is Kind.DATA:
            yield offset, length
        offset += length


def _wanted(call: Call, format_name: str) -> Wanted:
    pairs, extended = [], False
    for name, value in option_pairs(call):
        extended = extended or (name, value) == ("extended_l2", "on")
        if name != "extended_l2":
            pairs.append((name, value))
    if extended:
        raise UnsupportedError("the image creation option 'extended_l2=on'")
    try:
        wanted = parse_creation(call, Wanted(format=format_name), pairs)
    except ToolError as error:
        raise ToolError(f"{error.text}\nqemu-img: Invalid options for file format '{format_name}'") from None
    _check(wanted)
    return changed(wanted, size=None)


def _check(wanted: Wanted) -> None:
    unit, bits = wanted.cluster_size, wanted.refcount_bits
    if wanted.format != "qcow2":
        return
    if unit & (unit - 1) or not 512 <= unit <= 2 << 20:
        raise ToolError("Cluster size must be a power of two between 512 and 2048k")
    if wanted.compat is not None and wanted.compat not in VERSIONS:
        raise ToolError(f"Invalid compatibility level: '{wanted.compat}'")
    if wanted.preallocation not in _MODES:
        raise ToolError(f"invalid parameter value: {wanted.preallocation}")
    if bits & (bits - 1) or not 1 <= bits <= 64:
        raise ToolError("Refcount width must be a power of two and may not exceed 64 bits")


def _qcow2_size(wanted: Wanted, size: int, runs: Iterator[tuple[int, int]] | None) -> tuple[int, int]:
    """The bytes of a file that holds data in these *runs*, if there is anything to copy, and of one that is full."""
    unit = wanted.cluster_size
    virtual = -(-size // unit) * unit
    if -(-virtual // unit // (unit // TABLE_ENTRY)) * TABLE_ENTRY > MAXIMUM_L1:
        raise ToolError("The image size is too large (try using a larger cluster size)")
    full = _full_size(wanted, virtual)
    required = 0
    if wanted.preallocation in {"falloc", "full"} or (runs is not None and wanted.backing is not None):
        required = virtual
    elif runs is not None:
        required = _data_size(runs, unit)
    return full - virtual + required, full


def _data_size(runs: Iterator[tuple[int, int]], unit: int) -> int:
    """The bytes of the clusters in which there are data; no cluster is looked at again once it was counted."""
    found = reached = 0
    for offset, length in runs:
        start, stop = max(offset, reached), offset + length
        if start < stop:
            reached = -(-stop // unit) * unit
            found += start % unit + reached - start
    return found


def _full_size(wanted: Wanted, virtual: int) -> int:
    """The bytes of a file with all clusters and the tables for them (qcow2_calc_prealloc_size)."""
    unit = wanted.cluster_size
    per_table = unit // TABLE_ENTRY
    l2_entries = -(-(virtual // unit) // per_table) * per_table
    l1_entries = -(-(l2_entries * TABLE_ENTRY // unit) // per_table) * per_table
    tables = unit + (l2_entries + l1_entries) * TABLE_ENTRY
    blocks = sum(refcount_clusters((tables + virtual) // unit, unit, wanted.refcount_bits))
    return tables + blocks * unit + virtual


def _bitmaps_size(image: Image, unit: int) -> int:
    """The bytes that the stored bitmaps take if all their bits are set somewhere."""
    total, directory = 0, 0
    for bitmap in image.bitmaps:
        length = -(-bitmap.bits.length // 8)
        clusters = -(-length // unit)
        total += clusters * unit + -(-clusters * TABLE_ENTRY // unit) * unit
        directory += directory_length(bitmap.name)
    return total + -(-directory // unit) * unit
