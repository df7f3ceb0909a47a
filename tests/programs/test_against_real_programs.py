"""qemu-img and qemu-io as processes against the real ones: accepted or refused, both streams, exit status, files.

Some command lines are played in every run; ``QBITSIM_PROGRAM_LINES`` asks for more, for instance 500 for each program
and release.
"""

from __future__ import annotations

import os
import random

import pytest
from command_lines import CommandLines
from program_duel import ProgramDuel, Real, installations

from qbitsim.profiles import PROFILES

LINES = int(os.environ.get("QBITSIM_PROGRAM_LINES", "12"))
ROUND = 12
"""Command lines that are played on the same files."""

FILES = (
    "qemu-img create -q -f qcow2 b.qcow2 1M",
    "qemu-io -f qcow2 -c|write -q -P 7 0 192k|b.qcow2",
    "qemu-img create -q -f qcow2 -b b.qcow2 -F qcow2 a.qcow2",
    "qemu-img bitmap --add a.qcow2 b0",
    "qemu-img bitmap --add -g 512 a.qcow2 b1",
    "qemu-io -f qcow2 -c|write -q -P 9 64k 300k|a.qcow2",
    "qemu-img snapshot -c s1 b.qcow2",
    "qemu-img create -q -f qcow2 -o cluster_size=4k c.qcow2 300k",
    "qemu-img create -q r.raw 1M",
    "qemu-io -f raw -c|write -q -P 5 0 64k|r.raw",
)

REAL = [pytest.param(each, id=each.release) for each in installations()] or [
    pytest.param(
        None, marks=pytest.mark.skip(reason="no qemu-img and qemu-io on the path (Debian: qemu-utils)"), id="none"
    )
]


def _words(line: str) -> list[str]:
    """A command line: words between spaces, and between bars."""
    return [word for number, part in enumerate(line.split("|")) for word in ([part] if number % 2 else part.split())]


@pytest.mark.parametrize("program", ["qemu-img", "qemu-io"])
@pytest.mark.parametrize("real", REAL)
def test_drawn_command_lines(real: Real, program: str) -> None:
    for seed in range(-(-LINES // ROUND)):
        drawer = CommandLines(random.Random(f"{program} {real.release} {seed}"), PROFILES[real.release])
        duel = ProgramDuel(real)
        try:
            for line in FILES:
                duel.play(_words(line))
            for _ in range(ROUND):
                duel.play(*drawer.draw(program))
        finally:
            duel.close()


@pytest.mark.parametrize("real", REAL)
def test_an_image_whose_backing_file_is_broken_is_open_for_a_moment(real: Real) -> None:
    """Its bitmaps are stored when it is closed again."""
    duel = ProgramDuel(real)
    try:
        for line in (*FILES[:5], "qemu-io -f raw -c|write -q 0 64k|b.qcow2", "qemu-io -c|length|a.qcow2"):
            duel.play(_words(line))
    finally:
        duel.close()
