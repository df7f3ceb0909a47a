"""``qemu-img compare``: one range after the other, as long as neither disk changes its status (img_compare, 10.0).

The exit status is 0 for the same content, 1 for another one, 2 if an image cannot be opened.
"""

from __future__ import annotations

from qbitsim.images.chain import Chain, read_chain
from qbitsim.light_library import array
from qbitsim.qemu_img.files import Call, check_cache, contents, open_image
from qbitsim.qemu_img.map import Extent, status_runs
from qbitsim.qemu_img.options import ToolError
from qbitsim.records import record
from qbitsim.sizes import SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_AT_ONCE = 2 << 20
"""Bytes that are read in one piece (IO_BUF_SIZE)."""
_LEAST_STEP = 2.0
"""Per cent between two reports of progress."""


@record
class _Status:
    """What one look at a disk tells of a range (bdrv_block_status_above).

    :ivar allocated: some layer has it, or it is behind the end of a shorter one.
    :ivar placed: it is known where in a file it is.
    :ivar ends: it goes on to the end of the disk.
    """

    allocated: bool
    zero: bool
    data: bool
    placed: bool
    ends: bool


class _Disk:
    """One of the two images.

    :ivar chain: what it and the images below it hold; :ivar size: its length in bytes.
    """

    def __init__(self, call: Call, word: str) -> None:
        self.chain: Chain = contents(call, word)
        self.size = self.chain[0].size
        self._layers = len(self.chain)
        self._extents: Iterator[Extent] = status_runs(call, word, 0, self.size)
        self._extent: Extent | None = None

    def look(self, offset: int) -> tuple[_Status, int]:
        """The status at *offset*, where no earlier look has been, and for how many bytes it holds."""
        extent = self._extent
        while extent is None or extent.start + extent.length <= offset:
            self._extent = extent = next(self._extents)
        below = extent.depth + 1 < self._layers
        status = _Status(
            extent.present or below,
            extent.zero,
            extent.data,
            extent.offset is not None,
            extent.start + extent.length == self.size,
        )
        return status, extent.start + extent.length - offset


def compare(call: Call) -> int:
    """``qemu-img compare``."""
    options = call.options
    options.only("q", "p", "f", "F", "s", "T", "U", "image-opts")
    if len(options.words) != 2:
        raise ToolError("Expecting two image file names", usage=True)
    check_cache(call, "T", "source cache", status=2)
    call.start_progress(_LEAST_STEP)
    disks = []
    for word, option in zip(options.words, "fF", strict=True):
        open_image(call, word, options.last(option), status=2)
        disks.append(_Disk(call, word))  # both words may be the same
    one, other = disks
    call.progress(0)
    progress = _Progress(call, max(one.size, other.size))
    mismatch = _mismatch(one, other, progress, strict="s" in options)
    if mismatch is None and one.size != other.size:
        call.say("Warning: Image size mismatch!")
        longer = max(one, other, key=lambda disk: disk.size)
        mismatch = _mismatch_behind(longer, min(one.size, other.size), progress)
    call.say(mismatch or "Images are identical.")
    return 0 if mismatch is None else 1


class _Progress:
    """How much of the longer disk has been compared, in the floating point of QEMU (qemu_progress_print)."""

    def __init__(self, call: Call, size: int) -> None:
        self._call = call
        self._size = _single(size)
        self._percent = 0.0

    def add(self, length: int) -> None:
        """*length* bytes more have been compared."""
        part = _single(_single(_single(length) / self._size) * 100)
        self._percent = min(_single(self._percent + _single(_single(part / 100) * 100)), 100)
        self._call.progress(self._percent)


def _single(number: float) -> float:
    """The nearest number of single precision."""
    return array("f", [number])[0]


def _mismatch(one: _Disk, other: _Disk, progress: _Progress, *, strict: bool) -> str | None:
    """What is said of the first difference in what both disks have, None if there is none."""
    offset, end = 0, min(one.size, other.size)
    if strict and one.size != other.size:
        return "Strict mode: Image size mismatch!"
    while offset < end:
        (status, length), (other_status, other_length) = one.look(offset), other.look(offset)
        length = min(length, other_length)
        if strict and status != other_status:
            return f"Strict mode: Offset {offset} block status mismatch!"
        if not (status.zero and other_status.zero) and (status.allocated or other_status.allocated):
            length = min(length, _AT_ONCE)
            left, right = one.chain if status.allocated else (), other.chain if other_status.allocated else ()
            place = _first_difference(left, right, offset, length)
            if place is not None:
                return f"Content mismatch at offset {place}!"
        offset += length
        progress.add(length)
    return None


def _mismatch_behind(disk: _Disk, offset: int, progress: _Progress) -> str | None:
    """What is said of the first byte, behind the end of the shorter disk, that is not zero; None if there is none."""
    while offset < disk.size:
        status, length = disk.look(offset)
        if status.allocated and not status.zero:
            length = min(length, _AT_ONCE)
            place = _first_difference(disk.chain, (), offset, length)
            if place is not None:
                return f"Content mismatch at offset {place}!"
        offset += length
        progress.add(length)
    return None


def _first_difference(one: Chain, other: Chain, offset: int, length: int) -> int | None:
    """The first sector in which two chains read differently; one of nothing reads as zeroes."""
    left, right = read_chain(one, offset, length), read_chain(other, offset, length)
    if left == right:
        return None
    steps = range(0, length, SECTOR)
    return offset + next(at for at in steps if left[at : at + SECTOR] != right[at : at + SECTOR])
