"""Starts the same command lines as processes of real QEMU and of qbitsim, each on files of its own, and compares all.

What is compared is the exit status, what is on standard output and on standard error, and the files, of which the real
``qemu-img`` is the judge.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "oracle"))

import forked
from qcow2_file import Qcow2File
from real_qemu import ROOT_VARIABLE
from tools_duel import MAGIC, blanked, differences, kinds

from qbitsim.profiles import PROFILES
from qbitsim.sizes import SECTOR

TIMEOUT = 30
_SEVERAL_AT_ONCE = (["qemu-img", "commit"], ["qemu-img", "bench"])
"""What has several requests in flight, so that the clusters they take come in any order."""
_OF_THE_HOST = "Image size is not a multiple of request alignment"
"""What QEMU says of a raw file that is opened for direct I/O, if the host's disk has larger sectors than 512 bytes."""


class Outcome(NamedTuple):
    """How a program ended."""

    status: int
    stdout: str
    stderr: str


class Real(NamedTuple):
    """The qemu-img and qemu-io of an installation.

    :ivar root: the root directory of its system; None for this one.
    :ivar release: the profile that stands for it.
    """

    root: str | None
    release: str

    def wrap(self, directory: Path, argv: list[str]) -> list[str]:
        """The command that runs ``argv`` in ``directory``."""
        if self.root is None:
            return ["env", "-C", str(directory), *argv]
        return ["chroot", self.root, "env", "-C", "/" + str(directory.relative_to(self.root)), *argv]


@functools.cache
def installations() -> tuple[Real, ...]:
    """Those that have a profile: on the path, and in the root directories that the environment names."""
    found = []
    for root in [None, *filter(None, os.environ.get(ROOT_VARIABLE, "").split(":"))]:
        programs = ["qemu-img", "qemu-io"]
        if not all(shutil.which(name) if root is None else Path(root, "usr/bin", name).exists() for name in programs):
            continue
        argv = ["qemu-img", "--version"]
        text = subprocess.run(Real(root, "").wrap(Path(root or "/"), argv), capture_output=True, check=True).stdout
        release = re.search(rb"version (\d+\.\d+)", text)
        if release is not None and release[1].decode() in PROFILES:
            found.append(Real(root, release[1].decode()))
    return tuple(found)


class ProgramDuel:
    """Two folders with the same files, one for each world."""

    def __init__(self, real: Real) -> None:
        self.real = real
        self.base = Path(tempfile.mkdtemp(prefix="programs-", dir=Path(real.root or "/") / "tmp"))
        self.theirs, self.ours = self.base / "real", self.base / "ours"
        self.theirs.mkdir()
        self.ours.mkdir()
        self.played: list[str] = []
        self.unsupported: list[str] = []
        self._unused: dict[str, set[int]] = {}
        self._compared: dict[str, tuple[bytes, bytes]] = {}

    def close(self) -> None:
        """Remove the folders."""
        shutil.rmtree(self.base)

    def play(self, argv: list[str], given: str | None = None) -> Outcome:
        """Run a command line in both worlds; how it ended on real QEMU.

        What qbitsim refuses as not emulated is noted, and its files become those of QEMU; so is what QEMU refuses
        because of the host's disk.

        :param given: standard input.
        :raises AssertionError: something differs.
        """
        self.played.append(" ".join(argv))
        real = self._run(self.real.wrap(self.theirs, argv), given)
        status, *said = forked.run(argv[0], self.real.release, *argv[1:], stdin=(given or "").encode(), cwd=self.ours)
        ours = Outcome(status, *map(_plain, said))
        if "qbitsim does not emulate" in ours.stderr or _OF_THE_HOST in real.stderr:
            self.unsupported.append(f"{self.played[-1]}: {ours.stderr}")
            self.take_over()
            return real
        assert ours == real, self._report(f"QEMU:    {real}\nqbitsim: {ours}")
        try:
            self.compare_files()
        except AssertionError:
            if argv[:2] not in _SEVERAL_AT_ONCE:
                raise
            self._compare_disks()
            self.take_over()
        return real

    def take_over(self) -> None:
        """Let both have the files of QEMU, copied in the same way, so that their holes are the same."""
        given = self.base / "given"
        self.theirs.rename(given)
        shutil.rmtree(self.ours)
        for folder in (self.theirs, self.ours):
            subprocess.run(["cp", "-a", str(given), str(folder)], check=True)
        shutil.rmtree(given)

    def compare_files(self) -> None:
        """Compare what is in both folders.

        :raises AssertionError: it differs.
        """
        names = [sorted(path.name for path in folder.iterdir()) for folder in (self.theirs, self.ours)]
        assert names[0] == names[1], self._report(f"QEMU: {names[0]}\nqbitsim: {names[1]}")
        for name in names[0]:
            theirs, ours = self.theirs / name, self.ours / name
            data = theirs.read_bytes(), ours.read_bytes()
            if self._compared.get(name) == data:
                continue
            differing = {
                start
                for start in range(0, max(map(len, data)), SECTOR)
                if len({each[start:][:SECTOR] for each in data}) > 1
            }
            if data[0][:4] == MAGIC and differing:
                found = differences(Qcow2File(theirs).places, Qcow2File(ours).places)
                assert not found, self._report(f"{name}:\n    " + "\n    ".join(found))
                self._judge(name)
                self._unused[name] = differing
            # Without its header, an image is bytes: those may differ that it did not use.
            assert differing <= self._unused.get(name, set()), self._report(f"{name} differs")
            self._compared[name] = data

    def _compare_disks(self) -> None:
        """Compare what the disks hold, and of what kinds their clusters are, wherever they may be in the files.

        :raises AssertionError: it differs.
        """
        for path in self.theirs.iterdir():
            is_qcow2 = path.read_bytes()[:4] == MAGIC
            if is_qcow2:
                found = differences(*(kinds(Qcow2File(each / path.name).places) for each in (self.theirs, self.ours)))
                assert not found, self._report(f"{path.name}:\n    " + "\n    ".join(found))
            words = ["-f", "qcow2", "-F", "qcow2"] if is_qcow2 else ["-f", "raw", "-F", "raw"]
            argv = ["qemu-img", "compare", *words, path.name, f"../ours/{path.name}"]
            compared = self._run(self.real.wrap(self.theirs, argv), None)
            assert not compared.status, self._report(f"{path.name}: {compared}")

    def _judge(self, name: str) -> None:
        for argv in (["info", "--output=json"], ["map", "--output=json"], ["check", "--output=json"]):
            found = [
                self._run(self.real.wrap(folder, ["qemu-img", *argv, name]), None)
                for folder in (self.theirs, self.ours)
            ]
            assert found[0] == found[1], self._report(f"{argv[0]} of {name}\nQEMU:    {found[0]}\nqbitsim: {found[1]}")

    def _run(self, argv: list[str], given: str | None) -> Outcome:
        done = subprocess.run(
            argv,
            input=(given or "").encode(),
            capture_output=True,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            check=False,
            timeout=TIMEOUT,
        )
        return Outcome(done.returncode, _plain(done.stdout), _plain(done.stderr))

    def _report(self, text: str) -> str:
        return text + "\nafter\n" + "\n".join(self.played)


def _plain(data: bytes) -> str:
    """The text without the facts of the host and of the moment, and without help, which has words of its own."""
    text = blanked(data.decode(errors="surrogateescape"))
    text = re.sub(r'"(vm-clock|date)-(n?sec)": \d+', r'"\1-\2": -', text)
    text = re.sub(r"    \(\d+\.\d+/100%\)\r(?=    \()", "", text)  # how often progress is told is a matter of time
    text = re.sub(r"[Uu]sage: qemu-img .*", "Usage: qemu-img", text, flags=re.DOTALL)
    return re.sub(r"Usage: qemu-io .*", "Usage: qemu-io", text, flags=re.DOTALL)
