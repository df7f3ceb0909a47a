"""Names and formats of files in block-commit and drive-backup (bdrv_find_backing_image, block.c, QEMU 10.0)."""

from __future__ import annotations

import json

import pytest

from qbitsim.errors import QmpError
from qbitsim.machine.machine import Machine
from qbitsim.qmp.encoder import encode

SIZE = 1 << 20


def machine_with_folders() -> Machine:
    """dir1/base <- dir2/mid <- dir2/dir3/top, which name each other relative to where they are."""
    machine = Machine()
    for folder in ("dir1", "dir2", "dir2/dir3"):
        machine.images.mkdir(folder)
    machine.images.create("dir1/base", "raw", SIZE)
    machine.images.create("dir2/mid", "qcow2", SIZE, backing="../dir1/base", backing_format="raw")
    machine.images.create("dir2/dir3/top", "qcow2", SIZE, backing="../mid", backing_format="qcow2")
    machine.add_drive("drive0", machine.open_file("dir2/dir3/top", {}))
    return machine


@pytest.mark.parametrize("top", ["../mid", "../../dir2/mid"])
@pytest.mark.parametrize("base", ["../dir1/base", "./../dir1/base"])
def test_a_name_is_relative_to_the_image_above(top: str, base: str) -> None:
    machine = machine_with_folders()
    machine.qmp("block-commit", device="drive0", top=top, base=base)
    machine.run_until_idle()
    assert machine.images.lookup("dir2/dir3/top").backing == "dir2/dir3/../../dir1/base"


@pytest.mark.parametrize("top", ["dir2/mid", "mid", "../nosuch"])
def test_other_names_are_not_found(top: str) -> None:
    machine = machine_with_folders()
    with pytest.raises(QmpError) as caught:
        machine.qmp("block-commit", device="drive0", top=top)
    assert caught.value.desc == f"Top image file {top} not found"


def test_a_backup_may_go_to_a_file_without_a_format() -> None:
    machine = Machine()
    machine.add_disk("d", SIZE)
    machine.drive("d").write(0, b"x" * 65536)
    machine.qmp("drive-backup", device="d", target="t", sync="full", format="file")
    machine.run_until_idle()
    image = machine.images.lookup("t")
    assert (image.format, image.size, image.content.read(0, 65537)) == ("raw", SIZE, b"x" * 65536 + b"\0")


def test_a_file_without_a_format_has_no_backing_file() -> None:
    machine = Machine()
    machine.add_disk("d", SIZE)
    with pytest.raises(QmpError, match=r"^Backing file not supported for file format 'file'$"):
        machine.qmp("drive-backup", device="d", target="t", sync="none", format="file")


def test_the_name_of_the_backing_file_comes_behind_the_threshold() -> None:
    """Both are in one bucket of QEMU's hash table, so that the one that was put in later comes first (measured)."""
    machine = machine_with_folders()
    text = encode(machine.qmp("query-block")).decode()
    assert text.index('"write_threshold"') < text.index('"backing_file"') < text.index('"encrypted"')


@pytest.mark.parametrize(
    ("filter_node_name", "below"),
    [
        ("f", {"driver": "commit_top", "backing": {"driver": "qcow2", "file": {"driver": "file", "filename": "mid"}}}),
        (None, {"driver": "qcow2", "file": {"driver": "file", "filename": "mid"}}),
    ],
)
def test_the_name_of_what_is_above_a_commit_tells_its_filter_if_that_has_a_name(
    filter_node_name: str | None, below: dict
) -> None:
    machine = Machine()
    machine.images.create("base", "raw", SIZE)
    machine.images.create("mid", "qcow2", SIZE, backing="base", backing_format="raw")
    machine.images.lookup("mid").write(0, b"m" * SIZE)
    machine.images.create("top", "qcow2", SIZE, backing="mid", backing_format="qcow2")
    machine.add_drive("drive0", machine.open_file("top", {"backing": {"node-name": "mid"}}))
    machine.add_node({"driver": "blkdebug", "node-name": "above", "image": "mid", "inject-error": [{"event": "none"}]})
    named = {} if filter_node_name is None else {"filter_node_name": filter_node_name}
    machine.qmp("block-commit", device="drive0", top_node="mid", speed=1, **named)
    nodes = {node["node-name"]: node["file"] for node in machine.qmp("query-named-block-nodes")}
    shown = json.loads(nodes["above"].removeprefix("json:"))
    assert shown == {"driver": "blkdebug", "image": below, "inject-error.0.event": "none"}
