"""``qemu-img map``, and the runs of a disk as it shows them."""

from __future__ import annotations

from qbitsim.images.content import Kind
from qbitsim.images.image import Image
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.raw import RawImage
from qbitsim.light_library import partial
from qbitsim.qemu_img.files import Call, open_image, output_format
from qbitsim.qemu_img.options import ToolError, size_argument
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@record(frozen=False, eq=False)
class Extent:
    """A range of the disk whose bytes come from one place."""

    start: int
    length: int
    depth: int
    present: bool
    zero: bool
    data: bool
    offset: int | None
    file: str
    compressed: bool = False

    def _kind(self) -> tuple[object, ...]:
        return self.depth, self.present, self.zero, self.data, self.compressed, self.offset is None, self.file

    def joins(self, other: Extent) -> bool:
        """Whether *other*, which comes right after, is printed as one with this."""
        if self._kind() != other._kind():
            return False
        return self.offset is None or other.offset == self.offset + self.length


READERS = {"map": {"s": partial(size_argument, "start offset"), "l": partial(size_argument, "max length")}}


def map_image(call: Call) -> int:
    """``qemu-img map``."""
    options = call.options
    options.only("f", "s", "l", "output", "U", "image-opts")
    output = output_format(call)
    start, length = options.numbers.get("s", 0), options.numbers.get("l")
    if len(options.words) != 1:
        raise ToolError("Expecting one image file name", usage=True)
    name = options.words[0]
    image = open_image(call, name, options.last("f"))
    end = image.size if length is None else min(image.size, start + length)
    extents: list[Extent] = []
    for extent in status_runs(call, name, start, end):
        if extents and extents[-1].joins(extent):
            extents[-1].length += extent.length
        else:
            extents.append(extent)
    if output == "json":
        if not extents:  # of no bytes, or all before the start
            extents = [Extent(start, 0, 0, present=False, zero=False, data=False, offset=None, file=name)]
        call.print("[" + ",\n".join(_json_extent(extent, call) for extent in extents) + "]\n")
        return 0
    call.print(f"{'Offset':<16}{'Length':<16}{'Mapped to':<16}File\n")
    for extent in extents:
        if extent.data and extent.offset is None:
            raise ToolError("File contains external, encrypted or compressed clusters.")
        if extent.data and not extent.zero:
            numbers = (extent.start, extent.length, extent.offset or 0)
            call.print("".join(f"{hex(number) if number else '0':<16}" for number in numbers) + extent.file + "\n")
    return 0


def _json_extent(extent: Extent, call: Call) -> str:
    flags = {"present": extent.present, "zero": extent.zero, "data": extent.data}
    if call.profile.qemu_img_map_shows_compression:
        flags["compressed"] = extent.compressed
    text = "".join(f', "{name}": {str(value).lower()}' for name, value in flags.items())
    offset = "" if extent.offset is None else f', "offset": {extent.offset}'
    return f'{{ "start": {extent.start}, "length": {extent.length}, "depth": {extent.depth}{text}{offset}}}'


def status_runs(call: Call, name: str, start: int, end: int) -> Iterator[Extent]:
    """What QEMU finds in a range of the disk when it asks for one status after the other (bdrv_block_status_above).

    :param name: the word of the command line that stands for the disk now; later another one may go by it.
    """
    chain, names = call.chain(name), [call.file_name(name)]
    for image in chain[:-1]:
        names.append(call.store.backing_name(names[-1], image.backing or ""))
    shows_holes = [isinstance(image, Qcow2Image) and image.shows_holes for image in chain]
    names = [name.partition("#")[0] if call.store.is_remote(name) else name for name in names]
    return _runs(chain, names, shows_holes, start, end)


def _runs(chain: list[Image], names: list[str], shows_holes: list[bool], start: int, end: int) -> Iterator[Extent]:
    known: dict[int, tuple[Kind, int]] = {}  # of each image, what it is up to where: no table is looked at twice
    while start < end:
        length = end - start
        for depth, image in enumerate(chain):
            length = min(length, image.size - start)
            if isinstance(image, RawImage):
                length, present, data, zero = image.described(start, length)
                place = start if present else None
                extent = Extent(start, length, depth, present, zero, data=data, offset=place, file=names[depth])
                break
            kind, stop = known.get(depth, (Kind.HOLE, 0))
            if start >= stop:
                kind, length = image.content.status(start, length)
                known[depth] = kind, start + length
            length = min(length, known[depth][1] - start)
            present, zero = kind is Kind.ZERO, kind is not Kind.DATA
            extent = Extent(start, length, depth, present, zero, data=False, offset=None, file=names[depth])
            if kind is Kind.DATA:
                extent = _stored_extent(image, extent, shows_holes=shows_holes[depth])
            elif kind is Kind.ZERO and isinstance(image, Qcow2Image) and image.layout.keeps_zeroes(image.content):
                extent = _cut_to_run(image, extent)
            if extent.present or depth + 1 == len(chain) or start >= chain[depth + 1].size:
                break
        yield extent
        start += extent.length


def _stored_extent(image: Image, extent: Extent, *, shows_holes: bool) -> Extent:
    extent.present, extent.data, extent.zero = True, True, False
    if not isinstance(image, Qcow2Image):
        extent.offset = image.host_offset(extent.start)
        extent.compressed = extent.offset is None
        return extent
    extent.compressed = image.layout.is_packed(extent.start)
    if image.data_file is not None and image.data_file.name is not None:
        extent.file = image.data_file.name
    extent = _cut_to_run(image, extent)
    if shows_holes:
        extent.zero, extent.length = image.data_run(extent.start, extent.length)
    return extent


def _cut_to_run(image: Qcow2Image, extent: Extent) -> Extent:
    """Only the part of the extent that is in one piece in the file, with its place there."""
    unit = image.cluster_size
    stop = image.layout.run_end(extent.start // unit, -(-(extent.start + extent.length) // unit)) * unit
    extent.length = min(extent.length, stop - extent.start)
    extent.offset = image.host_offset(extent.start)
    return extent
