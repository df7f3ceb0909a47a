"""A compressed write that is refused leaves all as it was in the file."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


def test_a_refused_compressed_write_after_a_snapshot_loses_nothing(
    programs: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """QEMU copies the L2 table that the snapshot shares before it looks whether the cluster is free."""
    monkeypatch.chdir(tmp_path)
    folder = programs("10.0")
    subprocess.run([folder / "qemu-img", "create", "-q", "-f", "qcow2", "a", "1M"], check=True)
    subprocess.run([folder / "qemu-io", "-c", "write -q -P 7 0 192k", "a"], check=True)
    subprocess.run([folder / "qemu-img", "snapshot", "-c", "s1", "a"], check=True)
    refused = subprocess.run([folder / "qemu-io", "-c", "write -c 0 64k", "a"], capture_output=True, check=False)
    assert (refused.returncode, refused.stdout) == (1, b"write failed: Input/output error\n")
    subprocess.run([folder / "qemu-img", "check", "-q", "a"], check=True)
    subprocess.run([folder / "qemu-io", "-c", "read -q -P 7 0 192k", "a"], check=True)
