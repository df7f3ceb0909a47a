"""Drivers that options of -drive leave out, in a node and in those below (bdrv_open_inherit, block.c, QEMU 10.0)."""

from __future__ import annotations

from typing import Any

import pytest

from qbitsim.commands.drives import add_drive
from qbitsim.errors import QmpError
from qbitsim.machine.machine import Machine


def drivers(machine: Machine, node: Any) -> Any:
    """The driver of a node with those of its children."""
    below = [drivers(machine, edge.node) for edge in node.children]
    return [node.driver, *below] if below else node.driver


def machine_with_images() -> Machine:
    """A raw file, an image of qcow2 with an overlay, and a throttle group."""
    machine = Machine()
    machine.images.create("r", "raw", 1 << 30)
    machine.images.create("q", "qcow2", 1 << 30)
    machine.images.create("o", "qcow2", 1 << 30, backing="q", backing_format="qcow2")
    machine.execute("object-add", {"qom-type": "throttle-group", "id": "g"})
    return machine


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"file.filename": "q"}, ["qcow2", "file"]),
        ({"driver": "raw", "file.filename": "q"}, ["raw", "file"]),
        ({"driver": "raw", "file.driver": "qcow2", "file": "q"}, ["raw", ["qcow2", "file"]]),
        ({"driver": "throttle", "throttle-group": "g", "file.filename": "q"}, ["throttle", "file"]),
        ({"file.driver": "blkdebug", "file.image.filename": "q"}, ["qcow2", ["blkdebug", "file"]]),
        ({"driver": "blkdebug", "image.filename": "q"}, ["blkdebug", "file"]),
        ({"driver": "blkdebug", "file": "q"}, ["blkdebug", "file"]),
        ({"driver": "blkdebug", "file": "q", "image.driver": "qcow2"}, ["blkdebug", ["qcow2", "file"]]),
        ({"driver": "blkverify", "file": "r", "raw.filename": "r"}, ["blkverify", "file", ["raw", "file"]]),
        (
            {
                "driver": "quorum",
                "vote-threshold": "1",
                "children.0.file.filename": "q",
                "children.1.driver": "null-co",
            },
            ["quorum", ["qcow2", "file"], "null-co"],
        ),
        ({"file.driver": "copy-on-read", "file": "q"}, ["qcow2", ["copy-on-read", "file"]]),
        ({"file.driver": "raw", "file.file.filename": "r"}, ["raw", ["raw", "file"]]),
        ({"driver": "qcow2", "file": "q", "backing.file.filename": "r"}, ["qcow2", "file", ["raw", "file"]]),
        ({"file": "o", "backing.driver": "raw"}, ["qcow2", "file", ["raw", "file"]]),
        ({"file": "o", "backing.driver": "blkdebug"}, ["qcow2", "file", ["blkdebug", "file"]]),
        ({"file": "o", "backing.file.driver": "blkdebug"}, ["qcow2", "file", ["qcow2", ["blkdebug", "file"]]]),
    ],
)
def test_a_driver_is_found(options: dict[str, str], found: Any) -> None:
    machine = machine_with_images()
    drive = add_drive(machine, {"id": "d", "if": "none", **options})
    assert drivers(machine, drive.node) == found


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"driver": "copy-on-read", "file.file.filename": "r"}, "Must specify either driver or file"),
        ({"driver": "blkdebug", "image.file.filename": "q"}, "Must specify either driver or file"),
        ({"driver": "blkdebug", "filename": "q"}, 'A block device must be specified for "image"'),
        ({"driver": "blkverify", "test.filename": "q"}, 'A block device must be specified for "raw"'),
        ({"driver": "blkverify", "file": "q", "raw": "n"}, "Cannot find device='n' nor node-name='n'"),
        ({"driver": "raw", "file.driver": "raw", "file.filename": "q"}, 'A block device must be specified for "file"'),
        (
            {"driver": "quorum", "children.0.filename": "q"},
            "Parameter 'vote-threshold' expects a value >= 1",
        ),
        (
            {
                "driver": "quorum",
                "vote-threshold": "1",
                "children.0.driver": "file",
                "children.0.filename": "q",
                "file": "q",
            },
            "Block format 'quorum' does not support the option 'file'",
        ),
        (
            {"driver": "quorum", "vote-threshold": "1", "children.0.driver": "null-co", "children.0.nosuch": "1"},
            "Block protocol 'null-co' doesn't support the option 'nosuch'",
        ),
        ({"driver": "quorum", "children.0": "x", "children.2": "y"}, "Option children is not a valid array"),
        ({"driver": "quorum", "vote-threshold": "1"}, "Number of provided children must be 1 or more"),
        ({"driver": "throttle", "file": "q"}, "Please specify a throttle group"),
        ({"driver": "throttle"}, 'A block device must be specified for "file"'),
        ({"driver.x": "1", "file": "q"}, "Block format 'qcow2' does not support the option 'driver.x'"),
        (
            {"file": "q", "file.driver": "qcow2"},
            "qbitsim does not emulate an image of unknown format in a 'qcow2' node",
        ),
        (
            {"file.driver": "raw", "file.offset": "512", "file.file.filename": "r"},
            "qbitsim does not emulate an image of unknown format in a 'raw' node",
        ),
        ({"driver": "host_device"}, "The 'host_device' block driver requires a file name"),
        ({"file.driver": "file"}, "The 'file' block driver requires a file name"),
        (
            {"driver": "copy-before-write", "file": "q", "target.driver": "file"},
            "Parameter 'target.filename' is missing",
        ),
        ({"file": "q", "file.filename": "r"}, "Can't specify 'file' and 'filename' options at the same time"),
        ({"driver": "raw", "file": "q", "backing.driver": "raw"}, "Driver doesn't support backing files"),
        (
            {"driver": "nbd", "file": "nbd:x:1", "server.host": "x", "server.port": "2"},
            "Option 'server.port' cannot be used with a file name",
        ),
        (
            {"file": "o", "backing.driver": "null-co"},
            "Could not open backing file: The only allowed filename for this driver is 'null-co://'",
        ),
        (
            {"file": "o", "backing.nosuch": "1"},
            "Could not open backing file: Block format 'qcow2' does not support the option 'nosuch'",
        ),
    ],
)
def test_what_is_in_the_way_or_missing_is_refused(options: dict[str, str], text: str) -> None:
    machine = machine_with_images()
    with pytest.raises(QmpError) as caught:
        add_drive(machine, {"id": "d", "if": "none", **options})
    assert caught.value.desc == text
    assert (list(machine.graph.nodes), list(machine.graph.drives)) == ([], [])


def test_options_of_a_backing_file_may_be_nothing_but_a_driver() -> None:
    machine = Machine()
    machine.images.create("q", "qcow2", 1 << 30)
    file = {"driver": "file", "filename": "q"}
    machine.add_node({"driver": "qcow2", "node-name": "n", "file": file, "backing": {"driver": "null-co"}})
    assert drivers(machine, machine.graph.nodes["n"]) == ["qcow2", "file", "null-co"]
