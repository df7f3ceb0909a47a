"""What preallocation leaves in a file; real QEMU's maps of it are in recorded scenarios."""

from __future__ import annotations

import pytest

from qbitsim.images.file_holes import FileHoles
from qbitsim.images.image_file import ImageFile
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.raw import RawImage

MIB = 1 << 20
UNIT = 65536


def metadata(size: int = MIB, cluster_size: int = UNIT) -> Qcow2Image:
    """A qcow2 image of that size with preallocated metadata."""
    image = Qcow2Image(ImageFile("a"), 0, cluster_size=cluster_size)
    image.resize(size, preallocation="metadata")
    return image


def holes(image: Qcow2Image) -> list[tuple[int, int]]:
    """Where the data are a hole of the file, as (start, end)."""
    found, offset = [], 0
    while offset < image.size:
        hole, run = image.data_run(offset, image.size - offset)
        if hole:
            found.append((offset, offset + run))
        offset += run
    return found


def test_pages_are_holes_only_if_all_of_them_are() -> None:
    pages = FileHoles()
    pages.add(100, 5 * 4096 + 100)
    assert pages.run(4096, 1 << 20) == (True, 4 * 4096)
    assert (pages.run(0, 4096), pages.size(1 << 20)) == ((False, 4096), 4 * 4096)
    pages.fill(2 * 4096 + 1, 2 * 4096 + 2)
    pages.drop(3 * 4096 + 1, 5 * 4096)
    assert [pages.run(number * 4096, 1 << 20)[0] for number in range(6)] == [False, True, False, True, False, False]
    twin = pages.copy()
    twin.fill(0, 1 << 20)
    assert (bool(twin), bool(pages)) == (False, True)


def test_metadata_are_preallocated_and_the_data_are_a_hole() -> None:
    image = metadata()
    assert holes(image) == [(0, MIB)]
    assert image.shows_holes
    assert image.actual_size == image.file_length - MIB - 15 * 4096  # the L1 table is one page of its cluster
    assert [image.host_offset(number * UNIT) for number in range(2)] == [5 * UNIT, 6 * UNIT]


def test_a_write_fills_the_pages_that_it_touches() -> None:
    image = metadata()
    image.write(UNIT + 4097, b"x")
    assert holes(image) == [(0, UNIT + 4096), (UNIT + 8192, MIB)]
    image.write(0, b"x" * 2 * UNIT)
    assert holes(image) == [(2 * UNIT, MIB)]
    image.copy_clusters(RawImage(ImageFile("b"), MIB).content, [4])
    other = Qcow2Image(ImageFile("b"), MIB)
    other.write(5 * UNIT, b"y" * UNIT)
    image.copy_clusters(other.content, [5])
    assert holes(image)[-2:] == [(2 * UNIT, 5 * UNIT), (6 * UNIT, MIB)]
    image.write_zeroes(6 * UNIT + 1, 10)
    assert image.data_run(6 * UNIT, UNIT) == (False, 4096)
    image.write_zeroes(7 * UNIT, UNIT)  # it becomes a cluster of zeroes and keeps its place, where nothing is written
    assert image.data_run(7 * UNIT, UNIT) == (True, UNIT)


def test_holes_in_an_image_that_is_nearly_full_are_not_shown() -> None:
    image = metadata(8 * MIB)
    image.write(0, b"x" * (8 * MIB - UNIT))
    assert holes(image) == [(8 * MIB - UNIT, 8 * MIB)]
    assert not image.shows_holes


def test_a_cluster_that_the_end_of_the_disk_cuts_is_filled_up() -> None:
    image = metadata(1000448)
    assert holes(image) == [(0, 999424)]


def test_a_copy_of_an_image_has_holes_of_its_own() -> None:
    image = metadata()
    twin = image.copy_into(ImageFile("b"))
    twin.write(0, b"x" * MIB)
    assert (holes(image), holes(twin)) == ([(0, MIB)], [])


@pytest.mark.parametrize("preallocation", ["falloc", "full"])
def test_what_is_allocated_is_no_hole(preallocation: str) -> None:
    image = Qcow2Image(ImageFile("a"), 0)
    image.resize(MIB, preallocation=preallocation)  # type: ignore[arg-type]
    assert not holes(image)
    assert not image.shows_holes


def test_room_that_was_kept_for_a_raw_file_counts_until_it_is_given_back() -> None:
    image = RawImage(ImageFile("a"), 0)
    image.resize(MIB, preallocation="falloc")
    assert (image.content.allocated, image.actual_size) == (0, MIB)
    image.write(0, b"x")
    assert (image.content.allocated, image.actual_size) == (4096, MIB)
    image.discard(UNIT, UNIT)
    assert image.actual_size == MIB - UNIT
    image.write_zeroes(0, 4096)
    assert image.actual_size == MIB - UNIT - 4096
    image.copy_clusters(Qcow2Image(ImageFile("b"), MIB).content, [3])
    image.resize(UNIT)
    assert image.actual_size == UNIT - 4096
    image.resize(2 * UNIT, preallocation="full")
    assert image.content.allocated == UNIT
    with pytest.raises(ValueError, match=r"^a raw file has no metadata$"):
        image.resize(MIB, preallocation="metadata")
