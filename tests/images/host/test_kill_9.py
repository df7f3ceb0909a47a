"""A process that runs a backup while the guest writes is killed at a random moment.

``QBITSIM_KILLS`` says at how many moments, by default a few. The real ``qemu-img check`` is asked where there is one.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from judge import Judgement
from qcow2_file import MAGIC

from qbitsim import Machine
from qbitsim.images.host.store import HostImageStore

KILLS = int(os.environ.get("QBITSIM_KILLS", "8"))
SIZE = 4 << 20
SECTOR = 512
CLUSTERS = (512, 4096, 65536)
FULL = {"device": "d", "sync": "full", "format": "qcow2"}
INCREMENTAL = {"device": "d", "sync": "incremental", "bitmap": "b0", "format": "qcow2"}

Step = tuple[str, int, int, int]


def steps(seed: int) -> Iterator[Step]:
    """What the guest does, without an end: (kind, offset, length, pattern)."""
    rng = random.Random(seed)
    while True:
        offset = rng.randrange(SIZE // SECTOR) * SECTOR
        length = min(rng.choice((SECTOR, 4096, 65536, 200 * 1024)), SIZE - offset)
        yield (
            rng.choice(("write", "write", "write", "zero", "unmap", "discard", "flush")),
            offset,
            length,
            rng.randrange(1, 255),
        )


COMMANDS = {
    "write": "write -q -P {pattern} {offset} {length}",
    "zero": "write -q -z {offset} {length}",
    "unmap": "write -q -z -u {offset} {length}",
    "discard": "discard -q {offset} {length}",
    "flush": "flush",
}


def run(folder: Path, seed: int, pipe: int) -> None:
    """Be the process that will be killed; it tells the number of each step, at its beginning and at its end."""
    machine = Machine(images=HostImageStore(str(folder)))
    machine.add_drive("d", machine.open_file("d.qcow2", {"driver": "qcow2", "discard": "unmap"}))
    os.write(pipe, b"ready\n")
    jobs = 0
    for number, (kind, offset, length, pattern) in enumerate(steps(seed)):
        os.write(pipe, f"begin {number}\n".encode())
        command = COMMANDS[kind].format(offset=offset, length=length, pattern=pattern)
        refusal = machine.execute("human-monitor-command", {"command-line": f'qemu-io d "{command}"'})
        assert not refusal
        os.write(pipe, f"end {number}\n".encode())
        if not machine.execute("query-jobs", {}):
            what: dict[str, Any] = INCREMENTAL if jobs else FULL
            machine.execute("drive-backup", {**what, "job-id": f"j{jobs}", "target": f"t{jobs}.qcow2"})
            jobs += 1
        for _ in range(number % 7):
            machine.step()
        if not machine.execute("query-jobs", {}):
            keep_or_forget(machine)


def keep_or_forget(machine: Machine) -> None:
    """Take an internal snapshot, or delete it."""
    if any(each["name"] == "s" for each in snapshots(machine)):
        machine.execute("blockdev-snapshot-delete-internal-sync", {"device": "d", "name": "s"})
    else:
        machine.execute("blockdev-snapshot-internal-sync", {"device": "d", "name": "s"})


def snapshots(machine: Machine) -> list[dict[str, Any]]:
    """Those of the disk."""
    found = machine.execute("query-block", {})
    assert isinstance(found, list)
    (drive,) = found
    return drive["inserted"]["image"].get("snapshots", [])  # type: ignore[index,return-value,call-overload,union-attr]


class Expected:
    """Which patterns each sector may hold."""

    def __init__(self) -> None:
        self.allowed = [{0} for _ in range(SIZE // SECTOR)]
        self.latest: dict[int, int] = {}

    def begin(self, step: Step) -> None:
        """The guest has asked for it."""
        kind, offset, length, pattern = step
        if kind == "flush":
            return
        for sector in range(offset // SECTOR, (offset + length) // SECTOR):
            self.allowed[sector].add(pattern if kind == "write" else 0)
            if kind == "discard":
                self.latest.pop(sector, None)  # nobody knows what is there
            else:
                self.latest[sector] = pattern if kind == "write" else 0

    def end(self, step: Step) -> None:
        """The guest knows that it is done."""
        if step[0] == "flush":
            for sector, pattern in self.latest.items():
                self.allowed[sector] = {pattern}
            self.latest.clear()


def create(folder: Path, cluster: int) -> None:
    """The disk, with two bitmaps."""
    images = HostImageStore(str(folder))
    images.create("d.qcow2", "qcow2", SIZE, cluster_size=cluster)
    machine = Machine(images=images)
    file = {"driver": "file", "filename": "d.qcow2"}
    machine.execute("blockdev-add", {"driver": "qcow2", "node-name": "n", "file": file})
    for name in ("b0", "b1"):
        machine.execute("block-dirty-bitmap-add", {"node": "n", "name": name, "persistent": True, "granularity": 512})
    machine.execute("quit", {})


def kill_at(folder: Path, seed: int, delay: float) -> list[str]:
    """Run the process, kill it after so many seconds, and return what it told."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            run(folder, seed, writing)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(writing)
    with open(reading, encoding="ascii") as told:
        assert told.readline() == "ready\n"
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        lines = told.read().split("\n")[:-1]
    _, status = os.waitpid(child, 0)
    assert status == signal.SIGKILL, lines[-3:]
    return lines


@pytest.mark.parametrize("seed", range(KILLS))
def test_what_a_killed_process_leaves(tmp_path: Path, seed: int) -> None:
    create(tmp_path, CLUSTERS[seed % len(CLUSTERS)])
    lines = kill_at(tmp_path, seed, random.Random(seed).uniform(0, 0.4))
    expected, story = Expected(), list(zip(range(len(lines)), steps(seed), strict=False))
    for what, number in (line.split() for line in lines):
        getattr(expected, what)(story[int(number)][1])
    found = Judgement(tmp_path / "d.qcow2")
    disk = found.disk()
    for sector, allowed in enumerate(expected.allowed):
        data = disk[sector * SECTOR : (sector + 1) * SECTOR]
        assert data.count(data[0]) == SECTOR, f"sector {sector} is torn"
        assert data[0] in allowed, (sector, data[0], allowed)
    for path in tmp_path.glob("*.qcow2"):
        if path.read_bytes()[:4] == MAGIC:  # it was made
            assert not Judgement(path).errors, path.name
    if shutil.which("qemu-img"):
        check(tmp_path / "d.qcow2", disk)


def check(path: Path, disk: bytes) -> None:
    """The real program finds nothing but leaks, which it repairs, and the bitmaps in use."""
    status, text = qemu_img("check", str(path))
    damage = [line for line in text.split("\n") if line.startswith("ERROR") and "OFLAG_COPIED" not in line]
    assert not damage, text
    flags = json.loads(qemu_img("info", "--output=json", str(path))[1])["format-specific"]["data"]["bitmaps"]
    assert [sorted(each["flags"]) for each in flags] == [["auto", "in-use"]] * 2
    if status:
        repair = "leaks" if status == 3 else "all"  # a killed snapshot leaves flags that are not as they should be
        qemu_img("check", "-r", repair, str(path))
        assert qemu_img("check", str(path))[0] == 0
        assert Judgement(path).disk() == disk


def qemu_img(*arguments: str) -> tuple[int, str]:
    """Exit status and output of the real program."""
    done = subprocess.run(["qemu-img", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr
