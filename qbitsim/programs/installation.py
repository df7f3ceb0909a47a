"""Puts the programs into a folder, each as a script that starts this installation of qbitsim.

A script goes around :mod:`site` and the environment (``python -IS``): the first takes longer than all that
``qemu-img create`` does, and variables such as ``PYTHONPATH`` are those of whoever starts the program. So it says
itself where the packages are.
"""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import bitarray

import qbitsim
from qbitsim.programs.table import PROGRAMS

_MARK = "# made by 'qbitsim programs'"
_LONGEST_FIRST_LINE = 127
"""Bytes of a script's first line that every Linux reads."""


class OccupiedError(Exception):
    """There is something under the name of a program that qbitsim has not made."""


def install(folder: Path, release: str) -> list[Path]:
    """Make the folder, if there is none, and the scripts in it; their paths.

    :param release: what the programs claim to be.
    :raises OccupiedError: nothing was written.
    :raises OSError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / name for name in PROGRAMS}
    for path in paths.values():
        if (path.exists() or path.is_symlink()) and not _is_ours(path):
            raise OccupiedError(f"{path} was not made by qbitsim")
    for name, path in paths.items():
        new = path.with_name(f".{name}.new")
        new.write_text(script(name, release), encoding="utf-8")
        new.chmod(0o755)
        new.replace(path)
    return list(paths.values())


def script(name: str, release: str) -> str:
    """The text of one program."""
    homes = dict.fromkeys(str(Path(package.__path__[0]).resolve().parent) for package in (qbitsim, bitarray))
    return (
        f"{_first_lines(sys.executable)}{_MARK}\n"
        "import sys\n"
        f"sys.path += {list(homes)!r}\n"
        "from qbitsim.programs.table import start\n"
        f"start({name!r}, {release!r})\n"
    )


def _first_lines(interpreter: str) -> str:
    """What makes the kernel start the interpreter; by way of a shell if its path is too odd for that."""
    line = f"#!{interpreter} -IS\n"
    if len(os.fsencode(line)) <= _LONGEST_FIRST_LINE and not any(letter.isspace() for letter in interpreter):
        return line
    # For the shell, two empty strings and "exec"; for Python, a text that nobody wants.
    return f"#!/bin/sh\n'''exec' {shlex.quote(interpreter)} -IS \"$0\" \"$@\"\n' '''\n"


def _is_ours(path: Path) -> bool:
    try:
        return _MARK.encode() in path.read_bytes()[:4096]
    except OSError:
        return False
