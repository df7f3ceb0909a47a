"""Real qemu-img and qemu-io and the emulated ones take turns on the same files of the host.

The same command lines are played in two directories: in one by the real programs alone, in the other by the real ones
or ours, as it comes. After each line every file of the second directory must be what it is in the first: where each
table and cluster is and how often it is counted, what the disk, its snapshots and its bitmaps hold. The real
``qemu-img check`` must find nothing to complain of, and the programs must say the same.
"""

from __future__ import annotations

import os
import random
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from qcow2_file import Qcow2File
from tools_draws import ToolsDrawer
from tools_duel import MAGIC, OtherOrderError, blanked, differences, kinds

from qbitsim.images.host.store import HostImageStore
from qbitsim.profiles import PROFILES
from qbitsim.programs.shell import Shell


class Relay:
    """Two directories of images that are to stay the same.

    :param root: the root directory of the system that has the real programs; None for this one.
    :param profile: the emulated release.
    :param rng: decides whose turn it is.
    :param share: how often it is ours, from 0 to 1.
    """

    def __init__(self, root: str | None, profile: str, rng: random.Random, share: float) -> None:
        self.root = root
        self.rng = rng
        self.share = share
        temporary = Path(root or "/") / "tmp"
        self.real = Path(tempfile.mkdtemp(prefix="relay-real-", dir=temporary))
        self.ours = Path(tempfile.mkdtemp(prefix="relay-ours-", dir=temporary))
        self.images = HostImageStore(str(self.ours))
        self.shell = Shell(self.images, PROFILES[profile])
        self.played: list[str] = []
        self._stamps: dict[str, list[tuple[int, int]]] = {}

    def close(self) -> None:
        """Remove the directories."""
        shutil.rmtree(self.real)
        shutil.rmtree(self.ours)

    def play(self, line: str) -> None:
        """Run one command line in both directories and compare answers and files.

        :raises AssertionError: they differ, or a file is damaged.
        """
        argv = shlex.split(line)
        expected = self.run(self.real, argv)
        our_turn = self.rng.random() < self.share
        self.played.append(f"{'ours' if our_turn else 'real'}: {line}")
        if our_turn:
            status, text = self.shell.run(argv)
            found = status, blanked(text)
            self.images.save()
        else:
            found = self.run(self.ours, argv)
        if "Marking image as corrupt" in expected[1]:
            raise OtherOrderError(line)  # QEMU itself put compressed data where a table is now
        assert found == expected, self.report(f"QEMU:  {expected}\nrelay: {found}")
        try:
            self.compare()
        except AssertionError:
            if argv[:2] != ["qemu-img", "commit"]:
                raise
            self.compare(where=False)
            raise OtherOrderError(line) from None

    def compare(self, *, where: bool = True) -> None:
        """Compare all files.

        :param where: also where clusters are, not only what kinds there are.
        :raises AssertionError: they differ.
        """
        names = sorted(os.listdir(self.real))
        assert names == sorted(os.listdir(self.ours)), self.report(f"{names} {os.listdir(self.ours)}")
        for name in names:
            paths = self.real / name, self.ours / name
            stamps = [(path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
            if self._stamps.get(name) == stamps:
                continue
            self._stamps[name] = stamps
            heads = [path.read_bytes()[:4] for path in paths]
            assert (heads[0] == MAGIC) == (heads[1] == MAGIC), self.report(f"format of {name}")
            if heads[0] == MAGIC:
                self._compare_qcow2(name, paths, where=where)
            else:
                assert paths[0].stat().st_size == paths[1].stat().st_size, self.report(f"length of {name}")
                assert paths[0].read_bytes() == paths[1].read_bytes(), self.report(f"bytes of {name}")

    def _compare_qcow2(self, name: str, paths: tuple[Path, Path], *, where: bool) -> None:
        files = [Qcow2File(path) for path in paths]
        places = [{**file.places, "data": file.data()} for file in files]
        for each in places:
            del each["length"]
        difference = differences(*(places if where else map(kinds, places)))
        assert not difference, self.report(f"{name}: " + "\n    ".join(difference[:20]))
        lengths = [-(-path.stat().st_size // 512) for path in paths]
        assert not where or lengths[0] == lengths[1], self.report(f"length of {name}: {lengths}")
        status, text = self.run(self.ours, ["qemu-img", "check", name])
        if status:
            expected = self.run(self.real, ["qemu-img", "check", name])
            assert (status, text) == expected, self.report(f"check of {name}: QEMU {expected}\nrelay: {text}")

    def run(self, directory: Path, argv: list[str]) -> tuple[int, str]:
        """Exit status and output of a real program."""
        if self.root is not None:
            inside = "/" + str(directory.relative_to(self.root))
            argv = ["chroot", self.root, "sh", "-c", f"cd {inside} && exec " + shlex.join(argv)]
        done = subprocess.run(
            argv,
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, "LC_ALL": "C"},
            check=False,
            timeout=60,
        )
        return done.returncode, blanked(done.stdout.decode())

    def report(self, text: str) -> str:
        """A text for people, with what was played."""
        return text + "\nafter\n" + "\n".join(self.played)


class RelayDrawer(ToolsDrawer):
    """Draws command lines for the files of a folder."""

    def name(self, format_name: str | None = "qcow2") -> str:
        """The name of an image of that format, if there is one."""
        names = self.store.names()
        fitting = [name for name in names if format_name in {None, self.store.lookup(name).format}]
        return self.rng.choice(fitting or names)
