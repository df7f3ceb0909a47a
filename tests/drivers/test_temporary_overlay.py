"""``snapshot=on``: an overlay that holds what the guest writes and ends with the process."""

from __future__ import annotations

import pytest

from qbitsim.commands.drives import add_drive
from qbitsim.machine.machine import Machine


@pytest.mark.parametrize("discard", [{}, {"discard": "unmap"}])
def test_the_file_stays_as_it_was(discard: dict[str, str]) -> None:
    machine = Machine()
    image = machine.images.create("a.qcow2", "qcow2", 1 << 20)
    drive = add_drive(
        machine, {"if": "none", "id": "drive0", "file": "a.qcow2", "format": "qcow2", "snapshot": "on", **discard}
    )
    drive.write(0, b"x" * 512)
    assert drive.read(0, 512) == b"x" * 512
    assert image.content.read(0, 512) == bytes(512)


def test_the_overlay_is_no_image_of_the_machine() -> None:
    machine = Machine()
    machine.images.create("a.qcow2", "qcow2", 1 << 20)
    before = machine.images.names()
    add_drive(machine, {"if": "none", "id": "drive0", "file": "a.qcow2", "format": "qcow2", "snapshot": "on"})
    assert machine.images.names() == before
