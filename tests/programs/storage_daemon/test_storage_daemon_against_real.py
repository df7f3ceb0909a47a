"""Drawn command lines said to real qemu-storage-daemons and to ours, and what both say of their commands.

``QBITSIM_PROGRAM_LINES`` asks for more of them, for instance 500 for each release.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
from subprocess import PIPE

import pytest
from qemu_process import DAEMON
from real_programs import check_same_end, entered, installations
from schema_comparison import Comparison

from qbitsim.profiles import PROFILES
from qbitsim.programs.storage_daemon.daemon import daemon_registry_for

LINES = int(os.environ.get("QBITSIM_PROGRAM_LINES", "12"))
PROGRAM = "qemu-storage-daemon"
MONITOR = ["--chardev", "stdio,id=m", "--monitor", "m"]

OPTIONS: dict[str, list[str]] = {
    "--blockdev": [
        *("null-co,node-name=n", "null-co", "null-co,node-name=n,size=1k", "null-co,node-name=o,size=4096", "foo"),
        *("raw,node-name=r,file.driver=null-co", "raw,node-name=r,file=n", "raw,node-name=r", "raw,node-name=1"),
        *("null-co,node-name=n,read-only=maybe", "null-co,node-name=n,x.y=1", "null-co,node-name=m,read-only=on"),
        *('{"driver":"null-co","node-name":"j"}', '{"driver":"null-co","node-name":"j","size":"1"}', "null-co,,a"),
        *("help", "", "node-name=n", '{"driver":', "file,node-name=f,filename=/no/such", "throttle,node-name=t,file=n"),
        "throttle,node-name=t,throttle-group=g,file=n",
    ],
    "--object": [
        *("iothread,id=t", "iothread", "throttle-group,id=g", "throttle-group,id=g,x-iops-total=5", "foo,id=f"),
        *("throttle-group,id=g,x-iops-total=x", "throttle-group,id=g,foo=1", "id=t", "iothread,id=1", "help"),
        *("secret,id=t", "secret,id=s,data=a", "memory-backend-ram,id=m", "memory-backend-ram,id=m,size=1M"),
        *("throttle-group,id=g,limits.iops-total=5", "throttle-group,id=g,limits.foo=5", "authz-list,id=a"),
        *("rng-builtin,id=r", "main-loop,id=m", "iothread,id=t,poll-max-ns=x", "iothread,help", "foo,help", ""),
        *('{"qom-type":"iothread","id":"t"}', '{"qom-type":"secret","id":"t"}', '{"qom-type":"rng-builtin","id":"t"}'),
    ],
    "--chardev": [
        *("null,id=c", "null", "foo,id=c", "null,id=c,foo=1", "socket,id=c", "socket,id=c,fd=77", "null,id=1"),
        *(
            "socket,id=c,path=/no/such/s,server=on,wait=off",
            "socket,id=c,path=/no/such/s",
            "file,id=c",
            "null,id=c,server",
        ),
        *("socket,id=c,host=h", "socket,id=c,path=/a,fd=3", "socket,id=c,path=/a,wait=off", "null,id=c,wait=x"),
        *("stdio,id=c", "help", "id=c", "", "null,id=m", "spicevmc,id=c,name=x", "vc,id=c"),
    ],
    "--monitor": [
        *("c", "c,mode=control", "chardev=c,mode=foo", "c,pretty=on", "c,mode=control,pretty=x", "mode=control"),
        *("m", "c,mode=readline", '{"chardev":"c"}', '{"chardev":1}', "c,id=1", "c,id=i", "c,foo=1", "help"),
    ],
    "--nbd-server": [
        *(
            "foo",
            "addr.type=unix",
            "addr.type=unix,addr.path=/no/such/s",
            "addr.type=inet,addr.host=127.0.0.1",
            "addr=x",
        ),
        *("addr.type=inet,addr.host=127.0.0.1,addr.port=0", "addr.type=foo", "addr.path=x", "", "help"),
        *("addr.type=inet,addr.host=127.0.0.1,addr.port=0,max-connections=x", '{"addr":{"type":"unix","path":1}}'),
        *("addr.type=inet,addr.host=127.0.0.1,addr.port=0,tls-creds=c", '{"addr":{"type":"unix","data":{}}}'),
        "addr.type=inet,addr.host=127.0.0.1,addr.port=0,handshake-max-seconds=1",
    ],
    "--export": [
        *("nbd,id=e,node-name=n", "nbd,id=f,node-name=o,name=x", "nbd,id=1,node-name=n", "nbd", "foo,id=e", "id=e"),
        *("nbd,id=e,node-name=m,writable=on", "nbd,id=e,node-name=n,writable=x", "nbd,id=e,node-name=n,bitmap=b"),
        *("nbd,id=e,node-name=n,bitmaps.0=b", '{"type":"nbd","id":"e","node-name":"n"}', '{"type":"nbd"}', "help"),
        *("nbd,id=e,node-name=n,description=d,writable=on", "nbd,id=e,node-name=n,iothread=t"),
    ],
    "--pidfile": ["/no/such/p"],
    "--trace": ["foo=1", "events=x,foo=1"],
    "--foo": [],
    "--he": [],
    "--help": [],
    "--version": [],
    "--version=1": [],
    "-V": [],
    "-h": [],
    "-x": [],
    "--export=nbd": [],
    "foo": [],
}
"""What an option may be given; most of it is right."""

SERVER = ["--nbd-server", "addr.type=inet,addr.host=127.0.0.1,addr.port=0"]
COMMON = ["--blockdev", "--object", "--chardev", "--monitor", "--nbd-server", "--export"]


def drawn(draw: random.Random) -> list[str]:
    """A command line; most of its options are right on their own."""
    argv = list(MONITOR)
    for part in (["--blockdev", "null-co,node-name=n"], SERVER, ["--chardev", "null,id=c"]):
        argv += part if draw.random() < 0.4 else []
    for _ in range(draw.randint(1, 4)):
        name = draw.choice(COMMON if draw.random() < 0.8 else list(OPTIONS))
        argv += [name, draw.choice(OPTIONS[name])] if OPTIONS[name] else [name]
    return argv


REAL = [pytest.param(*each, id=each[0]) for each in installations(PROGRAM)] or [
    pytest.param(
        "", None, marks=pytest.mark.skip(reason=f"no {PROGRAM} on the path (Debian: qemu-system-common)"), id="none"
    )
]


@pytest.mark.parametrize(("release", "root"), REAL)
def test_drawn_command_lines(release: str, root: str | None) -> None:
    draw = random.Random(release)
    for _ in range(LINES):
        check_same_end(root, PROGRAM, DAEMON, release, drawn(draw))


@pytest.mark.parametrize(("release", "root"), REAL)
def test_its_commands_and_events_are_those_of_the_real_one(release: str, root: str | None) -> None:
    # One that quits does not wait until all that it has said is read, so it is told when that is so.
    with subprocess.Popen([*entered(root), PROGRAM, *MONITOR], stdin=PIPE, stdout=PIPE, text=True) as daemon:
        assert daemon.stdin is not None
        assert daemon.stdout is not None
        for name in ("qmp_capabilities", "query-qmp-schema"):
            daemon.stdin.write(json.dumps({"execute": name}))
        daemon.stdin.flush()
        *_, reply = [daemon.stdout.readline() for _ in range(3)]
        daemon.communicate(json.dumps({"execute": "quit"}))
    schema = json.loads(reply)["return"]
    registry = daemon_registry_for(PROFILES[release])
    comparison = Comparison(registry, {entry["name"]: entry for entry in schema})
    offered = {*registry.names(), *registry.events}
    for name in offered:
        comparison.check(name)
    theirs = [entry["name"] for entry in schema if entry["name"] in offered]
    assert [name for name in comparison.ours if name in offered] == theirs
