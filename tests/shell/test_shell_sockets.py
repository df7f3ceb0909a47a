"""The shell on a server behind a socket: one that may be controlled, one that may not, and none at all."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from qbitsim import Machine
from qbitsim.cli.against import SocketChannel
from qbitsim.cli.serve import Address
from qbitsim.shell import monitor
from qbitsim.shell.monitor import PeerError
from qbitsim.shell.screen import Screen
from qbitsim.shell.shell import Shell

GREETING = (
    b'{"QMP": {"version": {"qemu": {"major": 2, "minor": 4, "micro": 0}, "package": ""}, "capabilities": []}}\r\n'
)


@pytest.fixture
def shell_at(terminal):
    """Make a shell on the server at the path of a socket."""
    shells = []

    def make(path, patience=10.0):
        screen = Screen(terminal, {"TERM": "xterm", "NO_COLOR": "1"})
        shell = Shell(lambda: SocketChannel(Address("unix", str(path))), screen, patience=patience)
        shells.append(shell)
        shell.connect()
        return shell

    yield make
    for shell in shells:
        shell.monitor.close()


@contextmanager
def serving(*, control):
    machine = Machine(control=control)
    machine.add_disk("drive0", "16M", node_name="node0")
    with machine.serve(pacing="manual" if control else "realtime") as server:
        yield server.path


@contextmanager
def answering(path, *replies):
    """A server that greets, and sends the next bytes for each line that it reads; None: it hangs up."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve():
        connection, _ = listener.accept()
        # The shell may hang up while it is still sent something.
        with connection, connection.makefile("rb") as lines, suppress(ConnectionError):
            connection.sendall(replies[0])
            for reply in replies[1:]:
                line = lines.readline()
                if reply is None or not line:
                    return
                mark = json.loads(line)["id"].encode()
                connection.sendall(reply.replace(b"ID", b'"' + mark + b'"'))
            lines.read()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.close()
        thread.join(10)


NEGOTIATED = b'{"return": {}, "id": ID}\r\n'
NO_SCHEMA = b'{"id": ID, "error": {"class": "CommandNotFound", "desc": "not found"}}\r\n'
TWO_COMMANDS = b'{"id": ID, "return": [{"name": "query-commands"}, {"name": "stop"}]}\r\n'


def test_on_a_server_that_may_be_controlled_all_is_as_on_a_machine_of_ones_own(shell_at, say):
    with serving(control=True) as path:
        shell = shell_at(path)
        say(shell, "block-dirty-bitmap-add node=drive0 name=bitmap0", ":write drive0 0 2M")
        say(shell, "drive-backup device=drive0 bitmap=bitmap0 sync=incremental target=t format=qcow2 job-id=job0")
        assert say(shell, ":step", ":show").splitlines() == [
            "1 step, t = 0 s",
            "  drive0              16 MiB",
            "   bitmap0          ████····························  2 MiB dirty, busy",
            "    successor       ································  0 dirty",
            "  job0              ████████████████················  running, 1 MiB of 2 MiB",
            "  due: job0: copy 1048576+1048576",
        ]
        assert say(shell, ":undo 3") == (
            "undone: :step\nundone: drive-backup device=drive0 bitmap=bitmap0 sync=incremental target=t format=qcow2 "
            "job-id=job0\nundone: :write drive0 0 2M\n"
        )
        assert say(shell, ":show").splitlines()[-1].endswith("0 dirty")


def test_on_any_other_server_the_picture_says_how_much_is_dirty(shell_at, say):
    with serving(control=False) as path:
        shell = shell_at(path)
        say(shell, "block-dirty-bitmap-add node=drive0 name=bitmap0", "block-dirty-bitmap-add node=node0 name=b1")
        assert say(shell, ":write drive0 0 2M") == "qemu-io says how it went where the server prints\n"
        assert say(shell, "block-dirty-bitmap-disable node=node0 name=b1", ":show") == (
            "{}\n"
            "  drive0              16 MiB\n"
            "   bitmap0            2 MiB dirty\n"
            "   b1                 2 MiB dirty, not recording\n"
            "  QMP tells how much is dirty, not where\n"
        )


@pytest.mark.parametrize("line", [":step", ":advance 1", ":fault drive0:read:*:EIO", ":undo"])
def test_any_other_server_is_not_asked_for_what_only_control_can_do(shell_at, say, line):
    with serving(control=False) as path:
        name = line.split()[0]
        expected = f"{name} is for a qbitsim that may be controlled: 'qbitsim serve --control'\n"
        assert say(shell_at(path), line) == expected


def test_run_and_wait_follow_a_job_that_goes_on_by_itself(shell_at, say):
    with serving(control=False) as path:
        shell = shell_at(path)
        say(shell, ":write drive0 0 2M", "drive-backup device=drive0 sync=full target=t format=qcow2 job-id=job0")
        say(shell, ":run")
        assert say(shell, "query-jobs") == "[]\n"
        assert say(shell, ":wait BLOCK_JOB_COMPLETED") == ""
        assert say(shell, ":wait BLOCK_JOB_COMPLETED 1") == "GenericError: no BLOCK_JOB_COMPLETED came in 1 seconds\n"


def test_an_old_server_tells_the_names_of_its_commands_only(shell_at, tmp_path):
    with answering(tmp_path / "q", GREETING, NEGOTIATED, NO_SCHEMA, TWO_COMMANDS):
        shell = shell_at(tmp_path / "q")
        assert (shell.schema.has_types, shell.schema.commands) == (False, ["query-commands", "stop"])
        assert [each.text for each in shell.completer.complete("st")] == ["stop"]
        assert shell.completer.complete("stop ") == []
        assert shell.monitor.version == "2.4"
        shell.monitor.close()


@pytest.mark.parametrize(
    ("reply", "shown"),
    [
        (b"", "no reply to stop in 0.3 seconds\n"),
        (None, "the server has hung up, in the middle of stop\n"),
        (b"ouch\n", "that is no QMP: 'ouch', in the middle of stop\n"),
        (b"[1]\n", "that is no QMP: '[1]', in the middle of stop\n"),
        (b'{"event": "STOP"}\n{"return": {}, "id": ID}\n', "event STOP\n{}\n"),
        (b'{"return": {}, "id": ID}\n{"event": "STOP"}\n', "{}\nevent STOP\n"),
        (b'{\n    "return": {\n    },\n    "id": ID\n}\n', "{}\n"),
        (b'{"error": {"class": "GenericError", "desc": "too long"}}\n', "GenericError: too long\n"),
        (b'{"return": "' + b"x" * 5_000_000 + b'", "id": ID}\n', '"' + "x" * 5_000_000 + '"\n'),
    ],
)
def test_whatever_a_server_answers_is_shown(shell_at, say, tmp_path, reply, shown):
    with answering(tmp_path / "q", GREETING, NEGOTIATED, NO_SCHEMA, TWO_COMMANDS, reply):
        shell = shell_at(tmp_path / "q", patience=0.3 if reply == b"" else 10)
        assert say(shell, "stop") == shown
        shell.monitor.close()


def test_a_reply_that_comes_late_is_shown_as_such(shell_at, say, tmp_path):
    late = b'{"return": 1, "id": "shell-4"}\n{"return": 2, "id": ID}\n'
    with answering(tmp_path / "q", GREETING, NEGOTIATED, NO_SCHEMA, TWO_COMMANDS, b"", late):
        shell = shell_at(tmp_path / "q", patience=0.2)
        say(shell, "stop")
        assert say(shell, "cont") == "late reply to stop:\n1\n2\n"
        shell.monitor.close()


@pytest.mark.parametrize(
    ("greeting", "text"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "that is no QMP: 'SSH-2.0-OpenSSH_9.2'"),
        (b'{"hello": 1}\n', "that is no QMP: '{\"hello\": 1}'"),
        (b"x" * 100_000, "that is no QMP: a line without an end"),
        (b"[" * 30_000 + b"\n", f"that is no QMP: {'[' * 60!r}..."),
        (b"", "nobody greets in 0.3 seconds (QEMU talks to one client at a time)"),
    ],
)
def test_what_is_no_qmp_server_is_told_from_one(shell_at, tmp_path, monkeypatch, greeting, text):
    monkeypatch.setattr(monitor, "GREETING_PATIENCE", 0.3)
    with answering(tmp_path / "q", greeting), pytest.raises(PeerError) as refusal:
        shell_at(tmp_path / "q")  # which hangs up, so that the server can end
    assert str(refusal.value) == text


def test_a_server_that_hangs_up_at_once_is_told(shell_at, tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "q"))
        listener.listen()

        def hang_up():
            listener.accept()[0].close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with pytest.raises(PeerError, match="it hangs up at once"):
            shell_at(tmp_path / "q")
        thread.join(10)


def test_a_server_that_is_gone_is_connected_to_again(shell_at, say, tmp_path):
    machine = Machine()
    with machine.serve(tmp_path / "q"):
        shell = shell_at(tmp_path / "q")
    assert say(shell, "query-jobs") == (
        "the server has hung up\nthere is no server any more: No such file or directory\n"
    )
    with machine.serve(tmp_path / "q"):
        assert say(shell, "query-jobs") == "connected again, to QEMU 10.0\n[]\n"
        shell.monitor.close()


def test_a_server_that_was_told_to_quit_ends_the_shell(shell_at, say):
    with serving(control=False) as path:
        shell = shell_at(path)
        said = say(shell, "quit")
        deadline = time.monotonic() + 10
        while not shell.over and time.monotonic() < deadline:
            shell.pump()
        assert shell.over
        assert said.startswith("event SHUTDOWN")


def listens(path):
    """Whether somebody does; the file of a socket is there before. Nobody connects, as QEMU serves one client only."""
    end = os.fsencode(f" {path}\n")
    with open("/proc/net/unix", "rb") as sockets:
        return any(line.endswith(end) and line.split()[3] == b"00010000" for line in sockets)


@pytest.mark.skipif(
    shutil.which("qemu-system-x86_64") is None, reason="no qemu-system-x86_64 on the path (Debian: qemu-system-x86)"
)
def test_real_qemu_is_a_server_like_any_other(shell_at, say, tmp_path):
    path = tmp_path / "q"
    argv = ["qemu-system-x86_64", "-display", "none", "-nodefaults", "-machine", "none", "-S"]
    argv += ["-qmp", f"unix:{path},server=on,wait=off", "-blockdev", "null-co,node-name=node0,size=16777216"]
    process = subprocess.Popen(argv)
    try:
        deadline = time.monotonic() + 20
        while not listens(path) and time.monotonic() < deadline:
            time.sleep(0.02)
        shell = shell_at(path, patience=30)
        assert [each.text for each in shell.completer.complete("block-dirty-bitmap-add nod")] == ["node="]
        assert [each.text for each in shell.completer.complete("block-dirty-bitmap-add node=n")] == ["node0"]
        assert say(shell, "block-dirty-bitmap-add node=node0 name=bitmap0 granularity=64k", ":show") == (
            "{}\n  node0\n   bitmap0            0 dirty\n  QMP tells how much is dirty, not where\n"
        )
        assert say(shell, "block-dirty-bitmap-remove node=node0 name=fish") == (
            "GenericError: Dirty bitmap 'fish' not found\n"
        )
        say(shell, "quit")
        process.wait(20)
        shell.monitor.close()
    finally:
        process.kill()
        process.wait()
