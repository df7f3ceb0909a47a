"""VMDK images in memory and in files of the host."""

from __future__ import annotations

import errno

import pytest
from footer import GRAIN, streamed
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import folder_of_files

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.images.content import Kind
from qbitsim.images.host.store import HostImageStore
from qbitsim.images.store import ImageStore
from qbitsim.images.vmdk.content import WrittenGrainError
from qbitsim.images.vmdk.image import VmdkImage
from qbitsim.images.vmdk.options import VmdkOptions

SIZE = 5 * GRAIN + 1024
STREAM = VmdkOptions(subformat="streamOptimized")


def made(store: ImageStore, name: str = "d", options: VmdkOptions | None = None, size: int = SIZE) -> VmdkImage:
    image = store.create(name, "vmdk", size, options=options or VmdkOptions())
    assert isinstance(image, VmdkImage)
    return image


def with_bytes(store: ImageStore, data: bytes, name: str = "d") -> None:
    store.create(name, "raw", len(data)).write(0, data)


def reopened(store: ImageStore, name: str = "d") -> VmdkImage:
    """The image that the bytes of the file are."""
    raw = store.file(name).raw
    with_bytes(store, raw.content.read(0, raw.size), "again")
    image = store.lookup("again")
    assert isinstance(image, VmdkImage)
    return image


operations = st.lists(
    st.tuples(
        st.sampled_from(["write", "zero", "reopen"]), st.integers(0, SIZE - 1), st.integers(1, 2 * GRAIN), st.binary()
    ),
    max_size=8,
)


@settings(max_examples=25, deadline=None)
@given(operations=operations, zero_grains=st.booleans())
@pytest.mark.parametrize("kind", ["memory", "files"])
def test_a_disk_reads_as_what_was_written(
    kind: str, operations: list[tuple[str, int, int, bytes]], *, zero_grains: bool
) -> None:
    with folder_of_files() as folder:
        store = ImageStore() if kind == "memory" else HostImageStore(str(folder))
        image, model = made(store, options=VmdkOptions(zeroed_grain=zero_grains)), bytearray(SIZE)
        for what, offset, length, data in operations:
            stop = min(SIZE, offset + length)
            if what == "write":
                piece = (data or b"\1") * length
                image.write(offset, piece[: stop - offset])
                model[offset:stop] = piece[: stop - offset]
            elif what == "zero":
                image.write_zeroes(offset, stop - offset)
                model[offset:stop] = bytes(stop - offset)
            else:
                image.reopen()
        assert image.content.read(0, SIZE) == model
        assert reopened(store).content.read(0, SIZE) == model


def test_whole_grains_become_zero_in_the_tables_where_these_can_say_so(store: ImageStore) -> None:
    image = made(store, options=VmdkOptions(zeroed_grain=True))
    image.write(0, b"a" * (2 * GRAIN))
    length = image.file_length
    image.write_zeroes(100, GRAIN + GRAIN - 100)
    assert image.file_length == length
    assert [image.content.status(place, SIZE - place) for place in (0, GRAIN, 2 * GRAIN)] == [
        (Kind.DATA, GRAIN),
        (Kind.ZERO, GRAIN),
        (Kind.HOLE, SIZE - 2 * GRAIN),
    ]


def test_a_compressed_grain_is_written_once_and_as_a_whole(store: ImageStore) -> None:
    image = made(store, options=STREAM)
    image.write(GRAIN, b"a" * GRAIN)
    image.write(5 * GRAIN, b"b" * 1024)
    before = store.file("d").raw.content.read(0, image.file_length)
    with pytest.raises(WrittenGrainError):
        image.write(GRAIN, b"c" * GRAIN)
    with pytest.raises(WrittenGrainError):
        image.write_zeroes(0, 2 * GRAIN)
    assert store.file("d").raw.content.read(0, image.file_length) == before
    for offset, length in ((0, 512), (2 * GRAIN + 512, GRAIN - 512)):
        with pytest.raises(OSError, match="Invalid argument") as caught:
            image.write(offset, bytes(length))
        assert caught.value.errno == errno.EINVAL
    assert image.content.read(GRAIN, GRAIN) == b"a" * GRAIN
    assert reopened(store).content.read(0, SIZE) == bytes(GRAIN) + b"a" * GRAIN + bytes(3 * GRAIN) + b"b" * 1024


def test_the_content_identifier_changes_with_the_first_write_after_each_opening(store: ImageStore) -> None:
    image = made(store)
    seen = [image.content_ids]
    for _ in range(2):
        image.reopen()
        for place in (0, GRAIN):
            image.write(place, b"x")
            seen.append(image.content_ids)
    assert seen[1] == seen[2]
    assert seen[3] == seen[4]
    assert len(set(seen)) == 3
    assert {parent for _, parent in seen} == {0xFFFFFFFF}


def test_a_copy_of_a_file_in_memory_is_another_image() -> None:
    store = ImageStore()
    made(store).write(0, b"first")
    twin = store.clone()
    twin.lookup("d").write(0, b"other")
    assert store.read_chain("d", 0, 5) == b"first"
    assert twin.read_chain("d", 0, 5) == b"other"


def test_who_writes_bytes_has_a_plain_file_in_which_the_image_is_found_again(store: ImageStore) -> None:
    made(store).write(0, b"a" * GRAIN)
    plain = store.file("d").take_bytes()
    place = plain.content.read(0, plain.size).index(b"aaaa")
    plain.write(place, b"b")
    assert store.lookup("d").format == "vmdk"
    assert store.read_chain("d", 0, 4) == b"baaa"


def test_a_streamed_file_with_a_footer_is_read_and_not_written(store: ImageStore) -> None:
    grains = {3: b"c" * GRAIN, 1023: bytes(range(256)) * 256}
    with_bytes(store, streamed(grains, 1024 * GRAIN))
    image = store.lookup("d")
    assert isinstance(image, VmdkImage)
    assert list(image.content.ranges(Kind.DATA)) == [(number * GRAIN, GRAIN) for number in grains]
    assert image.content.read(3 * GRAIN - 1, 3) == b"\0cc"
    assert image.content.read(1023 * GRAIN, GRAIN) == grains[1023]
    assert image.refusal(write=False) is None
    with pytest.raises(UnsupportedError, match=r"^qbitsim does not emulate writing a vmdk image with a footer$"):
        image.refusal(write=True)


def damaged(place: int, data: bytes) -> bytes:
    """A file with other bytes at a place."""
    store = ImageStore()
    raw = made(store).file.raw
    found = bytearray(raw.content.read(0, raw.size))
    found[place : place + len(data)] = data
    return bytes(found)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (damaged(4, b"\4"), "Unsupported VMDK version 4"),
        (damaged(44, b"\1\2"), "L2 table size too big"),
        (damaged(44, b"\0\0\0\0"), "L1 entry size is invalid"),
        (damaged(64, b"\xff"), "File truncated, expecting at least 130560 bytes"),
        (damaged(20, b"\0\0\x40\0"), "Invalid granularity, image may be corrupt"),
        (damaged(56, b"\xff" * 8), "Invalid footer"),
        (damaged(512, bytes(100)), "Could not open 'd': Invalid argument"),
        (damaged(12, bytes(8)), "Unsupported image type 'monolithicSparse'"),
        (streamed({}, GRAIN) + bytes(512), "Invalid footer"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused_in_qemus_words(store: ImageStore, data: bytes, text: str) -> None:
    with_bytes(store, data)
    with pytest.raises(QmpError) as caught:
        store.file("d").refresh()
    assert caught.value.desc == text


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (damaged(20, b"\x60"), "vmdk grains of 96 sectors"),
        (damaged(512, b'parentFileNameHint="x"'), "vmdk images with a parent"),
        (b"COWD" + bytes(508), "vmdk images of the type 'vmfsSparse'"),
        (
            b'# Disk DescriptorFile\n\n \nversion=1\nCID=1\nparentCID=ffffffff\ncreateType="monolithicFlat"\n',
            "vmdk images of the type 'monolithicFlat'",
        ),
    ],
)
def test_what_only_qemu_opens_is_refused_by_name(store: ImageStore, data: bytes, what: str) -> None:
    with_bytes(store, data)
    with pytest.raises(UnsupportedError, match=f"^qbitsim does not emulate {what}$"):
        store.lookup("d")


def test_a_text_that_is_no_descriptor_is_a_raw_disk(store: ImageStore) -> None:
    with_bytes(store, b"# Disk DescriptorFile\nvers=1\n".ljust(512, b" "))
    assert store.lookup("d").format == "raw"


def test_a_damaged_grain_is_an_error_of_its_reader(store: ImageStore) -> None:
    image = made(store, options=STREAM)
    image.write(0, b"a" * GRAIN)
    place = image.content.entry(0) * 512
    store.file("d").raw.content.write(place + 20, b"\xff" * 8)
    with pytest.raises(OSError, match="Invalid argument"):
        image.content.read(0, 1)
    assert image.content.read(GRAIN, 4) == bytes(4)
