"""Locks on files of the host: real programs say of our disks what they say of QEMU's, and ours say the same of both."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from real_qemu import Installation, RealQemu

from qbitsim import Machine
from qbitsim.errors import QmpError
from qbitsim.images.host.store import HostImageStore
from qbitsim.profiles import PROFILES
from qbitsim.programs.shell import Shell

NODES: list[dict[str, Any]] = [
    {"driver": "qcow2", "node-name": "n", "file": {"driver": "file", "filename": "a.qcow2"}},
    {"driver": "raw", "node-name": "r", "file": {"driver": "file", "filename": "r.raw"}},
    {"driver": "qcow2", "node-name": "t", "file": {"driver": "file", "filename": "top.qcow2"}},
]
"""What is in use; the backing file of the last one is open for reading."""

LINES = [
    "qemu-img info a.qcow2",
    "qemu-img check a.qcow2",
    "qemu-img check -U a.qcow2",
    "qemu-img snapshot -c s a.qcow2",
    "qemu-img resize a.qcow2 2M",
    "qemu-img create -q -f qcow2 a.qcow2 1M",
    "qemu-img convert -O raw a.qcow2 out.raw",
    "qemu-img convert -U -O raw a.qcow2 out.raw",
    "qemu-img bitmap --add a.qcow2 b",
    "qemu-img compare -U a.qcow2 a.qcow2",
    "qemu-img commit top.qcow2",
    "qemu-img map --output=json top.qcow2",
    "qemu-img map -U --output=json top.qcow2",
    "qemu-img map --output=json base.qcow2",
    "qemu-io -c 'write -q 0 512' a.qcow2",
    "qemu-io -r -U -c 'read -q 0 512' a.qcow2",
    "qemu-io -r -c 'read -q 0 512' base.qcow2",
    "qemu-io -c 'write -q 0 512' base.qcow2",
    "qemu-io -f raw -c 'write -q 0 512' r.raw",
]
OPENED = [
    {},
    {"read-only": True},
    {"read-only": True, "force-share": True},
    {"force-share": True},
    {"locking": "off"},
    {"filename": "base.qcow2"},
    {"filename": "base.qcow2", "read-only": True},
]


class Files:
    """A folder with images."""

    def __init__(self, qemu: RealQemu, profile: str) -> None:
        self.qemu = qemu
        self.profile = profile
        for line in (
            *(f"qemu-img create -q -f qcow2 {name}.qcow2 1M" for name in ("a", "base")),
            "qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2",
            "qemu-img create -q r.raw 1M",
        ):
            assert self.real(line)[0] == 0

    def real(self, line: str) -> tuple[int, str]:
        """Exit status and output of a real program."""
        argv = self.qemu.installation.wrap(self.qemu.inner, shlex.split(line))
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        return done.returncode, done.stdout

    def ours(self, line: str) -> tuple[int, str]:
        """The same of ours."""
        shell = Shell(HostImageStore(str(self.qemu.outer)), PROFILES[self.profile])
        return shell.run(shlex.split(line))

    def machine(self) -> Machine:
        """One of ours that knows nothing of others."""
        return Machine(self.profile, images=HostImageStore(str(self.qemu.outer)))


@pytest.fixture
def files(installation: Installation) -> Iterator[Files]:
    """Images that nobody uses."""
    profile = ".".join(map(str, installation.version[:2]))
    if profile not in PROFILES:
        pytest.skip(f"no profile for {installation}")
    qemu = RealQemu(installation)
    yield Files(qemu, profile)
    qemu.close()


@contextmanager
def held_by_us(files: Files) -> Iterator[None]:
    """Our machine has them open."""
    machine = files.machine()
    for node in NODES:
        machine.execute("blockdev-add", node)
    yield
    machine.execute("quit", {})


@contextmanager
def held_by_qemu(files: Files) -> Iterator[None]:
    """Real QEMU has them open."""
    files.qemu.step(0, {"start": {"blockdevs": NODES}})
    yield
    files.qemu.step(0, {"quit": True})


def test_programs_say_the_same_of_disks_of_qemu_and_of_ours(files: Files) -> None:
    with held_by_qemu(files):
        expected = {line: files.real(line) for line in LINES}
        found = {line: files.ours(line) for line in LINES}
    assert any("lock" in text for _, text in expected.values())
    assert found == expected
    with held_by_us(files):
        assert {line: files.real(line) for line in LINES} == expected
        assert {line: files.ours(line) for line in LINES} == expected


def _opened(machine: Machine, options: dict[str, Any]) -> str:
    try:
        machine.execute("blockdev-add", _node(options))
    except QmpError as error:
        return error.desc
    machine.execute("blockdev-del", {"node-name": "x"})
    return "opened"


def _node(options: dict[str, Any]) -> dict[str, Any]:
    file = {"driver": "file", "filename": options.get("filename", "a.qcow2")}
    file.update({key: options[key] for key in ("locking",) if key in options})
    of_format = {key: value for key, value in options.items() if key in {"read-only", "force-share"}}
    return {"driver": "qcow2", "node-name": "x", "file": file, **of_format}


def test_a_second_machine_is_refused_as_qemu_is(files: Files) -> None:
    with held_by_us(files):
        files.qemu.step(0, {"start": {}})
        expected = []
        for options in OPENED:
            answer = files.qemu.ask({"execute": "blockdev-add", "arguments": _node(options)})
            expected.append("opened" if "return" in answer else answer["error"]["desc"])
            if "return" in answer:
                files.qemu.ask({"execute": "blockdev-del", "arguments": {"node-name": "x"}})
        files.qemu.step(0, {"quit": True})
        assert [_opened(files.machine(), options) for options in OPENED] == expected, json.dumps(expected)
    with held_by_qemu(files):
        assert [_opened(files.machine(), options) for options in OPENED] == expected
    assert expected[0] == 'Failed to get "write" lock'
    assert _opened(files.machine(), OPENED[0]) == "opened"
