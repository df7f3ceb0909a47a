"""qemu-storage-daemon as a process: what it refuses, its monitor, its exports, its end; said to 7.2, 10.0 and 11.1."""

from __future__ import annotations

import shlex
import signal
import time
from pathlib import Path

import forked
import pytest
from qemu_process import DAEMON, NAMES, PATIENCE, Qmp, connected, run

from qbitsim.profiles import PROFILES
from qbitsim.programs.storage_daemon.main import main

RELEASE = "10.0"
NODE = ["--blockdev", "null-co,node-name=n,size=1048576"]

REFUSED = [
    ("--foo", "unrecognized option '--foo'"),
    ("-x", "invalid option -- 'x'"),
    ("--blockdev", "option '--blockdev' requires an argument"),
    ("--daemonize=1", "option '--daemonize' doesn't allow an argument"),
    ("foo", "foo: Unexpected argument"),
    ("--block null-co", "--block null-co: 'node-name' must be specified for the root node"),
    ("--blockdev help", "--blockdev help: Help is not available for this option"),
    ("--blockdev null-co,node-name=1", "--blockdev null-co,node-name=1: Invalid node-name: '1'"),
    ("--chardev null", "--chardev null: chardev: no id specified"),
    (
        "--chardev null,id=m --chardev null,id=m",
        "--chardev null,id=m: attempt to add duplicate property 'm' to object (type 'container')",
    ),
    ("--monitor m", '--monitor m: chardev "m" not found'),
    ("--monitor mode=control", "--monitor mode=control: Parameter 'chardev' is missing"),
    ("--nbd-server foo", "--nbd-server foo: Expected '=' after parameter 'foo'"),
    ("--nbd-server addr.type=unix", "--nbd-server addr.type=unix: Parameter 'addr.path' is missing"),
    (
        "--nbd-server addr.type=unix,addr.path=/nope/x",
        "--nbd-server addr.type=unix,addr.path=/nope/x: Failed to bind socket to /nope/x: No such file or directory",
    ),
    ("--export nbd,id=e,node-name=n", "--export nbd,id=e,node-name=n: Cannot find device='' nor node-name='n'"),
    ("--export foo", "--export foo: Parameter 'type' does not accept value 'foo'"),
    ("--object iothread", "--object iothread: Parameter 'id' is missing"),
    (
        "--object memory-backend-ram,id=m,size=1M",
        "--object memory-backend-ram,id=m,size=1M: invalid object type: memory-backend-ram",
    ),
    ("--object rng-builtin,id=r", "--object rng-builtin,id=r: invalid object type: rng-builtin"),
    ("--trace foo=1", "--trace foo=1: Invalid parameter 'foo'"),
]


@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
@pytest.mark.parametrize(("words", "text"), REFUSED)
def test_what_is_refused(words: str, text: str, release: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(words), PROFILES[release]) == 1
    assert capsys.readouterr() == ("", f"qemu-storage-daemon: {text}\n")


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ("--export fuse,id=e,node-name=n,mountpoint=/m", "exports of type 'fuse'"),
        (
            "--export vhost-user-blk,id=e,node-name=n,addr.type=unix,addr.path=/s",
            "exports of type 'vhost-user-blk'",
        ),
        ("--object tls-creds-anon,id=t", "objects of type 'tls-creds-anon'"),
        ("--nbd-server addr.type=fd,addr.str=7", "an NBD server on an inherited descriptor"),
        ("--trace help", "the list of events that can be traced"),
    ],
)
def test_what_matters_and_is_not_emulated_is_refused_by_name(
    words: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(words), PROFILES[RELEASE]) == 1
    assert capsys.readouterr() == ("", f"qemu-storage-daemon: {words}: qbitsim does not emulate {what}\n")


@pytest.mark.parametrize(
    ("words", "begins"),
    [
        ("--version foo", "qemu-storage-daemon version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)\nCopyright (c) 2003-"),
        ("--blockdev foo --help", "Usage: qemu-storage-daemon [options]\nQEMU storage daemon\n"),
        ("--chardev help", "Available chardev backend types: \n  pty\n"),
        ("--object help", "List of user creatable objects:\n  authz-list\n"),
        ("--object iothread,help", "iothread options:\n  aio-max-batch=<int>\n"),
    ],
)
def test_help(words: str, begins: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(words), PROFILES[RELEASE]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(begins)
    assert err == ""


def test_it_has_no_guest_and_none_of_its_commands(tmp_path: Path) -> None:
    with Daemon(tmp_path, *NODE) as qmp:
        names = [each["name"] for each in qmp("query-commands")["return"]]
        assert names[:3] == ["object-del", "object-add", "qom-list-properties"]
        assert not {"query-status", "human-monitor-command", "device_add"} & set(names)
        for name in ("query-status", "device_add", "screendump"):
            assert qmp(name)["error"]["desc"] == f"The command {name} has not been found"
        refused = qmp("object-add", qom_type="memory-backend-ram", id="m", size=4096)
        assert refused["error"]["desc"] == "invalid object type: memory-backend-ram"


def test_a_job_is_cancelled_at_the_end_and_nobody_says_shutdown(tmp_path: Path) -> None:
    target = ["--blockdev", "null-co,node-name=t,size=1048576"]
    with Daemon(tmp_path, *NODE, *target) as qmp:
        qmp("blockdev-mirror", job_id="j", device="n", target="t", sync="full", speed=4096)
        qmp.events.clear()
        qmp("quit")
        ended = ["JOB_STATUS_CHANGE", "BLOCK_JOB_CANCELLED", "JOB_STATUS_CHANGE", "JOB_STATUS_CHANGE"]
        assert qmp.events[-4:] == ended
        assert "SHUTDOWN" not in qmp.events


def test_clients_of_an_export_are_greeted(tmp_path: Path) -> None:
    path = tmp_path / "nbd.sock"
    server = ["--nbd-server", f"addr.type=unix,addr.path={path}", "--export", "nbd,id=e,node-name=n"]
    with Daemon(tmp_path, *NODE, *server) as qmp:
        with connected(path) as client:
            assert client.recv(8) == b"NBDMAGIC"
        exported = {"id": "e", "type": "nbd", "node-name": "n", "shutting-down": False}
        assert qmp("query-block-exports") == {"return": [exported]}
        qmp("quit")
        assert qmp.events == ["BLOCK_EXPORT_DELETED"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_without_a_word(number: int, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with Daemon(tmp_path, *NODE, "--pidfile", str(pid_file)) as qmp:
        assert int(pid_file.read_text()) == qmp.process.pid
        qmp.process.send_signal(number)
        assert qmp.rest() == []
    assert not pid_file.exists()


def test_it_starts_in_the_background_when_all_is_ready(tmp_path: Path) -> None:
    path, pid_file = tmp_path / "q.sock", tmp_path / "pid"
    monitor = ["--chardev", f"socket,id=m,path={path},server=on,wait=off", "--monitor", "m,pretty=on"]
    started = run(RELEASE, "--daemonize", "--pidfile", str(pid_file), *monitor, program=DAEMON)
    assert started == (0, "", "")
    assert int(pid_file.read_text()) > 0
    with connected(path) as client:
        assert client.recv(1000).startswith(b'{\r\n    "QMP": {')
        client.sendall(b'{"execute": "qmp_capabilities"}{"execute": "quit"}')
        while client.recv(1000):
            pass
    deadline = time.monotonic() + PATIENCE
    while pid_file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not pid_file.exists()


def test_what_is_refused_of_the_process(tmp_path: Path) -> None:
    refused = run(RELEASE, "--pidfile", "/nope/x", program=DAEMON)
    text = "cannot create PID file: Could not create '/nope/x': No such file or directory"
    assert refused == (1, "", f"qemu-storage-daemon: {text}\n")
    refused = run(RELEASE, "--daemonize", "--chardev", "stdio,id=m", program=DAEMON)
    text = "qemu-storage-daemon: --chardev stdio,id=m: cannot use stdio with -daemonize\n"
    assert refused == (1, "", text)


def test_an_image_made_by_a_command_is_announced(tmp_path: Path) -> None:
    base, made = tmp_path / "base", tmp_path / "made"
    base.write_bytes(bytes(1 << 20))
    with Daemon(tmp_path, "--blockdev", f"file,node-name=n,filename={base}") as qmp:
        assert qmp("drive-backup", job_id="j", device="n", target=str(made), sync="full", format="raw")
        qmp("quit")
        assert qmp.process.stdout is not None
        printed = qmp.process.stdout.read().decode()
    assert printed == f"Formatting '{made}', fmt=raw size=1048576\n"


class Daemon:
    """A daemon with a monitor, which is ended at last and says nothing on standard error."""

    def __init__(self, folder: Path, *argv: str) -> None:
        path = folder / "qmp.sock"
        monitor = ["--chardev", f"socket,id=m,path={path},server=on,wait=off", "--monitor", "m"]
        self.process = forked.Process(forked.program, NAMES[DAEMON], RELEASE, *argv, *monitor)
        self.path = path

    def __enter__(self) -> DaemonMonitor:
        self.monitor = DaemonMonitor(self.process, self.path)
        return self.monitor

    def __exit__(self, *_: object) -> None:
        self.monitor.close()
        self.process.terminate()
        assert self.process.stderr is not None
        assert (self.process.wait(PATIENCE), self.process.stderr.read()) == (0, b"")
        for stream in (self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


class DaemonMonitor(Qmp):
    """Its client.

    :ivar process: the daemon.
    """

    def __init__(self, process: forked.Process, path: Path) -> None:
        super().__init__(connected(path))
        self.process = process
