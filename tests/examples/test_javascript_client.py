"""A client in JavaScript, pointed at the program under QEMU's name as it is at QEMU, and the same at QEMU itself.

npm has no client of QMP; ``javascript/qmp.mjs`` is one with nothing but the standard library of Node.js. No network is
needed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from qbitsim.images.host.store import HostImageStore
from qbitsim.programs.installation import install

CLIENT = Path(__file__).with_name("javascript") / "backup.mjs"
NODE = shutil.which("node")
PATIENCE = 60

pytestmark = pytest.mark.skipif(NODE is None, reason="no node on the path (Debian: nodejs)")

EXPECTED = [
    ["copied", "a-full", 1048576, None],
    ["copied", "b-full", 1048576, None],
    ["bitmap", "b", "since", 65536, True, False],
    ["bitmap", "a", "since", 131072, True, False],
    ["copied", "a-more", 131072, None],
    ["copied", "b-more", 65536, None],
    ["bitmap", "b", "since", 65536, True, False],
    ["bitmap", "a", "since", 0, True, False],
    ["refused", "GenericError", "Bitmap 'other' could not be found"],
    ["bitmap", "b", "since", 65536, True, False],
    ["bitmap", "a", "since", 0, True, False],
    ["ended", "host-qmp-quit"],
    ["exited", 0, None],
]


def ours(folder: Path) -> Path:
    install(folder, "10.0")
    return folder


def real(_folder: Path) -> Path:
    found = shutil.which("qemu-system-x86_64")
    if found is None or shutil.which("qemu-img") is None:
        pytest.skip("no qemu-system-x86_64 and qemu-img on the path (Debian: qemu-system-x86, qemu-utils)")
    return Path(found).parent


@pytest.mark.parametrize("programs", [ours, real])
def test_its_backups_hold_the_disks(programs: object, tmp_path: Path) -> None:
    assert callable(programs)
    folder = programs(tmp_path / "programs")
    images = HostImageStore(str(tmp_path))
    for disk in "ab":
        for name in (disk, f"{disk}-full", f"{disk}-wrong"):
            images.create(f"{name}.qcow2", "qcow2", 1 << 20)
        images.create(f"{disk}-more.qcow2", "qcow2", 1 << 20, backing=f"{disk}-full.qcow2", backing_format="qcow2")
    argv = [NODE, CLIENT, folder / "qemu-system-x86_64", tmp_path]
    said = subprocess.run(argv, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=True).stdout
    assert [json.loads(line) for line in said.splitlines()] == EXPECTED
    argv = [folder / "qemu-img", "compare", "a-more.qcow2", "a.qcow2"]
    assert subprocess.run(argv, cwd=tmp_path, check=False, stdout=subprocess.DEVNULL).returncode == 0
    argv = [folder / "qemu-img", "compare", "b-more.qcow2", "b.qcow2"]
    said = subprocess.run(argv, cwd=tmp_path, check=False, stdout=subprocess.PIPE, text=True).stdout
    assert said == "Content mismatch at offset 524288!\n"
