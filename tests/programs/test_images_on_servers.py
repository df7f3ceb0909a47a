"""qemu-img and qemu-io as clients of a real qemu-nbd, against the real ones: both streams and exit status."""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import forked
import pytest
from program_duel import Real, installations
from real_qemu import temporary

URI = "nbd+unix:///e0?socket=s.sock"
PLACE = "server.type=unix,server.path=s.sock,export=e0"
LINES = (
    f"qemu-img info {URI}",
    f"qemu-img info --output=json {URI}",
    f"qemu-img info -f raw {URI}",
    f"qemu-img info --image-opts driver=nbd,{PLACE}",
    f"qemu-img info --output=json --image-opts driver=nbd,{PLACE}",
    "qemu-img info --image-opts driver=raw,file.driver=nbd,file.path=s.sock,file.export=e0",
    "qemu-img info --image-opts driver=nbd,export=e0",
    "qemu-img info --image-opts driver=nbd,path=s.sock,host=h,export=e0",
    "qemu-img info --image-opts driver=nbd,path=s.sock,export=e0,foo=1",
    'qemu-img info json:{"driver":"nbd","server":{"type":"unix","path":"s.sock"},"export":"e0"}',
    "qemu-img info nbd:unix:s.sock:exportname=e0",
    "qemu-img info nbd:unix:none.sock:exportname=e0",
    "qemu-img info nbd:localhost",
    "qemu-img info nbd:///x",
    "qemu-img info nbd+unix:///zz?socket=s.sock",
    f"qemu-img map {URI}",
    f"qemu-img map --output=json {URI}",
    f"qemu-img map --output=json --image-opts driver=nbd,{PLACE},x-dirty-bitmap=qemu:dirty-bitmap:b",
    f"qemu-img map --image-opts driver=nbd,{PLACE},x-dirty-bitmap=qemu:dirty-bitmap:b",
    f"qemu-img map --image-opts driver=nbd,{PLACE},x-dirty-bitmap=qemu:dirty-bitmap:no",
    f"qemu-img convert -f raw -O raw {URI} o.raw",
    f"qemu-img compare -f raw -F raw {URI} o.raw",
    f"qemu-img convert -f raw -O qcow2 {URI} o.qcow2",
    f"qemu-img convert -n -f qcow2 -O raw o.qcow2 {URI}",
    f"qemu-img convert -f qcow2 -O raw o.qcow2 {URI}",
    f"qemu-img compare -s -f raw -F raw {URI} {URI}",
    f"qemu-img create -f qcow2 -b {URI} -F raw ov.qcow2",
    "qemu-img info --backing-chain ov.qcow2",
    "qemu-img map --output=json ov.qcow2",
    "qemu-io -f qcow2 -c|write -q -P 5 0 64k|ov.qcow2",
    "qemu-img commit -f qcow2 ov.qcow2",
    f"qemu-img create -f raw {URI} 512k",
    f"qemu-img create -f raw {URI} 2M",
    f"qemu-img create -f raw -o preallocation=full {URI} 512k",
    "qemu-img create -f raw nbd:unix:none.sock:exportname=e0 1M",
    "qemu-img create -f qcow2 nbd+unix:///zz?socket=s.sock 1M",
    "qemu-img create nbd: 1M",
    "qemu-img create nbd:frob 1M",
    f"qemu-img create -f qcow2 -o preallocation=metadata {URI} 512k",
    f"qemu-img create -f qcow2 {URI} 512k",
    f"qemu-img info {URI}",
    f"qemu-img bitmap --add -f qcow2 {URI} bb",
    f"qemu-img info -f qcow2 {URI}",
    f"qemu-img check {URI}",
    f"qemu-io -f qcow2 -c|write -P 7 0 100k|-c|read -P 7 0 100k|{URI}",
    f"qemu-img check {URI}",
    f"qemu-img resize -f raw {URI} 2M",
    f"qemu-img dd -f raw -O raw if={URI} of=dd.raw bs=64k count=2",
    f"qemu-img dd -f raw -O raw if=dd.raw of={URI} bs=64k",
    f"qemu-io -f raw -c|read 0 64k|-c|map|-c|info|-c|length|{URI}",
    f"qemu-io -c info --image-opts driver=nbd,{PLACE}",
    "qemu-io -c info nbd+unix:///zz?socket=s.sock",
    f"qemu-io -r -c|write 0 512|{URI}",
)

NEEDS_SERVER = pytest.mark.skipif(
    shutil.which("qemu-nbd") is None, reason="no qemu-nbd on the path (Debian: qemu-utils)"
)
REAL = [pytest.param(each, id=each.release, marks=NEEDS_SERVER) for each in installations()] or [
    pytest.param(
        None, marks=pytest.mark.skip(reason="no qemu-img and qemu-io on the path (Debian: qemu-utils)"), id="none"
    )
]


@contextmanager
def server(folder: Path) -> Iterator[None]:
    """A real qemu-nbd that serves a disk with a bitmap at ``s.sock`` of the folder."""
    disk = "disk.qcow2"
    for line in (
        f"qemu-img create -q -f qcow2 {disk} 1M",
        f"qemu-img bitmap --add -g 64k {disk} b",
        f"qemu-io -f qcow2 -c|write -q -P 1 256k 64k|-c|write -q -z 512k 64k|{disk}",
        f"qemu-nbd --fork --pid-file pid -k {folder}/s.sock -x e0 -B b -e 9 -t -f qcow2 {disk}",
    ):
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        subprocess.run(words(line), check=True, cwd=folder, **streams)
    try:
        yield
    finally:
        pid = int((folder / "pid").read_text())
        ended = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        assert select.select([ended], [], [], 30)[0]  # it has removed its files
        os.close(ended)


def words(line: str) -> list[str]:
    """A command line: words between spaces, and between bars."""
    return [word for number, part in enumerate(line.split("|")) for word in ([part] if number % 2 else part.split())]


def run_real(argv: list[str]) -> tuple[int, bytes]:
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60
    )
    return done.returncode, done.stdout


def outcome(status: int, output: bytes) -> tuple[int, str]:
    """Exit status and all output of a command, without what depends on the time."""
    return status, re.sub(r"\d\d\.\d\d sec \(.*\)", "TIME", output.decode())


@pytest.mark.parametrize("real", REAL)
def test_images_on_servers(real: Real) -> None:
    """Every line leaves the export as it finds it for the next one, in both worlds."""
    told = []
    for is_real in (True, False):
        base = Path(tempfile.mkdtemp(prefix="nbd-", dir=temporary(real.root)))
        try:
            with server(base):
                run = []
                for argv in map(words, LINES):
                    if is_real:
                        run.append(outcome(*run_real(real.wrap(base, argv))))
                    else:
                        run.append(outcome(*forked.run(argv[0], real.release, *argv[1:], cwd=base, together=True)[:2]))
                told.append(run)
        finally:
            shutil.rmtree(base)
    for line, theirs, ours in zip(LINES, *told, strict=True):
        assert ours == theirs, line
