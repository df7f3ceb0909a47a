"""The real programs that serve, and whether qbitsim's end as they do."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from qemu_process import run

sys.path.insert(0, str(Path(__file__).parents[1] / "oracle"))

from real_qemu import ROOT_VARIABLE

QUIT = '{"execute": "qmp_capabilities"}{"execute": "quit"}'


def installations(program: str) -> list[tuple[str, str | None]]:
    """The releases that there are of a program, with the root directories of their systems."""
    found = []
    for root in [None, *filter(None, os.environ.get(ROOT_VARIABLE, "").split(":"))]:
        try:
            said = subprocess.run([*entered(root), program, "--version"], capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        release = re.search(r"version (\d+\.\d+)", said.stdout)
        if release is not None and release[1] in ("7.2", "10.0", "11.1"):
            found.append((release[1], root))
    return found


def entered(root: str | None) -> list[str]:
    """What a command line begins with that runs in a root directory."""
    return [] if root is None else ["chroot", root]


def check_same_end(root: str | None, program: str, ours: str, release: str, argv: list[str]) -> None:
    """Say a command line to the real program and to ours; whoever accepts is told to quit.

    :param ours: the folder of our program.
    :raises AssertionError: they end in different ways.
    """
    real = subprocess.run(
        [*entered(root), program, *argv], input=QUIT.encode(), capture_output=True, timeout=60, check=False
    )
    theirs = real.returncode, _blanked(real.stdout.decode()), real.stderr.decode()
    status, out, err = run(release, *argv, stdin=QUIT, program=ours)
    if real.returncode:
        # QEMU greets as soon as it has made its monitors, even if it fails after that.
        assert (argv, status, err) == (argv, theirs[0], theirs[2])
    else:
        assert (argv, status, _blanked(out), err) == (argv, *theirs)


def _blanked(text: str) -> str:
    """The text without times, and without help, which has words of its own."""
    text = re.sub(r'"(micro)?seconds": \d+', "", text)
    if '"return"' not in text:  # whether a monitor greets before help is printed is a matter of time
        text = re.sub(r'\{"QMP".*\r\n', "", text)
    return re.sub(r"(Usage: [^\n]*\n).*", r"\1", text, flags=re.DOTALL)
