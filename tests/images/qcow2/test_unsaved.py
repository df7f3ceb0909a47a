"""What of the tables of an open image in memory is not in its file yet; ``m-u21`` to ``m-u28`` are what QEMU does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qbitsim.images.qcow2.check import check_file
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.store import ImageStore
from qbitsim.machine.machine import Machine
from qbitsim.qemu_img.run import run

UNIT = 4096
TABLE = UNIT // 8
CLUSTERS = 3 * TABLE
"""Three L2 tables."""


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, int, int]:
    first = draw(st.sampled_from([0, 1, 2, 3, TABLE - 2, TABLE - 1, TABLE, TABLE + 1, 2 * TABLE]))
    kinds = ("write", "write", "write part", "write compressed", "zero", "zero, unmap", "discard", "flush")
    return draw(st.sampled_from(kinds)), first, draw(st.integers(1, 4))


def opened(**options: Any) -> Qcow2Image:
    image = ImageStore().create("a", "qcow2", CLUSTERS * UNIT, cluster_size=UNIT, **options)
    assert isinstance(image, Qcow2Image)
    image.keep_tables()
    return image


def do(image: Qcow2Image, request: tuple[str, int, int], fill: int) -> None:
    kind, first, count = request
    offset, length, block = first * UNIT, count * UNIT, bytes([fill]) * UNIT
    if kind == "write":
        image.write(offset, block * count)
    elif kind == "write part":
        image.write(offset + 512, block[:512])
    elif kind == "write compressed":
        if image.takes_compressed(offset):
            image.write_compressed(offset, block)
    elif kind == "discard":
        image.discard(offset, length)
    elif kind == "flush":
        image.tables_written()
    else:
        image.write_zeroes(offset, length, unmap=kind == "zero, unmap")


def clusters(image: Qcow2Image) -> list[bytes]:
    return [image.content.whole_cluster(number) for number in range(CLUSTERS)]


@settings(max_examples=60, deadline=None)
@given(st.lists(requests(), min_size=1, max_size=12), st.sampled_from(["1.1", "0.10"]))
def test_a_file_without_its_last_changes_has_leaks_at_worst_and_all_that_was_flushed(
    drawn: list[tuple[str, int, int]], compat: str
) -> None:
    image = opened(compat=compat)
    since_flush = [clusters(image)]
    for fill, request in enumerate(drawn, 1):
        do(image, request, fill)
        since_flush = [*(since_flush if request[0] != "flush" else ()), clusters(image)]
    twin = image.file.as_saved().image
    assert isinstance(twin, Qcow2Image)
    image.lose_unsaved_tables()
    assert not image.has_unsaved_tables
    found = check_file(image.file.bytes_read)
    assert (found.errors, found.corruptions) == (0, 0)
    now, places = clusters(image), [image.host_offset(number * UNIT) for number in range(CLUSTERS)]
    for block, *states in zip(now, *since_flush, strict=True):
        assert block in states
    assert clusters(twin) == now
    assert [twin.host_offset(number * UNIT) for number in range(CLUSTERS)] == places


def test_nothing_is_remembered_while_nobody_has_it_open_for_writing() -> None:
    image = opened()
    image.release_tables()
    image.write(0, bytes(UNIT))
    assert not image.has_unsaved_tables
    assert image.file.as_saved() is image.file
    image.lose_unsaved_tables()
    assert image.host_offset(0) is not None


@pytest.fixture
def machine() -> Machine:
    machine = Machine()
    machine.images.create("a", "qcow2", 1 << 20)
    machine.add_disk("drive0", file="a", node_name="node0")
    return machine


def seen(machine: Machine, name: str = "a") -> str:
    """The first kind of cluster that another process finds."""
    status, output = run(machine.images, ["map", "-U", name])
    assert status == 0
    return "data" if "0x50000" in output else "nothing"


def test_another_process_sees_what_was_flushed(machine: Machine) -> None:
    machine.drive("drive0").write(0, b"a" * 512)
    assert seen(machine) == "nothing"
    assert machine.drive("drive0").read(0, 1) == b"a"
    machine.drive("drive0").flush()
    assert seen(machine) == "data"


def test_what_was_read_only_meanwhile_was_flushed(machine: Machine) -> None:
    machine.drive("drive0").write(0, b"a" * 512)
    file = {"driver": "file", "filename": "a"}
    for read_only in (True, False):
        options = {"driver": "qcow2", "node-name": "node0", "file": file, "read-only": read_only}
        machine.qmp("blockdev-reopen", options=[options])
        assert seen(machine) == "data"
    machine.drive("drive0").write(65536, b"b" * 512)
    machine.crash()
    content = machine.images.lookup("a").content
    assert (content.read(0, 1), content.read(65536, 1)) == (b"a", b"\0")


def test_a_machine_that_is_put_back_has_not_written_its_tables_either(machine: Machine) -> None:
    machine.drive("drive0").write(0, b"a" * 512)
    kept = machine.snapshot()
    machine.drive("drive0").flush()
    machine.restore(kept)
    assert seen(machine) == "nothing"
    machine.crash()
    assert machine.images.lookup("a").content.read(0, 1) == b"\0"


def test_the_next_cluster_goes_where_a_lost_one_was(machine: Machine) -> None:
    machine.drive("drive0").write(0, b"a" * 512)
    machine.drive("drive0").flush()
    machine.drive("drive0").write(65536, b"b" * 512)
    image = machine.images.lookup("a")
    place, length = image.host_offset(65536), image.file_length
    machine.restart(crash=True)
    assert image.file_length == length
    machine.drive("drive0").write(2 * 65536, b"c" * 512)
    assert image.host_offset(2 * 65536) == place
    assert machine.drive("drive0").read(65536, 1) == b"\0"
