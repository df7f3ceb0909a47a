"""``host_device`` and ``host_cdrom``: what is no device is refused (texts of QEMU 7.2.22, 10.0.13 and 11.1.3)."""

from __future__ import annotations

from pathlib import Path

import pytest

from qbitsim import Machine, QmpError
from qbitsim.images.host.store import HostImageStore

NO_DEVICE = "'{}' driver requires '{}' to be either a character or block device"


def refusal(machine: Machine, driver: str, filename: str, **options: object) -> str:
    with pytest.raises(QmpError) as caught:
        machine.execute("blockdev-add", {"driver": driver, "node-name": "n", "filename": filename, **options})
    assert not machine.graph.nodes
    return caught.value.desc


@pytest.mark.parametrize("driver", ["host_device", "host_cdrom"])
def test_files_and_directories_are_no_devices(driver: str, tmp_path: Path) -> None:
    machine = Machine(images=HostImageStore(tmp_path))
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    assert refusal(machine, driver, "file") == NO_DEVICE.format(driver, "file")
    assert refusal(machine, driver, "folder") == "Could not open 'folder': Is a directory"
    assert refusal(machine, driver, "folder", **{"read-only": True}) == NO_DEVICE.format(driver, "folder")
    assert refusal(machine, driver, "none") == "Could not open 'none': No such file or directory"
    device = f"qbitsim does not emulate the block driver '{driver}' on a device of the host"
    assert refusal(machine, driver, "/dev/null") == device


@pytest.mark.parametrize("read_only", [False, True])
def test_a_device_is_no_file(read_only: bool, tmp_path: Path) -> None:
    machine = Machine(images=HostImageStore(tmp_path))
    text = "'file' driver requires '/dev/null' to be a regular file"
    assert refusal(machine, "file", "/dev/null", **{"read-only": read_only}) == text
