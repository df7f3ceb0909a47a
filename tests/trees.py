"""Stores of images on real files, for tests that run on both trees."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from real_tools import RealTools

from qbitsim.images.store import ImageStore
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
        patch.setattr(of_machine, "ImageStore", lambda: ImageStore.on(tempfile.mkdtemp(dir=folder)))
        yield


def complaints(tools: RealTools) -> dict[str, tuple[int, str]]:
    """What the real ``qemu-img check`` says of the qcow2 files in its directory that are not clean.

    :returns: name -> exit status and what is wrong.
    """
    found = {}
    for path in sorted(tools.directory.rglob("*")):
        if path.is_file() and path.read_bytes()[: len(QCOW2)] == QCOW2:
            name = str(path.relative_to(tools.directory))
            file = {"driver": "file", "filename": name}
            options = json.dumps({"driver": "qcow2", "file": file, "backing": None})
            status, output, errors = tools.run("qemu-img", "check", "--output=json", f"json:{options}")
            if status:
                report = json.loads(output) if output else {}
                kinds = {key: report[key] for key in ("corruptions", "leaks", "check-errors") if report.get(key)}
                found[name] = status, str(kinds) if kinds else errors.strip()
    return found
