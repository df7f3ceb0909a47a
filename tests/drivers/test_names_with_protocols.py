"""File names that say how to open the file."""

from __future__ import annotations

from typing import Any

import pytest

from qbitsim import Machine, QmpError, UnsupportedError
from qbitsim.drivers.completion import named_file


def overlay_on(machine: Machine, backing: str, backing_format: str | None = "raw") -> Any:
    """Open an overlay whose header names the backing file so; what the new node says of its backing file."""
    machine.images.create("sub/over.qcow2", "qcow2", 1 << 20, backing=backing, backing_format=backing_format)
    return machine.open_file("sub/over.qcow2", {"node-name": "over"}).backing


def machine_with_file() -> Machine:
    machine = Machine()
    machine.images.mkdir("sub")
    machine.images.create("src.raw", "raw", 1 << 20)
    return machine


def test_a_backing_file_may_be_named_through_blkdebug() -> None:
    backing = overlay_on(machine_with_file(), "blkdebug::src.raw")
    assert [backing.driver, backing.child("file").node.driver] == ["raw", "blkdebug"]


def test_a_name_with_a_protocol_is_not_relative_to_the_overlay() -> None:
    backing = overlay_on(machine_with_file(), "file:src.raw")
    assert [backing.driver, backing.child("file").node.filename] == ["raw", "src.raw"]


def test_the_format_of_a_file_below_blkdebug_is_probed() -> None:
    backing = overlay_on(machine_with_file(), "blkdebug::src.raw", None)
    assert [backing.driver, backing.child("file").node.driver] == ["raw", "blkdebug"]


def test_texts_in_a_json_name_stand_for_values() -> None:
    name = (
        'json:{"driver": "raw", "file.driver": "blkdebug", "file.image.driver": "file", "file.image.filename": '
        '"src.raw", "file.inject-error.0.event": "none", "file.inject-error.0.sector": "2", '
        '"file.inject-error.0.once": "on"}'
    )
    backing = overlay_on(machine_with_file(), name)
    assert backing.child("file").node.options["inject-error"] == [{"event": "none", "sector": 2, "once": True}]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("blkdebug::no.raw", "Could not open backing file: Could not open 'no.raw': No such file or directory"),
        ("file:no.raw", "Could not open backing file: Could not open 'no.raw': No such file or directory"),
        ("nosuch:src.raw", "Could not open backing file: Unknown protocol 'nosuch'"),
    ],
)
def test_a_backing_name_that_cannot_be_opened_is_refused(name: str, text: str) -> None:
    machine = machine_with_file()
    with pytest.raises(QmpError) as caught:
        overlay_on(machine, name)
    assert caught.value.desc == text
    assert list(machine.graph.nodes) == []


@pytest.mark.parametrize("name", ["ssh:host/disk", "nfs:host/disk"])
def test_a_protocol_that_is_not_emulated_is_refused_loudly(name: str) -> None:
    with pytest.raises(UnsupportedError):
        named_file(name)
