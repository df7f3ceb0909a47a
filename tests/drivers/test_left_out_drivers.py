"""Drivers that options of -drive leave out, in a node and in those below (bdrv_open_inherit, block.c, QEMU 10.0)."""

from __future__ import annotations

from typing import Any

import pytest

from qbitsim.commands.drives import add_drive
from qbitsim.machine.machine import Machine


def drivers(machine: Machine, node: Any) -> Any:
    """The driver of a node with those of its children."""
    below = [drivers(machine, edge.node) for edge in node.children]
    return [node.driver, *below] if below else node.driver


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"file.filename": "q"}, ["qcow2", "file"]),
        ({"driver": "raw", "file.filename": "q"}, ["raw", "file"]),
        ({"driver": "raw", "file.driver": "qcow2", "file.filename": "q"}, ["raw", ["qcow2", "file"]]),
        ({"driver": "throttle", "throttle-group": "g", "file.file.filename": "q"}, ["throttle", ["qcow2", "file"]]),
        ({"driver": "copy-on-read", "file.file.filename": "r"}, ["copy-on-read", ["raw", "file"]]),
        ({"file.driver": "blkdebug", "file.image.filename": "q"}, ["qcow2", ["blkdebug", "file"]]),
        ({"driver": "blkdebug", "image.file.filename": "q"}, ["blkdebug", ["qcow2", "file"]]),
        ({"driver": "blkdebug", "filename": "q"}, ["blkdebug", ["qcow2", "file"]]),
        (
            {
                "driver": "quorum",
                "vote-threshold": "1",
                "children.0.file.filename": "q",
                "children.1.driver": "null-co",
            },
            ["quorum", ["qcow2", "file"], "null-co"],
        ),
        ({"driver": "qcow2", "file": "q", "backing.file.filename": "r"}, ["qcow2", "file", ["raw", "file"]]),
    ],
)
def test_a_driver_is_found(options: dict[str, str], found: Any) -> None:
    machine = Machine()
    machine.images.create("r", "raw", 1 << 30)
    machine.images.create("q", "qcow2", 1 << 30)
    machine.execute("object-add", {"qom-type": "throttle-group", "id": "g"})
    drive = add_drive(machine, {"id": "d", "if": "none", **options})
    assert drivers(machine, drive.node) == found


def test_options_of_a_backing_file_may_be_nothing_but_a_driver() -> None:
    machine = Machine()
    machine.images.create("q", "qcow2", 1 << 30)
    file = {"driver": "file", "filename": "q"}
    machine.add_node({"driver": "qcow2", "node-name": "n", "file": file, "backing": {"driver": "null-co"}})
    assert drivers(machine, machine.graph.nodes["n"]) == ["qcow2", "file", "null-co"]
