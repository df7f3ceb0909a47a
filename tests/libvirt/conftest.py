"""Domains of libvirt with qbitsim as their emulator, and with real QEMU where it is installed."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from session_daemon import Daemon, Domain, RefusedError, Start, lacking

from qbitsim.programs.installation import install


@pytest.fixture(scope="session")
def daemon() -> Iterator[Daemon]:
    """A daemon for all tests."""
    why = lacking()
    if why:
        pytest.skip(why)
    with Daemon() as made:
        yield made


@pytest.fixture(scope="session", params=["10.0", "11.1", "real"])
def emulator(request: pytest.FixtureRequest) -> Iterator[str]:
    """The path of a program that libvirt is to start."""
    if request.param == "real":
        found = shutil.which("qemu-system-x86_64", path=os.defpath)
        if found is None:
            pytest.skip("no qemu-system-x86_64 on the path (Debian: qemu-system-x86)")
        yield found
        return
    folder = Path(tempfile.mkdtemp(prefix="programs-", dir="/tmp"))  # one that everybody can look into
    folder.chmod(0o755)
    install(folder, request.param)
    yield str(folder / "qemu-system-x86_64")
    shutil.rmtree(folder)


@pytest.fixture
def is_real(emulator: str) -> bool:
    """Whether the emulator is real QEMU."""
    return "programs-" not in emulator


@pytest.fixture
def start(daemon: Daemon, emulator: str) -> Iterator[Start]:
    """Starts domains, which are gone at the end."""
    started: list[Domain] = []

    def make(*args: str, **options: object) -> Domain:
        name = f"d{next(_numbers)}"
        started.append(Domain(daemon, emulator, name, *args, **options))  # type: ignore[arg-type]
        return started[-1]

    yield make
    for each in started:
        try:
            each.virsh("destroy")
        except RefusedError as error:
            assert "not running" in str(error)  # noqa: PT017
        each.virsh("undefine", "--checkpoints-metadata", "--snapshots-metadata")


_numbers = iter(range(10**6))
