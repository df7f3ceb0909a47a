"""``qbitsim serve`` as other processes see it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import forked
import pytest


@contextmanager
def serving(*arguments: str, **options: Any) -> Iterator[forked.Process]:
    process = forked.Process(forked.qbitsim, "serve", *arguments, **options)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ready(process: forked.Process) -> str:
    """The address in the line that says that it listens."""
    assert process.stdout is not None
    line = process.stdout.readline().decode()
    assert line.startswith("qbitsim: QMP ready on ")
    return line.removeprefix("qbitsim: QMP ready on ").rstrip("\n")


class Client:
    """A client that waits for what it reads."""

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(10)
        self.connection = connection
        self.file: IO[bytes] = connection.makefile("rwb")
        self.greeting = self.read()
        assert self.command("qmp_capabilities") == {"return": {}}

    def read(self) -> Any:
        return json.loads(self.file.readline())

    def send(self, name: str, **arguments: Any) -> None:
        self.file.write(json.dumps({"execute": name, "arguments": arguments}).encode())
        self.file.flush()

    def command(self, name: str, **arguments: Any) -> Any:
        """The reply; events before it are dropped."""
        self.send(name, **arguments)
        return next(message for message in iter(self.read, None) if "event" not in message)

    def event(self, name: str) -> Any:
        """The data of the next event of that name."""
        return next(message for message in iter(self.read, None) if message.get("event") == name).get("data")

    def close(self) -> None:
        self.file.close()
        self.connection.close()


def unix_client(path: str | Path) -> Client:
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    return Client(connection)


def test_two_addresses_serve_one_machine_until_quit(tmp_path):
    path = tmp_path / "qmp"
    arguments = ["--qmp", f"unix:{path}", "--qmp", "tcp:127.0.0.1:0", "--disk", "drive0=1M", "--image", "t=1M"]
    with serving(*arguments, "--profile", "7.2") as process:
        assert ready(process) == f"unix:{path}"
        kind, host, port = ready(process).split(":")
        assert (kind, host) == ("tcp", "127.0.0.1")
        one, other = unix_client(path), Client(socket.create_connection((host, int(port))))
        assert one.greeting["QMP"]["version"]["qemu"] == {"micro": 22, "minor": 2, "major": 7}
        line = 'qemu-io drive0 "write -q -P 0x41 0 64k"'
        assert one.command("human-monitor-command", **{"command-line": line}) == {"return": ""}
        assert one.command(
            "drive-backup", device="drive0", target="t", sync="full", mode="existing", format="qcow2"
        ) == {"return": {}}
        assert other.event("BLOCK_JOB_COMPLETED") == {
            "device": "drive0",
            "len": 1 << 20,
            "offset": 1 << 20,
            "speed": 0,
            "type": "backup",
        }
        assert other.command("quit") == {"return": {}}
        assert one.event("SHUTDOWN") == {"guest": False, "reason": "host-qmp-quit"}
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out, err, path.exists()) == (0, b"", b"", False)
        one.close()
        other.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_clients_hear_of_it(number, tmp_path):
    path = tmp_path / "qmp"
    with serving("--qmp", f"unix:{path}", "-S", "--disk", "drive0=1M") as process:
        ready(process)
        client = unix_client(path)
        assert client.command("query-status")["return"]["status"] == "prelaunch"
        process.send_signal(number)
        assert client.event("SHUTDOWN") == {"guest": False, "reason": "host-signal"}
        assert client.file.read() == b""
        client.close()
        assert process.communicate(timeout=10) == (b"", b"")
        assert (process.returncode, path.exists()) == (0, False)


def test_failures_are_caused_and_a_job_with_a_speed_limit_advances_by_itself(tmp_path):
    path = tmp_path / "qmp"
    arguments = ["--disk", "drive0=1M", "--fail", "drive0:read:64k+1:EIO:once", "--capacity", "small=64k"]
    with serving("--qmp", f"unix:{path}", *arguments) as process:
        ready(process)
        client = unix_client(path)
        line = 'qemu-io drive0 "write -q 0 128k"'
        client.command("human-monitor-command", **{"command-line": line})
        backup = {"device": "drive0", "sync": "full", "format": "qcow2"}
        for target, error in (("t", "Input/output error"), ("small", "No space left on device"), ("t", None)):
            client.command("drive-backup", **backup, target=target, speed=1 << 20)
            assert client.event("BLOCK_JOB_COMPLETED").get("error") == error
        client.close()


def test_a_monitor_on_standard_input_and_output(tmp_path):
    messages = (
        '{"execute": "qmp_capabilities"} {"execute": "human-monitor-command", "arguments": '
        '{"command-line": "qemu-io d \\"read -q -P 1 0 512\\""}, "id": 1} {"execute": "quit"}'
    )
    with serving("--qmp", "stdio", "--disk", "d=1M", stdin=subprocess.PIPE) as process:
        out, err = process.communicate(messages.encode(), timeout=10)
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line.get("event", line) for line in lines[1:]] == [
        {"return": {}},
        {"return": "", "id": 1},
        "SHUTDOWN",
        {"return": {}},
    ]
    assert "QMP" in lines[0]
    assert process.returncode == 0
    assert err.decode().splitlines() == [
        "qbitsim: QMP ready on stdio",
        "Pattern verification failed at offset 0, 512 bytes",
    ]


@pytest.mark.parametrize("kind", ["--qmp", "--web"])
def test_nothing_is_said_to_be_ready_before_all_is(tmp_path, kind):
    history = tmp_path / "history"
    history.write_text("kept\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        second = f"tcp:{place}" if kind == "--qmp" else place
        arguments = ["--qmp", f"unix:{tmp_path / 'q'}", kind, second, "--qmp", "stdio", "--history", str(history)]
        with serving(*arguments, stdin=subprocess.PIPE) as process:
            out, err = process.communicate(b'{"execute": "qmp_capabilities"}', timeout=10)
    assert (process.returncode, out) == (2, b"")
    assert err.startswith(f"qbitsim: cannot listen on {place}: ".encode())
    assert err.endswith(b"ddress already in use\n")
    assert not (tmp_path / "q").exists()
    assert history.read_text() == "kept\n"


def test_it_starts_over_the_socket_of_a_server_that_was_killed(tmp_path):
    path = tmp_path / "qmp"
    with serving("--qmp", f"unix:{path}") as process:
        ready(process)
    assert path.exists()
    with serving("--qmp", f"unix:{path}") as process:
        ready(process)
        unix_client(path).close()
        os.kill(process.pid, signal.SIGTERM)
        assert process.wait(timeout=10) == 0


def test_only_serve_imports_asyncio():
    code = (
        "import sys; from qbitsim.cli.main import main; main(['demo', '--width', '80']); "
        "print([name for name in ('asyncio', 'qbitsim.serving.server', 'socket') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20)
    assert done.stdout.splitlines()[-1] == "[]"
