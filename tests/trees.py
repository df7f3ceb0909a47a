"""Stores of images on real files, for tests that run on both trees."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from real_tools import RealTools

from qbitsim.images.host.store import HostImageStore
from qbitsim.machine import machine as of_machine

QCOW2 = b"QFI\xfb"


@contextmanager
def folder_of_files() -> Iterator[Path]:
    """An empty folder of the host that is gone at the end: one whose files are in memory, if there is any."""
    place = Path(tempfile.mkdtemp(prefix="qbitsim-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    try:
        yield place
    finally:
        shutil.rmtree(place)


@contextmanager
def machines_on_files() -> Iterator[None]:
    """Let each machine that is given no files have an empty folder of the host."""
    with folder_of_files() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(of_machine, "ImageStore", lambda: HostImageStore(tempfile.mkdtemp(dir=folder)))
        yield


def complaints(tools: RealTools) -> dict[str, str]:
    """What the real ``qemu-img check`` says of the qcow2 files in the directory of the tools that are not clean."""
    return _complaints(tools.directory, tools.run)


def complaints_in(folder: Path) -> dict[str, str]:
    """The same of a folder of this system; nothing if it has no qemu-img."""
    if shutil.which("qemu-img") is None:
        return {}

    def run(*argv: str) -> tuple[int, str, str]:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=folder)
        return done.returncode, done.stdout, done.stderr

    return _complaints(folder, run)


def _begins_with(path: Path, what: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(what)) == what


def _complaints(folder: Path, run: Callable[..., tuple[int, str, str]]) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and _begins_with(path, QCOW2):
            name = str(path.relative_to(folder))
            file = {"driver": "file", "filename": name}
            options = json.dumps({"driver": "qcow2", "file": file, "backing": None})
            status, output, errors = run("qemu-img", "check", "--output=json", f"json:{options}")
            if status:
                report = json.loads(output) if output else {}
                kinds = {key: report[key] for key in ("corruptions", "leaks", "check-errors") if report.get(key)}
                found[name] = str(kinds) if kinds else errors.strip()
    return found
