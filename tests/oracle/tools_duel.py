"""Plays the same command lines on real qemu-img and qemu-io and on the emulated ones, and compares answers and files.

Every qcow2 file is compared as a whole: where each of its tables and clusters is and how often it is counted.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from qcow2_file import Qcow2File, different_parts, places_of
from real_qemu import temporary

from qbitsim.images.store import ImageStore
from qbitsim.profiles import PROFILES
from qbitsim.programs.shell import Shell

MAGIC = b"QFI\xfb"


class OtherOrderError(Exception):
    """What several requests in flight took is the same, but in another order."""


class ToolsDuel:
    """One directory of images, in two worlds.

    :param root: the root directory of the system that has the real programs; None for this one.
    :param profile: the emulated release.
    """

    def __init__(self, root: str | None, profile: str) -> None:
        self.root = root
        self.directory = Path(tempfile.mkdtemp(prefix="tools-", dir=temporary(root)))
        self.store = ImageStore()
        self.shell = Shell(self.store, PROFILES[profile])
        self.played: list[str] = []

    def close(self) -> None:
        """Remove the directory."""
        shutil.rmtree(self.directory)

    def play(self, line: str) -> tuple[int, str]:
        """Run one command line in both worlds; the real exit status and output.

        :raises AssertionError: the answers or the files differ.
        """
        self.played.append(line)
        argv = shlex.split(line)
        real = self._real(argv)
        status, text = self.shell.run(argv)
        emulated = status, blanked(text)
        assert emulated == real, self._report(f"QEMU:    {real}\nqbitsim: {emulated}")
        try:
            self.compare_files()
        except AssertionError:
            if argv[:2] == ["qemu-img", "commit"]:
                self.compare_files(where=False)
                raise OtherOrderError(line) from None
            raise
        return real

    def compare_files(self, *, where: bool = True) -> None:
        """Compare all files as they are.

        :param where: also where clusters are, not only what kinds there are.
        :raises AssertionError: they differ.
        """
        names = sorted(path.name for path in self.directory.iterdir())
        assert names == self.store.names(), self._report(f"QEMU: {names}\nqbitsim: {self.store.names()}")
        for name in names:
            path = self.directory / name
            with open(path, "rb") as file:
                is_qcow2 = file.read(4) == MAGIC
            image = self.store.lookup(name)
            assert is_qcow2 == (image.format == "qcow2"), self._report(f"format of {name}")
            if is_qcow2:
                places = Qcow2File(path).places, places_of(image)
                difference = differences(*(places if where else map(kinds, places)))
                assert not difference, self._report(f"{name}: " + "\n    ".join(difference))
                different = different_parts(path, image) if where else []
                assert not different, self._report(f"{name}: the bytes at {different} differ")
            else:
                assert -(-path.stat().st_size // 512) * 512 == image.file_length, self._report(f"length of {name}")

    def _real(self, argv: list[str]) -> tuple[int, str]:
        if self.root is not None:
            inside = "/" + str(self.directory.relative_to(self.root))
            argv = ["chroot", self.root, "sh", "-c", f"cd {inside} && exec " + shlex.join(argv)]
        environment = {**os.environ, "LC_ALL": "C"}
        done = subprocess.run(
            argv,
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            check=False,
            timeout=20,
        )
        return done.returncode, blanked(done.stdout.decode())

    def _report(self, text: str) -> str:
        return text + "\nafter\n" + "\n".join(self.played)


def kinds(places: dict[str, Any]) -> dict[str, Any]:
    """Only which clusters the active tables lead to, of what kind."""
    return {number: found[0] for number, found in places["active"]["clusters"].items()}


def differences(real: Any, emulated: Any, where: str = "") -> list[str]:
    """What differs between two nested values, one line for each."""
    if isinstance(real, dict) and isinstance(emulated, dict):
        found = []
        for key in [*real, *(key for key in emulated if key not in real)]:
            found += differences(real.get(key), emulated.get(key), f"{where}/{key}")
        return found
    if isinstance(real, list) and isinstance(emulated, list) and len(real) == len(emulated):
        return [
            line
            for at, pair in enumerate(zip(real, emulated, strict=True))
            for line in differences(*pair, f"{where}[{at}]")
        ]
    return [] if real == emulated else [f"{where}: QEMU {real}, qbitsim {emulated}"]


def blanked(text: str) -> str:
    """Without the facts of the host and of the moment."""
    text = re.sub(r"disk size: .*", "disk size: -", text)
    text = re.sub(r'"actual-size": \d+', '"actual-size": -', text)
    text = re.sub(r"#block\d+", "#block", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "-", text)
    text = re.sub(r'"date-(n?sec)": \d+', r'"date-\1": -', text)
    text = re.sub(r"in \d+\.\d+ seconds", "in - seconds", text)
    return re.sub(r"(ops; ).*", r"\1-", text)
