"""Nodes of the driver ``vmdk``, and what clients see of them."""

from __future__ import annotations

from typing import Any

import pytest

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.images.vmdk.options import VmdkOptions
from qbitsim.machine.machine import Machine

GRAIN = 65536
SIZE = 4 * GRAIN


def machine(*, compressed: bool = False, profile: str = "10.0", **options: Any) -> Machine:
    made = Machine(profile)
    subformat = "streamOptimized" if compressed else "monolithicSparse"
    made.images.create("d.vmdk", "vmdk", SIZE, options=VmdkOptions(subformat=subformat))
    made.execute("blockdev-add", {"driver": "file", "node-name": "file", "filename": "d.vmdk"})
    made.execute("blockdev-add", {"driver": "vmdk", "node-name": "v", "file": "file", **options})
    return made


def test_the_image_is_probed() -> None:
    made = Machine()
    made.images.create("d.vmdk", "vmdk", SIZE)
    made.qmp("human-monitor-command", **{"command-line": "drive_add 0 if=none,id=d0,file=d.vmdk"})
    assert made.qmp("query-block")[-1]["inserted"]["drv"] == "vmdk"


def test_queries_tell_what_image_it_is() -> None:
    image = machine(compressed=True).qmp("query-named-block-nodes")[0]["image"]
    assert image["cluster-size"] == GRAIN
    own = image["format-specific"]["data"].pop("cid")
    assert 0 < own < 1 << 32
    extent = {"filename": "d.vmdk", "format": "", "virtual-size": SIZE, "cluster-size": GRAIN, "compressed": True}
    assert image["format-specific"] == {
        "type": "vmdk",
        "data": {"create-type": "streamOptimized", "parent-cid": 0xFFFFFFFF, "extents": [extent]},
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_a_compressed_backup_into_it_reads_as_its_source(*, compressed: bool) -> None:
    made = machine(compressed=compressed)
    drive = made.add_disk("drive0", SIZE)
    drive.write(5000, b"abc" * 30000)
    made.execute(
        "blockdev-backup", {"device": "drive0", "target": "v", "sync": "full", "job-id": "j", "compress": True}
    )
    made.run_until_idle()
    made.execute("blockdev-del", {"node-name": "v"})
    assert made.images.compare("d.vmdk", "drive0.qcow2") is None


def test_what_is_written_twice_to_a_compressed_image_is_reported() -> None:
    made = machine(compressed=True)
    said: list[str] = []
    made.graph.complain = said.append
    node = made.graph.nodes["v"]
    node.write(0, b"a" * GRAIN)
    for again in (lambda: node.write(0, b"b" * GRAIN), lambda: node.write_zeroes(0, GRAIN)):
        with pytest.raises(OSError, match="Input/output error"):
            again()
    assert said == ["Could not write to allocated cluster for streamOptimized"] * 2


def test_the_node_of_the_file_sees_every_write() -> None:
    made = machine()
    made.execute("block-dirty-bitmap-add", {"node": "file", "name": "b", "granularity": 512})
    made.graph.nodes["v"].write(GRAIN, b"x" * 512)
    bitmap = made.graph.nodes["file"].bitmaps_by_name["b"]
    raw = made.images.file("d.vmdk").raw
    tables = 2
    descriptor, grain = 20, 128
    assert bitmap.bits.count == descriptor + tables + grain
    assert raw.content.read(raw.size - GRAIN, 512) == b"x" * 512


def test_an_error_below_is_an_error_of_the_disk() -> None:
    made = Machine()
    made.images.create("d.vmdk", "vmdk", SIZE)
    rule = {"event": "none", "errno": 5, "iotype": "write", "immediately": True}
    below = {"driver": "blkdebug", "inject-error": [rule], "image": {"driver": "file", "filename": "d.vmdk"}}
    made.execute("blockdev-add", {"driver": "vmdk", "node-name": "v", "file": below})
    with pytest.raises(OSError, match="Input/output error"):
        made.graph.nodes["v"].write(0, b"x" * 512)
    assert made.graph.nodes["v"].read(0, 512) == bytes(512)


def test_a_guest_with_it_does_not_migrate() -> None:
    made = machine()
    reason = "The vmdk format used by node 'v' does not support live migration"
    with pytest.raises(QmpError) as caught:
        made.execute("migrate", {"uri": "unix:/nowhere"})
    assert caught.value.desc == reason
    assert made.qmp("query-migrate") == {"blocked-reasons": [reason]}
    made.execute("blockdev-del", {"node-name": "v"})
    assert made.qmp("query-migrate") == {}


def test_it_keeps_its_size_and_discards_nothing() -> None:
    made = machine(discard="unmap")
    with pytest.raises(QmpError) as caught:
        made.execute("block_resize", {"node-name": "v", "size": 2 * SIZE})
    assert caught.value.desc == "Image format driver does not support resize"
    node = made.graph.nodes["v"]
    node.write(0, b"a" * GRAIN)
    node.discard(0, GRAIN)
    assert node.read(0, GRAIN) == b"a" * GRAIN


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"", "File is too small, not a valid image"), (bytes(512), "invalid VMDK image descriptor")],
)
def test_a_file_that_is_none_is_refused(content: bytes, text: str) -> None:
    made = Machine()
    made.images.create("f", "raw", len(content))
    with pytest.raises(QmpError) as caught:
        made.execute("blockdev-add", {"driver": "vmdk", "node-name": "v", "file": {"driver": "file", "filename": "f"}})
    assert caught.value.desc == text
    assert made.qmp("query-named-block-nodes") == []


def create(made: Machine, **options: Any) -> str | None:
    """Run blockdev-create to its end; its error."""
    made.images.create("new", "raw", 0)
    options = {"driver": "vmdk", "file": {"driver": "file", "filename": "new"}, "size": SIZE, **options}
    made.execute("blockdev-create", {"job-id": "j", "options": options})
    made.run_until_idle()
    (job,) = made.qmp("query-jobs")
    made.execute("job-dismiss", {"id": "j"})
    error: str | None = job.get("error")
    return error


def test_blockdev_create_makes_one() -> None:
    made = Machine()
    assert create(made, **{"subformat": "streamOptimized", "adapter-type": "lsilogic"}) is None
    assert made.images.lookup("new").format == "vmdk"
    assert b'ddb.adapterType = "lsilogic"' in made.images.file("new").raw.content.read(512, 10240)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"size": 1000}, "Image size must be a multiple of 512 bytes"),
        ({"subformat": "monolithicFlat", "zeroed-grain": True}, "Flat image can't enable zeroed grain"),
        ({"extents": [{"driver": "null-co", "size": 512}]}, "List of extents contains unused extents"),
    ],
)
def test_blockdev_create_refuses_what_qemu_does(options: dict[str, Any], text: str) -> None:
    assert create(Machine(), **options) == text


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"subformat": "twoGbMaxExtentSparse"}, "vmdk images of the type 'twoGbMaxExtentSparse'"),
        ({"backing-file": "x"}, "vmdk images with a parent"),
    ],
)
def test_blockdev_create_names_what_only_qemu_makes(options: dict[str, Any], what: str) -> None:
    assert create(Machine(), **options) == f"qbitsim does not emulate {what}"


def test_another_backing_file_is_refused_by_name() -> None:
    with pytest.raises(UnsupportedError, match=r"^qbitsim does not emulate 'backing' of vmdk$"):
        machine(backing="file")
