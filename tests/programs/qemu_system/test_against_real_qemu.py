"""Drawn command lines said to real QEMU and to qbitsim: accepted or refused, with which exit status and words.

``QBITSIM_PROGRAM_LINES`` asks for more of them, for instance 500 for each release. Whoever accepts is told to quit.
"""

from __future__ import annotations

import os
import random

import pytest
from qemu_process import SYSTEM
from real_programs import check_same_end, installations

LINES = int(os.environ.get("QBITSIM_PROGRAM_LINES", "12"))

OPTIONS: dict[str, list[str]] = {
    "-blockdev": [
        *("null-co,node-name=n", "null-co", "null-co,node-name=n,size=1k", "null-co,node-name=n,size=4096", "foo"),
        *("raw,node-name=r,file.driver=null-co", "raw,node-name=r,file=n", "raw,node-name=r", "raw,node-name=1"),
        *("null-co,node-name=n,read-only=maybe", "null-co,node-name=n,x.y=1", "null-co,node-name=m,discard=foo"),
        *('{"driver":"null-co","node-name":"j"}', '{"driver":"null-co","node-name":"j","size":"1"}', "null-co,,a"),
        "driver=quorum,node-name=q,vote-threshold=1,children.0.driver=null-co,children.1.driver=null-co",
    ],
    "-drive": [
        *("if=none,id=d,driver=null-co", "if=none,id=d", "if=none", "if=foo", "if=virtio,driver=null-co", "id=1"),
        *("if=none,id=e,driver=null-co,cache=foo", "if=none,id=e,driver=null-co,media=foo", "if=none,driver=foo"),
        *("if=none,id=n,driver=null-co", "if=none,unit=x", "if=none,index=3,bus=1", "file=/no/such,if=none"),
        *("if=ide,driver=null-co", "if=floppy", "if=ide,index=9", "if=scsi", "if=ide,unit=1", "driver=null-co"),
        *("if=none,detect-zeroes=5", "if=none,discard=on", "if=none,driver=raw,file.driver=file,file.filename=/tmp"),
        *("if=none,id=e,driver=null-co,readonly=on", "if=none,id=e,driver=null-co,werror=foo", "if=none,id=e,foo=1"),
    ],
    "-device": [
        *("foo", "virtio-blk-pci,drive=d", "virtio-blk", "scsi-hd,drive=d", '{"driver":"foo"}', "id=a", "{}"),
        *("virtio-scsi-pci,id=s", "qemu-xhci,id=x", "virtio-balloon-pci,id=b", "virtio-rng-pci", "isa-debugcon,id=1"),
        *("ide-hd,drive=d", "ide-cd,id=c", "floppy", "usb-tablet", "virtio-scsi-pci,foo=1", "virtio-blk-device"),
        *('{"driver":"virtio-balloon-pci","id":"b"}', '{"driver":"virtio-blk-pci","drive":"n","id":"b"}'),
        *('{"driver":"virtio-scsi-pci","id":"1"}', '{"driver":"scsi-cd","id":"c"}', "scsi-cd,bus=s.0", "pci-device"),
        *("virtio-blk,help", "foo,help", "floppy,?", "pci-device,help"),
    ],
    "-object": [
        *("iothread,id=t", "iothread", "throttle-group,id=g", "throttle-group,id=g,x-iops-total=5", "foo,id=f"),
        *("throttle-group,id=g,x-iops-total=x", "throttle-group,id=g,foo=1", "id=t", "iothread,id=1"),
        *("secret,id=t", "secret,id=s,data=a", "memory-backend-ram,id=m", "memory-backend-ram,id=m,size=1M"),
        *("memory-backend-ram,id=m,size=foo", "rng-builtin,id=t", "iothread,id=t,poll-max-ns=x"),
        *("help", "iothread,help", "foo,help", "throttle-group,id=g,?"),
        *('{"qom-type":"iothread","id":"t"}', '{"qom-type":"secret","id":"t"}', '{"qom-type":"rng-builtin","id":"t"}'),
    ],
    "-chardev": [
        *("help", "null,id=c", "null", "foo,id=c", "null,id=c,foo=1", "socket,id=c", "socket,id=c,fd=77", "null,id=1"),
        *(
            "socket,id=c,path=/no/such/s,server=on,wait=off",
            "socket,id=c,path=/no/such/s",
            "file,id=c",
            "null,id=c,server",
        ),
        *("socket,id=c,host=h", "socket,id=c,path=/a,fd=3", "socket,id=c,path=/a,wait=off", "null,id=c,wait=x"),
    ],
    "-mon": ["c,mode=control", "c", "chardev=c,mode=foo", "c,pretty=on", "c,mode=control,pretty=x", "mode=control"],
    "-monitor": ["none", "null", "foo", "unix:/no/such/s,server=on,wait=off", "tcp:foo", "chardev:c"],
    "-name": ["guest", "guest,process=p", "guest=a,debug-threads=on", "a=b", "a,id=b", "a,debug-threads=x"],
    "-uuid": ["00000000-0000-0000-0000-000000000001", "foo"],
    "-m": ["64", "1G", "foo", "1M,foo=1", "size=64k,slots=x"],
    "-add-fd": ["fd=0,set=1", "fd=77,set=1", "set=1,fd=-1", "foo=1"],
    "-rtc": ["base=utc", "foo=1"],
    "-sandbox": ["foo", "on,foo=1"],
    "-global": ["foo", "foo.bar=1", "virtio-blk-pci.scsi=off", "driver=a,property=b", "driver=a,property=b,value=c"],
    "-set": [
        *("foo", "a.b.c=d", "drive.d.read-only=on", "drive.d.foo=1", "device.b.foo=1", "object.t.x=1", "netdev.n.x=1"),
        *("chardev.c.path=p", "chardev.c.foo=1", "drive.d.id=x"),
    ],
    "-loadvm": ["s"],
    "-accel": ["tcg", "foo"],
    "-display": ["none", "foo", "none,foo=1"],
    "-vga": ["none", "foo"],
    "-append": ["x"],
    "-foo": [],
    "-cpu": ["qemu64", "foo", "qemu64,foo=1"],
    "-S": [],
    "-no-user-config": [],
    "-no-shutdown": [],
    "-snapshot": [],
    "-incoming": ["defer"],
    "-smp": ["1", "foo", "1,foo=2"],
    "-qmp": ["foo", "chardev:c", "null"],
}


def drawn(draw: random.Random) -> list[str]:
    """A command line; most of its options are right on their own."""
    argv = ["-M", draw.choice(["none", "none", "none", "pc", "pc", "q35", "foo", "none,foo=1"])]
    argv += ["-nodefaults", "-display", "none", "-qmp", "stdio"]
    for _ in range(draw.randint(1, 4)):
        name = draw.choice(list(OPTIONS))
        argv += [name, draw.choice(OPTIONS[name])] if OPTIONS[name] else [name]
    return argv


PROGRAM = "qemu-system-x86_64"

REAL = [pytest.param(*each, id=each[0]) for each in installations(PROGRAM)] or [
    pytest.param(
        "", None, marks=pytest.mark.skip(reason=f"no {PROGRAM} on the path (Debian: qemu-system-x86)"), id="none"
    )
]


@pytest.mark.parametrize(("release", "root"), REAL)
def test_drawn_command_lines(release: str, root: str | None) -> None:
    draw = random.Random(release)
    for _ in range(LINES):
        check_same_end(root, PROGRAM, SYSTEM, release, drawn(draw))
