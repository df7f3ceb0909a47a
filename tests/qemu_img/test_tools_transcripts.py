"""qemu-img and qemu-io together against transcripts of the real ones.

A transcript is a text: ``$ `` and a command line, what it printed, standard error included, and ``= `` and its exit
status. Each begins in an empty directory. Facts of the host and of the moment are blanked out.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from qbitsim.images.store import ImageStore
from qbitsim.profiles import PROFILES
from qbitsim.programs.shell import Shell

TRANSCRIPTS = sorted((Path(__file__).parent / "tools_transcripts").glob("*/*.txt"))


def blanked(text: str) -> str:
    """Without the facts of the host and of the moment."""
    text = re.sub("\r\n?", "\n", text)  # progress, a line each time
    text = re.sub(r"disk size: .*", "disk size: -", text)
    text = re.sub(r'"actual-size": \d+', '"actual-size": -', text)
    text = re.sub(r"#block\d+", "#block", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "-", text)
    text = re.sub(r'"date-(n?sec)": \d+', r'"date-\1": -', text)
    text = re.sub(r'cid("?): \d+', r"cid\1: -", text)
    text = re.sub(r"in \d+\.\d+ seconds", "in - seconds", text)
    return re.sub(r"(ops; ).*", r"\1-", text)


def replay(transcript: str, release: str) -> str:
    """The transcript with our own answers."""
    shell = Shell(ImageStore(), PROFILES[release])
    lines = []
    for line in transcript.splitlines():
        if line.startswith("$ "):
            status, output = shell.run(shlex.split(line[2:]))
            text = blanked(output)
            lines += [line + "\n", text, "" if text.endswith("\n") or not text else "\n", f"= {status}\n"]
    return "".join(lines)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_tools_answer_like_the_real_ones(path: Path) -> None:
    transcript = path.read_text()
    assert replay(transcript, path.parent.name) == transcript
