"""What a file is made into when it is read: what is kept of other programs, and what opening for writing changes."""

from __future__ import annotations

import struct
import sys

import pytest
from memory_file import MemoryFile
from story_files import story

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.images.image_file import ImageFile
from qbitsim.images.qcow2.check import check_file
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.qcow2.loading import load_image, parse_file
from qbitsim.images.qcow2.metadata import read_metadata
from qbitsim.images.qcow2.rendered import RenderedFile
from qbitsim.images.qcow2.structures import Extension, pack_extensions

EXTENSIONS = 112  # where the header extensions of the first story begin
INCOMPATIBLE, COMPATIBLE, AUTOCLEAR = 72, 80, 88


def load(data: bytes, *, writable: bool = False) -> Qcow2Image:
    """The image in a file."""
    return load_image(ImageFile("d"), MemoryFile(data), writable=writable)


def rendered(image: Qcow2Image) -> bytes:
    """The bytes of its file."""
    return RenderedFile(image).read_at(0, image.layout.end)


def spoiled(place: int, form: str, value: int) -> bytes:
    """The first story with another value in a field."""
    data = bytearray(story(0))
    struct.pack_into(form, data, place, value)
    return bytes(data)


def test_unknown_extensions_and_features_are_kept() -> None:
    known = read_metadata(MemoryFile(story(0)))
    data = bytearray(spoiled(COMPATIBLE, ">Q", 1 << 40))
    bitmaps = Extension(0x23852875, bytes(data[EXTENSIONS + 8 : EXTENSIONS + 32]))
    foreign = Extension(0x12345678, b"what others keep")
    extensions = pack_extensions([bitmaps, foreign])
    data[EXTENSIONS : EXTENSIONS + len(extensions)] = extensions
    image = load(bytes(data))
    assert image.kept_header.extensions == (foreign,)
    assert rendered(image)[: known.cluster_size] == data[: known.cluster_size]


def test_a_short_header_stays_short() -> None:
    data = bytearray(spoiled(100, ">I", 104))
    del data[104:112]  # the extensions follow at once
    data[504:504] = bytes(8)
    image = load(bytes(data))
    assert image.kept_header.short
    assert rendered(image)[:512] == data[:512]


def test_fields_behind_the_known_ones_are_kept() -> None:
    data = bytearray(spoiled(100, ">I", 120))
    data[112:112] = b"whatever"
    del data[512:520]
    image = load(bytes(data))
    assert image.kept_header.rest == b"whatever"
    assert rendered(image)[:512] == data[:512]


def test_who_opens_for_writing_drops_autoclear_features_that_he_does_not_know() -> None:
    data = spoiled(AUTOCLEAR, ">Q", 1 << 5 | 1)
    assert load(data).kept_header.autoclear == 1 << 5
    assert load(data, writable=True).kept_header.autoclear == 0


def test_bitmaps_without_the_autoclear_bit_are_not_trusted() -> None:
    image = load(spoiled(AUTOCLEAR, ">Q", 0))
    assert image.has_stale_bitmaps
    assert not image.bitmaps
    assert check_file(RenderedFile(image)).leaks > 0


def test_a_dirty_file_is_repaired_when_it_is_opened_for_writing() -> None:
    metadata = read_metadata(MemoryFile(story(0)))
    data = bytearray(spoiled(INCOMPATIBLE, ">Q", 1))
    (count,) = struct.unpack_from(">H", data, metadata.refcount_table[0])
    struct.pack_into(">H", data, metadata.refcount_table[0], count + 5)
    assert load(bytes(data)).layout.clusters.refcount(0) == count + 5
    image = load(bytes(data), writable=True)
    assert image.layout.clusters.refcount(0) == count
    assert not image.kept_header.dirty
    assert not check_file(RenderedFile(image)).lines


def test_a_corrupt_file_is_opened_for_reading_only() -> None:
    data = spoiled(INCOMPATIBLE, ">Q", 2)
    assert load(data).corrupt
    with pytest.raises(QmpError, match=r"^qcow2: Image is corrupt; cannot be opened read/write$"):
        load(data, writable=True)


def of_type_zstd(image: Qcow2Image) -> bytes:
    """The file of an image, with a header that says so."""
    data = bytearray(rendered(image))
    struct.pack_into(">Q", data, INCOMPATIBLE, 8)
    data[104] = 1
    return bytes(data)


def test_clusters_of_a_compression_type_that_python_does_not_have_are_refused_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    image = Qcow2Image(ImageFile("a"), 1 << 20)
    image.write(0, b"written" * 9)
    kept = of_type_zstd(image)
    opened = load(kept)
    assert (opened.compression, rendered(opened)) == ("zstd", kept)
    with pytest.raises(UnsupportedError, match="compression type zstd"):
        opened.shrinks(bytes(65536))
    image.write_compressed(65536, bytes(65536))
    with pytest.raises(UnsupportedError, match="compression type zstd"):
        load(of_type_zstd(image))


def test_a_data_file_is_known_by_its_name_and_not_open() -> None:
    data = bytearray(rendered(Qcow2Image(ImageFile("d"), 1 << 20, cluster_size=512)))
    struct.pack_into(">Q", data, INCOMPATIBLE, 4)
    extensions = pack_extensions([Extension(0x44415441, b"raw")])
    data[EXTENSIONS : EXTENSIONS + len(extensions)] = extensions
    parsed = parse_file(MemoryFile(bytes(data)))
    assert (parsed.metadata.data_file, parsed.layout.external) == ("raw", True)
    image = load(bytes(data))
    assert image.data_file is not None
    assert (image.data_file.name, image.data_file.is_raw, image.data_file.file) == ("raw", False, None)
    assert rendered(image) == bytes(data)


def test_more_data_than_allowed_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="that much data"):
        load_image(ImageFile("d"), MemoryFile(story(0)), most=4096)


def test_a_range_of_the_rendered_file_is_the_same_as_in_the_whole() -> None:
    image = load(story(0))
    file, whole = RenderedFile(image), rendered(image)
    for offset, length in ((0, 7), (511, 3), (1000, 5000), (len(whole) - 5, 100), (len(whole), 1), (1 << 40, 9)):
        assert file.read_at(offset, length) == whole[offset : offset + length]
    image.write(0, b"\xaa" * 512)
    assert file.read_at(0, file.length) != whole
