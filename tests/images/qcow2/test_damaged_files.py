"""Files of which a few bytes are wrong: each is read as an image or refused in words, and neither takes long."""

from __future__ import annotations

import random
import resource
import struct
import time
from contextlib import suppress

import pytest
from file_draws import STORIES
from hypothesis import given
from hypothesis import strategies as st
from memory_file import MemoryFile
from real_tools import RealTools
from story_files import story

from qbitsim.errors import QmpError
from qbitsim.images.image_file import ImageFile
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.qcow2.loading import load_image
from qbitsim.images.qcow2.metadata import read_metadata
from qbitsim.images.qcow2.rendered import RenderedFile

VALUES = (0, 1, 2, 3, 4, 7, 9, 21, 22, 64, 72, 104, 112, 255, 511, 512, 513, 1 << 16, (1 << 31) - 1, (1 << 32) - 1)
LARGE = (1 << 40, 1 << 55, (1 << 63) - 1, 1 << 62, (1 << 63) | 512, 1 << 63, (1 << 64) - 1)
SECONDS = 2


def load(data: bytes, *, writable: bool = False) -> Qcow2Image:
    """The image in a file."""
    return load_image(ImageFile("d"), MemoryFile(data), writable=writable, most=64 << 20)


def is_read_or_refused(data: bytes) -> None:
    """The file is read, and its image can be rendered; or it is refused with a text; in time."""
    started = time.process_time()
    with suppress(QmpError):
        rendered = RenderedFile(load(data))
        assert len(rendered.read_at(0, 1 << 20)) == min(rendered.length, 1 << 20)
    assert time.process_time() - started < SECONDS


@st.composite
def damaged_files(draw: st.DrawFn) -> bytes:
    """A file with some of everything, of which some fields are overwritten and perhaps the end is cut off."""
    data = bytearray(story(draw(st.integers(0, len(STORIES) - 1))))
    places = st.integers(0, 120) | st.integers(0, len(data) // 8 - 1).map(lambda word: word * 8)
    for _ in range(draw(st.integers(1, 4))):
        width = draw(st.sampled_from("BHIQQ"))
        most = (1 << 8 * struct.calcsize(width)) - 1
        value = draw(st.sampled_from((*VALUES, *LARGE)) | st.integers(0, most)) & most
        struct.pack_into(f">{width}", data, min(draw(places), len(data) - 8), value)
    return bytes(data[: draw(st.just(len(data)) | st.integers(0, len(data)))])


@given(damaged_files())
def test_a_damaged_file_is_read_or_refused(data: bytes) -> None:
    is_read_or_refused(data)


@pytest.mark.parametrize("number", range(len(STORIES)))
def test_every_byte_of_the_header_may_be_wrong(number: int) -> None:
    whole = story(number)
    for place in range(112):
        for value in {0, 1, 127, 255} - {whole[place]}:
            data = bytearray(whole)
            data[place] = value
            is_read_or_refused(bytes(data))


def test_memory_follows_the_length_of_the_file() -> None:
    draws, before = random.Random(1), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(500):
        data = bytearray(story(draws.randrange(len(STORIES))))
        for _ in range(3):
            place = draws.randrange(len(data) // 8) * 8
            struct.pack_into(">Q", data, place, draws.choice((*VALUES, *LARGE)))
        is_read_or_refused(bytes(data))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 256 << 10


BITMAPS = 120
"""Where the data of the bitmaps extension begin in the first story."""
DIRECTORY = read_metadata(MemoryFile(story(0))).bitmaps_extension.directory_offset  # type: ignore[union-attr]
UNFIT = "Bitmap 'b0' doesn't satisfy the constraints"
UNFIT_FIELDS = (
    *((0, ">Q", 0), (0, ">Q", 8), (8, ">I", 0), (8, ">I", 1), (8, ">I", 1 << 31), (12, ">I", 4)),
    *((16, ">B", 2), (17, ">B", 8), (17, ">B", 32)),
)
REFUSALS = [
    (0, ">I", 0, "Image is not in qcow2 format"),
    (4, ">I", 4, "Unsupported qcow2 version 4"),
    (20, ">I", 8, "Unsupported cluster size: 2^8"),
    (20, ">I", 22, "Unsupported cluster size: 2^22"),
    (100, ">I", 103, "qcow2 header too short"),
    (100, ">I", 513, "qcow2 header exceeds cluster size"),
    (8, ">Q", 513, "Invalid backing file offset"),
    (104, ">B", 2, "qcow2: unknown compression type: 2"),
    (104, ">B", 1, "qcow2: Compression type incompatible feature bit must be set"),
    (72, ">Q", 8, "qcow2: Compression type incompatible feature bit must not be set"),
    (72, ">Q", 1 << 5 | 1 << 63, "Unsupported qcow2 feature(s): Unknown incompatible feature: 8000000000000020"),
    (72, ">Q", 2, "qcow2: Image is corrupt; cannot be opened read/write"),
    (72, ">Q", 16, "Unsupported subcluster size: 16"),
    (96, ">I", 7, "Reference count entry width too large; may not exceed 64 bits"),
    (56, ">I", 0, "Image does not contain a reference count table"),
    (56, ">I", (8 << 20) // 512 + 1, "Reference count table too large"),
    (48, ">Q", 1, "Reference count table offset invalid"),
    (60, ">I", 65537, "Snapshot table too large"),
    (64, ">Q", 1, "Snapshot table offset invalid"),
    (36, ">I", (32 << 20) // 8 + 1, "Active L1 table too large"),
    (40, ">Q", 513, "Active L1 table offset invalid"),
    (24, ">Q", 1 << 62, "Image is too big"),
    (24, ">Q", 1 << 40, "L1 table is too small"),
    (116, ">I", 1000, "Header extension too large"),
    (32, ">I", 3, "Unsupported encryption method 3"),
    (32, ">I", 2, "Missing CRYPTO header for crypt method 2"),
    (32, ">I", 1, "qbitsim does not emulate encrypted qcow2 images"),
    (88, ">Q", 3, "data-file-raw requires a data file"),
    (BITMAPS - 4, ">I", 23, "bitmaps_ext: Invalid extension length"),
    (BITMAPS, ">I", 0, "found bitmaps extension with zero bitmaps"),
    (BITMAPS, ">I", 65536, "bitmaps_ext: Image has 65536 bitmaps, exceeding the QEMU supported maximum of 65535"),
    (BITMAPS, ">I", 1, "More bitmaps found than specified in header extension"),
    (BITMAPS, ">I", 3, "Less bitmaps found than specified in header extension"),
    (BITMAPS + 4, ">I", 1, "bitmaps_ext: Reserved field is not zero"),
    (BITMAPS + 8, ">Q", 0, "Requested bitmap directory size is zero"),
    (BITMAPS + 8, ">Q", 40, "Broken bitmap directory"),
    (BITMAPS + 8, ">Q", 24, "Broken bitmap directory"),
    (
        *(BITMAPS + 8, ">Q", 1 << 32),
        "bitmaps_ext: bitmap directory size (4294967296) exceeds the maximum supported size (67107840)",
    ),
    (BITMAPS + 16, ">Q", 8, "bitmaps_ext: invalid bitmap directory offset"),
    *((DIRECTORY + place, form, value, UNFIT) for place, form, value in UNFIT_FIELDS),
    (DIRECTORY + 20, ">I", 8, "Bitmap extra data is not supported"),
    (DIRECTORY + 20, ">I", 800, "Broken bitmap directory"),
    (DIRECTORY + 25, ">B", ord("1"), "Bitmap already exists: b1"),
    (DIRECTORY + 8, ">I", 3, "Could not read bitmap 'b0' from image: Invalid argument"),
]


@pytest.mark.parametrize(("place", "form", "value", "text"), REFUSALS)
def test_what_qemu_refuses_to_open_is_refused_in_its_words(place: int, form: str, value: int, text: str) -> None:
    data = bytearray(story(0))
    struct.pack_into(form, data, place, value)
    with pytest.raises(QmpError) as caught:
        load(bytes(data), writable=True)
    assert caught.value.desc == text


def test_the_real_tools_refuse_the_same_in_the_same_words(root: str | None) -> None:
    with RealTools(root) as real:
        for place, form, value, text in REFUSALS:
            data = bytearray(story(0))
            struct.pack_into(form, data, place, value)
            real.write("d", bytes(data))
            status, _, said = real.run("qemu-io", "-f", "qcow2", "-c", "quit", "d")
            assert status == 1
            if not text.startswith("qbitsim"):
                assert said == f"qemu-io: can't open device d: {text}\n"
