"""One folder of images that the real programs and ours write, and of which both then must say the same.

``python -m tests.oracle.exchange ROUNDS [FIRST_SEED [WAY...]]`` makes so many random folders each way: written by
``ours`` and judged by the real programs, written by the ``real`` ones and read by ours, or by both in ``turns``. The
rounds go round the QEMUs that are found.
"""

from __future__ import annotations

import random
import shlex
import subprocess
import sys
from collections import Counter
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent))

from duel import profile_for
from real_qemu import RealQemu, installations
from tools_draws import KIB, ToolsDrawer
from tools_duel import blanked

from qbitsim import Machine
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.images.host.store import HostImageStore
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.qcow2.packing import check_compression
from qbitsim.profiles import PROFILES
from qbitsim.programs.shell import Shell

WAYS = ("ours", "real", "turns")
LINES = 8
FOLDER = "images"
_READ = ("x-debug-block-dirty-bitmap-sha256", "node", "name")


@cache
def has_zstd() -> bool:
    """Whether this Python can read what is compressed so."""
    try:
        check_compression("zstd")
    except UnsupportedError:
        return False
    return True


class ImageDrawer(ToolsDrawer):
    """Draws images of more kinds than those whose every cluster is compared."""

    def create(self) -> str:
        """A new image; some with rare options."""
        rng = self.rng
        if rng.random() < 0.5:
            return super().create()
        unit = rng.choice((512, 2 * KIB, 16 * KIB, 128 * KIB, 2048 * KIB))
        options = [f"cluster_size={unit}", f"refcount_bits={rng.choice((1, 2, 8, 16, 32, 64))}"]
        if rng.random() < 0.3:
            options.append("lazy_refcounts=on")
        elif rng.random() < 0.3 and has_zstd():
            options.append("compression_type=zstd")
        if rng.random() < 0.2:
            options.append(f"preallocation={rng.choice(('metadata', 'falloc', 'full'))}")
        size = rng.randrange(1, 4000) * rng.choice((1, 2, 8)) * 512
        if unit == 512:
            size = min(size, 1000 * KIB)
        name = self.fresh()
        others = [] if "prealloc" in options[-1] else [each for each in self.store.names() if each != name]
        others = [other for other in others if not self.uses(other, name)]
        backing = ""
        if others and rng.random() < 0.4:
            other = rng.choice(others)
            backing = f" -b {other} -F {self.image(other).format}"
        return f"qemu-img create -q -f qcow2 -o {','.join(options)}{backing} {name} {size}"

    def resize(self) -> str:
        """Also with what is new preallocated."""
        line = super().resize()
        if self.rng.random() < 0.5 or not isinstance(self.image(line.split()[-2]), Qcow2Image):
            return line
        mode = self.rng.choice(("metadata", "falloc", "full"))
        return line.replace("--shrink", f"--preallocation={mode}")

    def odd(self) -> str:
        """Also refcounts of all widths, but where QEMU takes minutes for them."""
        name = self.name()
        if self.rng.random() < 0.6 or self.image(name).content.cluster_size > 64 * KIB:
            return super().odd()
        return f"qemu-img amend -o refcount_bits={self.rng.choice((1, 2, 4, 8, 16, 32, 64))} {name}"


class Exchange:
    """A folder.

    :param qemu: runs; the folder is in its own.
    :param way: who writes, of :data:`WAYS`.
    """

    def __init__(self, qemu: RealQemu, way: str, seed: int) -> None:
        self._qemu = qemu
        self._installation = qemu.installation
        self._way = way
        self._rng = random.Random(seed)
        self._folder = qemu.outer / FOLDER
        self._folder.mkdir(exist_ok=True)
        for path in [*self._folder.iterdir(), *qemu.outer.glob("by-*")]:
            path.unlink()
        self._profile = PROFILES[profile_for(self._installation)]
        self._images = HostImageStore(str(self._folder))
        self._shell = Shell(self._images, self._profile)
        self.played: list[str] = []

    def play(self) -> int:
        """Write, and compare what both say.

        :returns: of how many files.
        :raises AssertionError: they do not say the same.
        """
        drawer = ImageDrawer(self._rng, self._images)
        for _ in range(LINES):
            self._write(shlex.split(drawer.line()))
        for name in self._images.names():
            self._compare(name)
        self._compare_bitmaps()
        return len(self._images.names())

    def _write(self, argv: list[str]) -> None:
        is_ours = self._way == "ours" or (self._way == "turns" and self._rng.random() < 0.5)
        self.played.append(f"{'ours' if is_ours else 'real'}: {shlex.join(argv)}")
        if is_ours:
            self._ours(argv)
        else:
            self._real(argv)

    def _ours(self, argv: list[str]) -> tuple[int, str]:
        status, text = self._shell.run(argv)
        self._images.save()
        return status, blanked(text)

    def _real(self, argv: list[str]) -> tuple[int, str]:
        done = subprocess.run(
            self._installation.wrap(f"{self._qemu.inner}/{FOLDER}", ["env", "LC_ALL=C", *argv]),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=60,
        )
        return done.returncode, blanked(done.stdout.decode())

    # -- what is compared

    def _compare(self, name: str) -> None:
        image = self._images.lookup(name)
        is_qcow2 = isinstance(image, Qcow2Image)
        other = self._rng.choice(self._images.names())
        lines = [
            f"qemu-img info --output=json --backing-chain {name}",
            f"qemu-img map --output=json -f {image.format} {name}",
            f"qemu-img compare {name} {other}",
            self._rng.choice(("info", "map", "measure -O qcow2", "measure -O raw --output=json")).join(
                ("qemu-img ", f" {name}")
            ),
        ]
        if is_qcow2:
            lines += [f"qemu-img check --output=json {name}", f"qemu-img snapshot -l {name}"]
        for line in lines:
            argv = shlex.split(line)
            real, ours = self._real(argv), self._ours(argv)
            assert real == ours, self._report(line, real, ours)
            if " check " in line:
                assert real[0] in {0, 3}, self._report(line, real, "clean, or leaks at worst")
        self._compare_content(name, image.format, [])
        if is_qcow2:
            for snapshot in image.snapshots:
                self._compare_content(name, "qcow2", ["-l", f"snapshot.id={snapshot.id}"])

    def _compare_content(self, name: str, format_name: str, options: list[str]) -> None:
        argv = ["qemu-img", "convert", "-f", format_name, *options, "-O", "raw", name]
        copies = [self._qemu.outer / each for each in ("by-real", "by-ours")]
        real = self._real([*argv, "../by-real"])
        ours = self._ours([*argv, "../by-ours"])
        assert real == ours, self._report(shlex.join(argv), real, ours)
        if not real[0]:
            same = copies[0].read_bytes() == copies[1].read_bytes()
            assert same, self._report(shlex.join(argv), "other bytes", "other bytes")

    def _compare_bitmaps(self) -> None:
        machine = Machine(self._profile.name, images=self._images)
        for name in self._images.names():
            image = self._images.lookup(name)
            if not isinstance(image, Qcow2Image) or not image.bitmaps:
                continue
            names = [each.name for each in image.bitmaps]
            ours = self._bitmaps(lambda command, given: _answer(machine, command, given), name, names)
            real = self._bitmaps(self._answer, f"{FOLDER}/{name}", names)
            assert real == ours, self._report(f"bitmaps of {name}", real, ours)

    def _bitmaps(self, ask: Any, filename: str, names: list[str]) -> list[Any]:
        file = {"driver": "file", "filename": filename}
        node = {"driver": "qcow2", "node-name": "n", "read-only": True, "backing": None, "file": file}
        found = [ask("blockdev-add", node)]
        found += [ask("x-debug-block-dirty-bitmap-sha256", {"node": "n", "name": each}) for each in names]
        nodes = ask("query-named-block-nodes", {"flat": True}).get("return", [])
        found += [each.get("dirty-bitmaps") for each in nodes if each.get("node-name") == "n"]
        return [*found, ask("blockdev-del", {"node-name": "n"})]

    def _answer(self, command: str, given: dict[str, Any]) -> dict[str, Any]:
        answer = self._qemu.ask({"execute": command, "arguments": given})
        return {key: value for key, value in answer.items() if key != "id"}

    def _report(self, line: str, real: object, ours: object) -> str:
        return "\n".join((line, f"QEMU:    {real}", f"qbitsim: {ours}", "after", *self.played))


def _answer(machine: Machine, command: str, given: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"return": machine.execute(command, given)}
    except QmpError as error:
        return {"error": error.to_json()}


def main(rounds: int, first: int, ways: list[str]) -> int:
    """Play; the number of differences."""
    known = [each for each in installations() if profile_for(each) == ".".join(map(str, each.version[:2]))]
    running = [RealQemu(installation) for installation in known]
    ends: Counter[str] = Counter()
    try:
        for qemu in running:
            qemu.step(0, {"start": {}})
        for seed, way in product(range(first, first + rounds), ways):
            qemu = running[seed % len(running)]
            try:
                ends[f"{way}: files"] += Exchange(qemu, way, seed).play()
                ends[f"{way}: the same"] += 1
            except subprocess.TimeoutExpired as late:
                ends[f"{way}: no answer in time"] += 1
                print(f"{way} {seed} on {qemu.installation}: {late!s}", flush=True)  # noqa: T201
            except AssertionError as difference:  # of the comparison, or of the emulator itself
                ends[f"{way}: different"] += 1
                print(f"{way} {seed} on {qemu.installation}: {difference!s}", flush=True)  # noqa: T201
            if seed % 10 == 9:
                print(f"{seed + 1 - first} rounds {dict(ends)}", flush=True)  # noqa: T201
    finally:
        for qemu in running:
            qemu.close()
    print(dict(ends), flush=True)  # noqa: T201
    return sum(count for end, count in ends.items() if "different" in end)


if __name__ == "__main__":
    words = sys.argv[1:]
    sys.exit(1 if main(int(words[0]), int(words[1]) if words[1:] else 0, words[2:] or list(WAYS)) else 0)
