"""Real QEMU and the emulated one take turns on one disk of the host, with one persistent bitmap and its backups.

Each in its turn finds the bitmap as the other left it, lets the guest write, makes an incremental backup into a file
and quits. The real ``qemu-img check`` must be content with all files in between, and each backup, read through the
chain of those before it, must be the disk at that moment.
"""

from __future__ import annotations

import random
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from real_qemu import Installation, RealQemu
from test_tools import ROUNDS

from qbitsim import Machine
from qbitsim.images.host.store import HostImageStore
from qbitsim.profiles import PROFILES

SIZE = 8 << 20
TURNS = 4
KIB = 1024


class OurTurn:
    """The emulated QEMU."""

    def __init__(self, folder: Path, profile: str) -> None:
        self.machine = Machine(profile, images=HostImageStore(str(folder)))

    def ask(self, command: str, **arguments: Any) -> Any:
        """What a command returns, when all has come to rest."""
        found = self.machine.execute(command, {key.replace("_", "-"): value for key, value in arguments.items()})
        self.machine.run_until_idle()
        return found

    def quit(self) -> None:
        """End it."""
        self.machine.execute("quit", {})


class RealTurn:
    """The real one."""

    def __init__(self, qemu: RealQemu) -> None:
        self.qemu = qemu
        qemu.step(0, {"start": {}})

    def ask(self, command: str, **arguments: Any) -> Any:
        """What a command returns, when all has come to rest."""
        given = {key.replace("_", "-"): value for key, value in arguments.items()}
        answer = self.qemu.ask({"execute": command, "arguments": given})
        assert "return" in answer, answer
        while command == "drive-backup" and self.qemu.ask({"execute": "query-jobs"})["return"]:
            time.sleep(0.01)
        return answer["return"]

    def quit(self) -> None:
        """End it."""
        self.qemu.step(0, {"quit": True})


class Disk:
    """What the disk should hold, and what is drawn to be written."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng
        self.data = bytearray(SIZE)

    def change(self, turn: OurTurn | RealTurn) -> None:
        """Let the guest do a few things."""
        rng = self.rng
        for _ in range(12):
            offset = rng.randrange(SIZE // 512) * 512
            length = min(rng.choice((512, 4096, 65536, 100 * KIB, 300 * KIB)), SIZE - offset)
            pattern = rng.randrange(1, 255)
            kind = rng.choice("wwwwzuf")
            if kind == "f":
                self._io(turn, "flush")
                continue
            self._io(
                turn, f"write -q -P {pattern} {offset} {length}" if kind == "w" else self._zero(kind, offset, length)
            )
            self.data[offset : offset + length] = bytes([pattern if kind == "w" else 0]) * length

    @staticmethod
    def _zero(kind: str, offset: int, length: int) -> str:
        return f"write -q -z {'-u ' if kind == 'u' else ''}{offset} {length}"

    @staticmethod
    def _io(turn: OurTurn | RealTurn, command: str) -> None:
        assert not turn.ask("human-monitor-command", command_line=f'qemu-io d "{command}"')


@pytest.mark.parametrize("seed", range(-(-ROUNDS // 4)))
@pytest.mark.parametrize("first", ["real", "ours"])
@pytest.mark.parametrize("cluster", [512, 65536])
def test_they_go_on_where_the_other_stopped(installation: Installation, first: str, seed: int, cluster: int) -> None:
    profile = ".".join(map(str, installation.version[:2]))
    if profile not in PROFILES:
        pytest.skip(f"no profile for {installation}")
    qemu = RealQemu(installation)
    try:
        _play(qemu, profile, first == "ours", random.Random(seed), cluster)
    finally:
        qemu.close()


def _play(qemu: RealQemu, profile: str, is_ours: bool, rng: random.Random, cluster: int) -> None:
    disk, digest, folder = Disk(rng), None, qemu.outer
    _real(qemu, "qemu-img", "create", "-q", "-f", "qcow2", "-o", f"cluster_size={cluster}", "d.qcow2", str(SIZE))
    for number in range(TURNS):
        turn = OurTurn(folder, profile) if is_ours else RealTurn(qemu)
        file = {"driver": "file", "filename": "d.qcow2", "discard": "unmap"}
        turn.ask("blockdev-add", driver="qcow2", node_name="d", file=file, discard="unmap")
        if number:
            assert _digest(turn) == digest
        else:
            turn.ask("block-dirty-bitmap-add", node="d", name="b", persistent=True, granularity=4096)
        disk.change(turn)
        _back_up(turn, number)
        kept = bytes(disk.data)
        disk.change(turn)
        digest = _digest(turn)
        turn.quit()
        _check(qemu, number, kept, bytes(disk.data))
        is_ours = not is_ours


def _back_up(turn: OurTurn | RealTurn, number: int) -> None:
    """The first is a full one; each of the others contains what the bitmap says, over those before it."""
    target = {"device": "d", "job_id": "j", "target": f"backup{number}.qcow2", "format": "qcow2"}
    if number:
        _make(turn, number)
        turn.ask("drive-backup", **target, sync="incremental", bitmap="b", mode="existing")
    else:
        turn.ask("block-dirty-bitmap-clear", node="d", name="b")
        turn.ask("drive-backup", **target, sync="full")


def _make(turn: OurTurn | RealTurn, number: int) -> None:
    name, below = f"backup{number}.qcow2", f"backup{number - 1}.qcow2"
    if isinstance(turn, OurTurn):
        turn.machine.images.create(name, "qcow2", SIZE, backing=below, backing_format="qcow2")
    else:
        _real(turn.qemu, "qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", "qcow2", name, str(SIZE))


def _digest(turn: OurTurn | RealTurn) -> str:
    found = turn.ask("x-debug-block-dirty-bitmap-sha256", node="d", name="b")["sha256"]
    assert isinstance(found, str)
    return found


def _check(qemu: RealQemu, number: int, backup: bytes, disk: bytes) -> None:
    for name, data in ((f"backup{number}.qcow2", backup), ("d.qcow2", disk)):
        _real(qemu, "qemu-img", "check", name)
        (qemu.outer / "raw").write_bytes(data)
        _real(qemu, "qemu-img", "compare", "-f", "qcow2", "-F", "raw", name, "raw")


def _real(qemu: RealQemu, *argv: str) -> None:
    done = subprocess.run(qemu.installation.wrap(qemu.inner, list(argv)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, (argv, done.stdout, done.stderr)
