"""Runs programs to their end in processes that are forked from one that has imported all they load, which is quick.

Such a process is what ``qbitsim.programs.table.start`` begins; the tests of the scripts themselves start the scripts.
"""

from __future__ import annotations

import multiprocessing
import os
import pkgutil
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from qbitsim import programs, qemu_img
from qbitsim.profiles import profile
from qbitsim.programs.table import PROGRAMS

PATIENCE = 30.0
_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(
    [
        module.name
        for package in (programs, qemu_img)
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    ]
)


def run(
    name: str, release: str, *argv: str, stdin: bytes = b"", cwd: Path | None = None, together: bool = False
) -> tuple[int, bytes, bytes]:
    """Run a program of a release: exit status, standard output, standard error.

    :param together: both have one file, so that what was said comes in its order.
    """
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, each) for each in ("stdin", "stdout", "stdout" if together else "stderr")]
        files[0].write_bytes(stdin)
        process = _FORKING.Process(target=_become, args=(name, release, argv, str(cwd or Path.cwd()), files))
        process.start()
        process.join(PATIENCE)
        assert process.exitcode is not None, (name, argv)
        status = process.exitcode
        process.close()
        return status, files[1].read_bytes(), files[2].read_bytes()


def _become(name: str, release: str, argv: tuple[str, ...], cwd: str, files: list[Path]) -> None:
    os.chdir(cwd)
    for number, path in enumerate(files):
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        os.dup2(file, number)
        os.close(file)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - as long as the process
    sys.exit(import_module(f"qbitsim.programs.{PROGRAMS[name]}").main(list(argv), profile(release)))
