"""``qemu-img convert``: copy one image, or several behind each other, into another.

Copying goes through the sources in runs of one status, at most a buffer at once; zeroes of a length are left out or
written as zeroes, and what the target's backing file shares with the source is left out (convert_iteration_sectors and
convert_co_write, qemu-img.c, 10.0).
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NamedTuple

from qbitsim.errnos import errno_of
from qbitsim.files.failures import ReportedError
from qbitsim.images.chain import Chain, chain_status, known_zero, read_chain, reader
from qbitsim.images.content import Kind
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.qcow2.snapshots import StoredSnapshot, find_by_id_or_name
from qbitsim.images.wanted import Wanted
from qbitsim.light_library import partial
from qbitsim.qemu_img.creation import make_image, option_pairs, parse_creation
from qbitsim.qemu_img.files import Call, check_cache, check_not_open, contents, open_image
from qbitsim.qemu_img.formats import check_format
from qbitsim.qemu_img.options import ToolError, check_option_list, key_values, parse_size, size_argument
from qbitsim.records import record
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.images.image import Image
    from qbitsim.profiles import Profile

BUFFER = 2 << 20
_DEFAULT_SPARSE = 4096
_MAXIMUM_SPARSE = 16 << 20
_MAXIMUM_COROUTINES = 16


@record(frozen=False, eq=False)
class _Copy:
    """What is copied where.

    :ivar sources: the chains to copy, one behind the other, each with how many of its bytes: a snapshot that is larger
        than its disk is copied as far as the disk reaches (qcow2_snapshot_load_tmp, block/qcow2-snapshot.c, QEMU 10.0).
    :ivar target: the image to write.
    :ivar below: what is below the target.
    :ivar sparse: bytes of zeroes that are worth a hole; 0 if everything is written.
    :ivar starts_zero: the target is known to read as zeroes.
    :ivar shares_backing: what the first source has not itself, the target's backing file has.
    :ivar compressed: clusters are compressed; :ivar offloaded: the host copies, and looks for no zeroes.
    """

    sources: list[tuple[Chain, int]]
    target: Image
    below: Chain
    sparse: int
    starts_zero: bool
    shares_backing: bool
    compressed: bool
    offloaded: bool


def convert(call: Call) -> int:
    """``qemu-img convert``."""
    options = call.options
    options.only(
        *(
            "q",
            "p",
            "f",
            "F",
            "O",
            "o",
            "B",
            "n",
            "U",
            "T",
            "t",
            "W",
            "m",
            "C",
            "c",
            "S",
            "l",
            "r",
            "salvage",
            "bitmaps",
        ),
        *("skip-broken-bitmaps", "target-is-zero", "image-opts", "target-image-opts"),
    )
    sparse = options.numbers.get("S", _DEFAULT_SPARSE)
    if "n" not in options and options.wants_help:
        filename = options.words[-1] if len(options.words) > 1 else None
        from qbitsim.qemu_img.option_lists import print_creation_options  # noqa: PLC0415 - reads what few ask for

        return print_creation_options(call, options.last("O", "raw"), filename)
    _check_combinations(call)
    check_cache(call, "T", "source cache")
    call.progress(0)
    *words, target_word = options.words
    images = [open_image(call, word, options.last("f")) for word in words]
    sources = [contents(call, word) for word in words]
    _load_snapshot(call, images, sources)
    wanted = _wanted(call, images)
    if "bitmaps" in options:
        if len(images) > 1:
            raise ToolError("Copying bitmaps only possible with single source")
        _check_bitmaps(call, images[0])
    target = _open_target(call, images, target_word, wanted)
    sizes = [min(chain[0].size, image.size) for chain, image in zip(sources, images, strict=True)]
    _copy(call, _plan(call, list(zip(sources, sizes, strict=True)), target, sparse, wanted))
    if "bitmaps" in options:
        _copy_bitmaps(images[0], target)
    target.end_compressed_writes()
    call.progress(100)
    # The end of what is compressed is told to the target; a data file refuses that, and nothing is said of it.
    return 1 if "c" in options and target.data_file is not None else 0


# -- the command line


def _sparse(text: str, profile: Profile) -> int:
    """Bytes of zeroes that are worth a hole."""
    sparse = size_argument("buffer size for sparse output", text, profile)
    if sparse % SECTOR or sparse > _MAXIMUM_SPARSE:
        raise ToolError(
            f"Invalid buffer size for sparse output specified. Valid sizes are multiples of {SECTOR} up to "
            f"{_MAXIMUM_SPARSE}. Select 0 to disable sparse detection (fully allocates output)."
        )
    return sparse


def _coroutines(text: str, profile: Profile) -> int:
    number = parse_size(text)
    if number is not None and 1 <= number <= _MAXIMUM_COROUTINES:
        return number
    if not profile.qemu_img_commands_complain:
        limits = f"Allowed number of coroutines is between 1 and {_MAXIMUM_COROUTINES}"
        raise ToolError(f"Invalid number of coroutines. {limits}")
    if number is None:
        end = "" if profile.qemu_img_texts_polished else "."
        raise ToolError(f"Invalid number of coroutines specified: '{text}'{end}")
    raise ToolError(f"Invalid number of coroutines specified. Must be between 1 and {_MAXIMUM_COROUTINES}.")


def _snapshot(text: str, _profile: Profile) -> int:
    if text.startswith("snapshot."):
        _snapshot_parameters(text)
    return 0


READERS = {
    "convert": {
        "S": _sparse,
        "m": _coroutines,
        "r": partial(size_argument, "rate limit"),
        "l": _snapshot,
        "o": check_option_list,
    },
}


def _check_combinations(call: Call) -> None:
    options = call.options
    for refused, text in (
        (
            "skip-broken-bitmaps" in options and "bitmaps" not in options,
            "Use of --skip-broken-bitmaps requires --bitmaps",
        ),
        ("c" in options and "C" in options, "Cannot enable copy offloading when -c is used"),
        ("S" in options and "C" in options, "Cannot enable copy offloading when -S is used"),
        ("salvage" in options and "C" in options, "Cannot use copy offloading in salvaging mode"),
        ("target-image-opts" in options and "n" not in options, "--target-image-opts requires use of -n flag"),
        ("n" in options and "o" in options, "-o has no effect when skipping image creation"),
        ("target-is-zero" in options and "n" not in options, "--target-is-zero requires use of -n flag"),
        (len(options.words) < 2, "Must specify image file name"),
    ):
        if refused:
            raise ToolError(text)


def _snapshot_parameters(text: str) -> dict[str, str]:
    found = dict(key_values(text))
    for key in found:
        if key not in {"snapshot.id", "snapshot.name"}:
            raise ToolError(f"Invalid parameter '{key}'\nqemu-img: Failed in parsing snapshot param '{text}'")
    return found


def load_snapshot(image: Image, text: str) -> Chain:
    """What the snapshot called *text*, or described by it, holds.

    :raises ToolError: ``Failed to load snapshot: ...``.
    """
    found = find_snapshot(image, text)
    if image.format != "qcow2":
        cannot = "does not support temporarily loading internal snapshots"
        raise ToolError(f"Failed to load snapshot: Block format '{image.format}' used by device '' {cannot}")
    if found is None:
        raise ToolError("Failed to load snapshot: Can't find snapshot")
    return [found.content]


def find_snapshot(image: Image, text: str) -> StoredSnapshot | None:
    """The snapshot called *text*, or described by it (``snapshot.id=...,snapshot.name=...``).

    :raises ToolError: it is described by something else.
    """
    if not text.startswith("snapshot."):
        return find_by_id_or_name(image.snapshots, text)
    wanted = _snapshot_parameters(text)
    for found in image.snapshots:
        if wanted.get("snapshot.id") in {None, found.id} and wanted.get("snapshot.name") in {None, found.name}:
            return found
    return None


def _load_snapshot(call: Call, images: list[Image], sources: list[Chain]) -> None:
    text = call.options.last("l")
    if text is None:
        return
    if len(images) > 1:
        raise ToolError("No support for concatenating multiple snapshot")
    sources[0] = [*load_snapshot(images[0], text), *sources[0][1:]]


def _wanted(call: Call, images: list[Image]) -> Wanted:
    options = call.options
    format_name = options.last("O", "raw")
    if "target-image-opts" not in options:
        check_format(format_name)
    size = sum(image.size for image in images)
    wanted = parse_creation(call, Wanted(format=format_name, size=size), option_pairs(call, "B"))
    if len(images) > 1 and wanted.backing is not None:
        raise ToolError("Having a backing file for the target makes no sense when concatenating multiple input images")
    if wanted.backing is not None and wanted.backing_format is None and "n" not in options:
        raise ToolError("Use of backing file requires explicit backing format")
    if "c" in options:
        if wanted.format == "raw" and "target-image-opts" not in options:
            raise ToolError("Compression not supported for this file format")
        if wanted.preallocation not in {None, "off"}:
            raise ToolError("Compression and preallocation not supported at the same time")
    return wanted


# -- the target


def _open_target(call: Call, images: list[Image], word: str, wanted: Wanted) -> Image:
    options = call.options
    as_options = "target-image-opts" in options
    format_name = options.last("O") if as_options else wanted.format
    if "n" not in options:
        try:
            check_not_open(call, word, options.words[:-1])
            make_image(call, word, wanted)
        except ToolError as error:
            raise ToolError(f"{word}: error while converting {wanted.format}: {error.text}") from None
    check_cache(call)
    if "n" in options:
        try:
            check_not_open(call, word, options.words[:-1])
        except ToolError as error:
            raise ToolError(f"Could not open '{word}': {error.text}") from None
    target = open_image(call, word, format_name, write=True, as_options=as_options)
    if "n" in options and target.size < sum(image.size for image in images):
        raise ToolError("output file is smaller than input file")
    if "bitmaps" in options and not target.keeps_bitmaps:
        raise ToolError(f"Format driver '{target.format}' does not support bitmaps")
    return target


def _plan(call: Call, sources: list[tuple[Chain, int]], target: Image, sparse: int, wanted: Wanted) -> _Copy:
    options = call.options
    below = contents(call, options.words[-1])[1:]
    shares_backing = wanted.backing is not None
    return _Copy(
        sources=sources,
        target=target,
        below=below,
        sparse=sparse,
        starts_zero="target-is-zero" in options or ("n" not in options and bool(sparse) and not shares_backing),
        shares_backing=shares_backing,
        compressed="c" in options or target.needs_compressed_writes,
        offloaded="C" in options,
    )


def _write_zeroes(plan: _Copy, offset: int, length: int) -> None:
    plan.target.write_zeroes(offset, length, reader(plan.below), known_zero(plan.below), unmap=True)
    plan.target.mark_bitmaps(offset, length)


# -- copying


def _copy(call: Call, plan: _Copy) -> None:
    """Copy what the sources hold; the progress is how much of the data is done (convert_do_copy)."""
    requests = list(_requests(plan))
    wanted = sum(run.length for run in requests if _is_copied(plan, run))
    done = 0
    for run in requests:
        try:
            _copy_run(plan, run)
        except OSError as error:
            if isinstance(error, ReportedError):
                call.complain(f"qemu-img: {error.report}\n")
            text = f"error while writing at byte {run.offset}: {os.strerror(errno_of(error))}"
            raise ToolError(text) from None
        if _is_copied(plan, run):
            done += run.length
            call.progress(done * 100 / wanted)


def _is_copied(plan: _Copy, run: _Run) -> bool:
    return run.kind is Kind.DATA or (run.kind is Kind.ZERO and not plan.sparse)


class _Run(NamedTuple):
    """A range of a source; of kind HOLE if the target's backing file has it."""

    offset: int
    length: int
    kind: Kind


def _runs(plan: _Copy, chain: Chain, size: int) -> Iterator[_Run]:
    """The runs of a source of one status, cut at its clusters and where the target's backing file ends."""
    offset, step = 0, chain[0].cluster_size
    visible = chain[:1] if plan.shares_backing else chain
    shared_end = plan.below[0].size if plan.shares_backing and plan.below else size
    while offset < size:
        kind, length, _ = chain_status(visible, offset, size - offset)
        if offset < shared_end < offset + length:
            length = shared_end - offset
        tail = (offset + length) % step
        if offset + length < size and length > tail:
            length -= tail
        if kind is Kind.HOLE and not plan.shares_backing:
            kind = Kind.ZERO if visible[-1].holes_are_zero else Kind.DATA
        elif kind is Kind.ZERO and offset >= shared_end:
            kind = Kind.HOLE
        yield _Run(offset, length, kind)
        offset += length


def _requests(plan: _Copy) -> Iterator[_Run]:
    """The runs of all sources, cut into what is copied at once: at most a buffer, whole clusters if compressed.

    A cluster that is compressed may reach from one source into the next.
    """
    unit, size, done, start = plan.target.content.cluster_size, sum(length for _, length in plan.sources), 0, 0
    for chain, source_size in plan.sources:
        for run in _runs(plan, chain, source_size):
            stop = start + run.offset + run.length
            while done < stop:
                length, kind = stop - done, run.kind
                if _is_copied(plan, run):
                    length = min(length, unit if plan.compressed else BUFFER)
                if plan.compressed and length < unit:
                    length, kind = min(unit, size - done), Kind.DATA
                elif plan.compressed:
                    length -= length % unit
                yield _Run(done, length, kind)
                done += length
        start += source_size


def _copy_run(plan: _Copy, run: _Run) -> None:
    if _is_copied(plan, run):
        _write_data(plan, run.offset, _read(plan, run.offset, run.length))
    elif run.kind is Kind.ZERO and not plan.starts_zero:
        _write_zeroes(plan, run.offset, run.length)


def _read(plan: _Copy, offset: int, length: int) -> bytes:
    """The bytes of a range of all sources behind each other (convert_co_read)."""
    data, start, end = b"", 0, offset + length
    for chain, size in plan.sources:
        first, stop = max(offset, start) - start, min(end, start + size) - start
        if first < stop:
            data += read_chain(chain, first, stop - first)
        start += size
    return data


def _write_data(plan: _Copy, offset: int, data: bytes) -> None:
    if plan.compressed:
        if not plan.sparse or data.strip(b"\0"):
            _write_compressed(plan.target, offset, data)
        elif not plan.starts_zero:
            _write_zeroes(plan, offset, len(data))
        return
    if not plan.sparse or plan.offloaded:
        pieces = [(0, len(data), True)]
    else:
        pieces = list(_pieces(data, offset // SECTOR, plan.sparse // SECTOR))
    for first, stop, has_data in pieces:
        if has_data:
            plan.target.write(offset + first, data[first:stop], reader(plan.below))
            plan.target.mark_bitmaps(offset + first, stop - first)
        elif not plan.starts_zero:
            _write_zeroes(plan, offset + first, stop - first)


def _write_compressed(target: Image, offset: int, data: bytes) -> None:
    """:raises OSError: EIO if the cluster has a place already."""
    if target.data_file is not None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP), target.name)
    if not target.shrinks(data):
        target.write(offset, data)
    elif not target.takes_compressed(offset):
        raise OSError(errno.EIO, os.strerror(errno.EIO), target.name)
    else:
        target.write_compressed(offset, data)
    target.mark_bitmaps(offset, len(data))


def _pieces(data: bytes, sector: int, least: int) -> Iterator[tuple[int, int, bool]]:
    """Cut *data* into (start, stop, whether it is to be written) (is_allocated_sectors_min, qemu-img.c).

    :param sector: where it begins, for the alignment of what is written.
    :param least: as many sectors of zeroes are left out.
    """
    total, place = -(-len(data) // SECTOR), 0
    alignment = 1 << (least.bit_length() - 1)
    while place < total:
        written, count = _same(data, place, total, sector, alignment)
        end = place + count
        used = end
        while written and end < total:
            more, count = _same(data, end, total, sector, alignment)
            end += count
            if more:
                used = end
            elif count >= least:
                break
        yield place * SECTOR, min(used * SECTOR, len(data)), written
        place = used


def _same(data: bytes, place: int, total: int, sector: int, alignment: int) -> tuple[bool, int]:
    """Whether the sectors from *place* on are to be written, and how many of them (is_allocated_sectors)."""
    zero = _is_zero(data, place)
    count = 1
    while place + count < total and _is_zero(data, place + count) == zero:
        count += 1
    if place + count < total:
        tail = (sector + place + count) % alignment
        if tail:
            if zero and count <= tail:
                zero = False
            count = count - tail if zero else count + alignment - tail
    return not zero, min(count, total - place)


def _is_zero(data: bytes, sector: int) -> bool:
    return not data[sector * SECTOR : (sector + 1) * SECTOR].strip(b"\0")


# -- bitmaps


def _check_bitmaps(call: Call, source: Image) -> None:
    if not source.keeps_bitmaps:
        raise ToolError("Source lacks bitmap support")
    for bitmap in reversed(source.bitmaps):  # the order of the list in memory
        if bitmap.in_use:
            if "skip-broken-bitmaps" not in call.options:
                raise ToolError(
                    f"Cannot copy inconsistent bitmap '{bitmap.name}'\n"
                    "Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it"
                )
            call.complain(f"qemu-img: warning: Skipping inconsistent bitmap '{bitmap.name}'\n")


def _copy_bitmaps(source: Image, target: Image) -> None:
    taken = {bitmap.name for bitmap in target.bitmaps}
    good = [bitmap for bitmap in source.bitmaps if not bitmap.in_use]
    for bitmap in reversed(good):
        if bitmap.name in taken:
            raise ToolError(f"Failed to create bitmap {bitmap.name}: Bitmap already exists: {bitmap.name}")
    assert isinstance(target, Qcow2Image)
    target.bitmaps = [*target.bitmaps, *(bitmap.copy() for bitmap in good)]
