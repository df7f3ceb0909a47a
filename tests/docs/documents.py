"""The documents taken apart: their fenced blocks, and what each of them does when it is run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import forked

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = {
    path.relative_to(REPOSITORY): path.read_text(encoding="utf-8")
    for path in (REPOSITORY / "README.md", *sorted((REPOSITORY / "qbitsim/docs").glob("*.md")))
}
"""Where a document is -> what it says."""

README = DOCUMENTS[Path("README.md")]
PATIENCE = 60


def document(name: str) -> str:
    """What one of the documents says that are installed with the package."""
    return DOCUMENTS[Path("qbitsim/docs") / f"{name}.md"]


@dataclass(frozen=True)
class Block:
    """One fenced block.

    :ivar kind: ``sh``, ``python``, ``text`` or nothing.
    :ivar place: the document and the number of its first line.
    :ivar expected: the text block behind it, if that is what it prints.
    """

    kind: str
    text: str
    place: str
    expected: str | None = None

    @property
    def starts_server(self) -> bool:
        """Whether it goes on while the next block runs."""
        return self.text.startswith("qbitsim serve")


def blocks() -> list[Block]:
    """All blocks, in order; a block of output belongs to the one before it."""
    return [block for path, text in DOCUMENTS.items() for block in _blocks(path, text)]


def _blocks(path: Path, text: str) -> list[Block]:
    found: list[Block] = []
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        kind, inside = match[1], match[2]
        line = text[: match.start()].count("\n") + 2
        if kind == "text":
            last = found.pop()
            assert last.expected is None
            found.append(replace(last, expected=inside))
        else:
            found.append(Block(kind, inside, f"{path}:{line}"))
    return found


def examples() -> list[tuple[Block, ...]]:
    """What can be run: a block, or a server and the block that talks to it."""
    runnable = [block for block in blocks() if block.kind in ("sh", "python") and "pip install" not in block.text]
    found: list[tuple[Block, ...]] = []
    for block in runnable:
        if found and found[-1][-1].starts_server:
            found[-1] = (*found[-1], block)
        else:
            found.append((block,))
    return found


def environment(directory: Path) -> dict[str, str]:
    """An environment in which ``qbitsim`` is this checkout's."""
    commands = directory / "bin"
    commands.mkdir(exist_ok=True)
    program = commands / "qbitsim"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m qbitsim "$@"\n')
    program.chmod(0o755)
    path = f"{commands}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "utf-8"}


def run(block: Block, directory: Path) -> str:
    """Run a block in a directory; it must end well. Return what it prints."""
    if block.kind == "python":
        process = forked.Process(forked.python, block.text, cwd=directory, text=True)
        out, err = process.communicate(timeout=PATIENCE)
        assert (process.returncode, err) == (0, ""), f"{block.place}: {err}"
        return out
    result = subprocess.run(
        ["sh", "-eu"],
        input=block.text,
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=directory,
        env=environment(directory),
        timeout=PATIENCE,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, ""), f"{block.place}: {result.stderr}"
    return result.stdout


@contextmanager
def serving(block: Block, directory: Path) -> Iterator[None]:
    """The server of a block, once it is ready, until it is told to end."""
    server = subprocess.Popen(
        ["sh", "-euc", f"exec {block.text}"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=directory,
        env=environment(directory),
    )
    assert server.stdout is not None
    try:
        assert "ready" in server.stdout.readline()
        yield
        server.terminate()
        server.communicate(timeout=PATIENCE)
        assert server.returncode == 0
    finally:
        server.kill()
        server.communicate()
