"""The real qemu-img and qemu-io in a directory of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

from qbitsim.profiles import DEFAULT_PROFILE, PROFILES, Profile

ROOTS = [None, *filter(None, os.environ.get("QBITSIM_QEMU_ROOT", "").split(":"))]
"""The same variable as for the comparison with real QEMU names root directories of systems of their own."""


class RealTools:
    """A fresh directory, gone at the end of the ``with`` block, in which the tools run.

    :param root: the root directory of the system that has the tools; None for this one.
    """

    def __init__(self, root: str | None) -> None:
        self._root = root

    @staticmethod
    def are_in(root: str | None) -> bool:
        """Whether a system has the tools."""
        if root is None:
            return shutil.which("qemu-img") is not None and shutil.which("qemu-io") is not None
        found = subprocess.run(["chroot", root, "sh", "-c", "command -v qemu-io"], capture_output=True, check=False)
        return found.returncode == 0

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="qcow2-", dir=Path(self._root or "/") / "tmp"))
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.directory)

    @property
    def profile(self) -> Profile:
        """The emulated release that stands for these tools."""
        found = re.search(r"version (\d+\.\d+)", self.run("qemu-img", "--version")[1])
        assert found is not None
        return PROFILES.get(found[1], DEFAULT_PROFILE)

    def run(self, *argv: str) -> tuple[int, str, str]:
        """Exit status, output and error output of a command."""
        done = subprocess.run(self._wrap(argv), capture_output=True, text=True, check=False, cwd=self.directory)
        return done.returncode, done.stdout, done.stderr

    def run_together(self, *argv: str) -> tuple[int, str]:
        """Exit status of a command, and all that it prints through one pipe."""
        done = subprocess.run(
            self._wrap(argv),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=self.directory,
        )
        return done.returncode, done.stdout.decode("utf-8", "replace")

    def _wrap(self, argv: tuple[str, ...]) -> tuple[str, ...]:
        if self._root is None:
            return argv
        inside = f"/{self.directory.relative_to(self._root)}"
        return ("chroot", self._root, "sh", "-c", 'cd "$0" && exec "$@"', inside, *argv)

    def output(self, *argv: str) -> str:
        """What a command prints that must succeed."""
        status, output, errors = self.run(*argv)
        assert status == 0, (argv, output, errors)
        return output

    def json(self, *argv: str) -> Any:
        """What a command prints that must succeed, decoded."""
        return json.loads(self.output(*argv))

    def write(self, name: str, data: bytes) -> None:
        """Make a file."""
        (self.directory / name).write_bytes(data)

    def read(self, name: str) -> bytes:
        """The bytes of a file."""
        return (self.directory / name).read_bytes()
