"""``qbitsim record`` and ``qbitsim play --against``, as processes, with qbitsim and with real QEMU behind them."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, contextmanager

import forked
import pytest

from qbitsim.cli.main import main

QEMU = "qemu-system-x86_64"


@pytest.fixture
def stack():
    with ExitStack() as opened:
        yield opened


@contextmanager
def killed_at_last(running):
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def qbitsim(*arguments):
    return killed_at_last(forked.Process(forked.qbitsim, *arguments))


def play(*arguments):
    process = forked.Process(forked.qbitsim, "play", *arguments, text=True)
    out, err = process.communicate(timeout=60)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(10)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rwb")
        self.greeting = self.file.readline()
        self.ask({"execute": "qmp_capabilities"})

    def ask(self, message):
        self.file.write(json.dumps(message).encode())
        self.file.flush()
        while "event" in (reply := json.loads(self.file.readline())):
            pass
        return reply

    def close(self):
        self.file.close()
        self.socket.close()


def wait_for(condition):
    for _ in range(500):
        if condition():
            return
        time.sleep(0.02)
    raise TimeoutError


def serve_qbitsim(stack, path):
    running = stack.enter_context(qbitsim("serve", "--profile", "7.2", "--qmp", f"unix:{path}", "--disk", "drive0=1M"))
    running.stdout.readline()


def serve_qemu(stack, path):
    image = path.with_suffix(".img")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "1M"], check=True)
    argv = [QEMU, "-machine", "none", "-display", "none", "-nodefaults", "-qmp", f"unix:{path},server=on,wait=off"]
    argv += ["-drive", f"id=drive0,if=none,format=qcow2,file={image}"]
    stack.enter_context(killed_at_last(subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)))
    wait_for(path.exists)


SERVERS = {
    "qbitsim": serve_qbitsim,
    "qemu": pytest.param(
        serve_qemu,
        marks=pytest.mark.skipif(
            not shutil.which(QEMU), reason="no qemu-system-x86_64 on the path (Debian: qemu-system-x86)"
        ),
    ),
}


def talk(path):
    """What a client does whose traces must not stay, so that it can be done again."""
    client = Client(path)
    node = {"node": "drive0", "name": "b"}
    client.ask({"execute": "stop"})
    assert client.ask({"execute": "block-dirty-bitmap-add", "arguments": node}) == {"return": {}}
    assert "error" in client.ask({"execute": "block-dirty-bitmap-add", "arguments": node, "id": "again"})
    client.ask({"execute": "query-block"})
    assert client.ask({"execute": "block-dirty-bitmap-remove", "arguments": node}) == {"return": {}}
    client.ask({"execute": "cont"})
    client.close()
    return client.greeting


def record(stack, tmp_path, serve):
    """Record a talk; the scenario's file and the server's path."""
    path, front, file = tmp_path / "qmp", tmp_path / "front", tmp_path / "talk.json"
    serve(stack, path)
    argv = ["record", "--listen", f"unix:{front}", "--connect", f"unix:{path}", "-o", str(file)]
    running = stack.enter_context(qbitsim(*argv))
    assert running.stderr.readline().decode() == f"qbitsim: recording on unix:{front}\n"
    talk(front)
    wait_for(lambda: file.exists() and '"closed"' in file.read_text())
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == 0
    assert not front.exists()
    return file, path


@pytest.mark.parametrize("serve", list(SERVERS.values()), ids=list(SERVERS))
def test_what_was_recorded_is_answered_again_in_the_same_way(stack, tmp_path, serve):
    file, path = record(stack, tmp_path, serve)
    steps = json.loads(file.read_text())["steps"]
    assert [step["qmp"]["execute"] for step in steps if "qmp" in step] == [
        "qmp_capabilities",
        "stop",
        "block-dirty-bitmap-add",
        "block-dirty-bitmap-add",
        "query-block",
        "block-dirty-bitmap-remove",
        "cont",
    ]
    for strict in ([], ["--strict"]):
        result = play("--against", f"unix:{path}", *strict, str(file))
        assert (result.stdout, result.returncode) == (f"{len(steps)} steps, no difference\n", 0)


def test_the_first_difference_is_shown(stack, tmp_path):
    file, path = record(stack, tmp_path, serve_qbitsim)
    client = Client(path)
    client.ask({"execute": "block-dirty-bitmap-add", "arguments": {"node": "drive0", "name": "b"}})
    client.close()
    result = play("--against", f"unix:{path}", str(file))
    assert result.returncode == 1
    head, was, now = result.stdout.splitlines()
    assert "block-dirty-bitmap-add" in head
    assert '"return": {}' in was
    assert "Bitmap already exists: b" in now


def test_clients_after_each_other_are_recorded_each_for_itself(stack, tmp_path):
    path, front = tmp_path / "qmp", tmp_path / "front"
    serve_qbitsim(stack, path)
    running = stack.enter_context(qbitsim("record", "--listen", f"unix:{front}", "--connect", f"unix:{path}"))
    running.stderr.readline()
    for _ in range(2):
        client = Client(front)
        client.ask({"execute": "query-name"})
        client.close()
    running.send_signal(signal.SIGINT)
    scenario = json.loads(running.communicate()[0])
    assert running.returncode == 0
    assert [record.get("monitor") for record in scenario["records"] if record["type"] == "closed"] == [None, 1]
    file = tmp_path / "two.json"
    file.write_text(json.dumps(scenario))
    assert play("--against", f"unix:{path}", str(file)).returncode == 0


def test_a_client_that_ends_its_side_is_recorded_with_all_replies(stack, tmp_path):
    path, front = tmp_path / "qmp", tmp_path / "front"
    serve_qbitsim(stack, path)
    running = stack.enter_context(qbitsim("record", "--listen", f"unix:{front}", "--connect", f"unix:{path}"))
    running.stderr.readline()
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(front))
        client.sendall(b'{"execute": "qmp_capabilities"}{"execute": "query-name"}')
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as file:
            assert len(file.read().splitlines()) == 3
    running.send_signal(signal.SIGINT)
    scenario = json.loads(running.communicate()[0])
    assert [record["type"] for record in scenario["records"]] == ["greeting", "reply", "reply", "closed"]
    assert scenario["records"][-1]["by"] == "client"


# -- bad input


@pytest.fixture
def refused(capsys):
    """Why arguments are refused."""

    def run(*arguments):
        assert main(arguments) == 2
        [line] = capsys.readouterr().err.splitlines()
        return line.removeprefix("qbitsim: ")

    return run


def test_addresses_that_are_none_are_refused(refused, tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    listen = f"unix:{tmp_path / 'front'}"
    assert refused("record", "--listen", "stdio", "--connect", listen).startswith("--listen 'stdio': write unix:PATH")
    missing = f"unix:{tmp_path / 'none'}"
    connect = ("record", "--listen", listen, "--connect")
    assert refused(*connect, missing) == f"--connect {missing}: No such file or directory"
    assert refused(*connect, f"unix:{file}").endswith(": it is not a socket")
    assert refused(*connect, listen) == "--listen and --connect are the same address"
    output = str(tmp_path / "no" / "file")
    assert refused(*connect, "tcp:127.0.0.1:1", "-o", output).endswith("cannot write there")


def test_a_server_that_is_not_there_is_named(refused, stack, tmp_path):
    file, _ = record(stack, tmp_path, serve_qbitsim)
    missing = f"unix:{tmp_path / 'none'}"
    assert refused("play", "--against", missing, str(file)) == f"--against {missing}: No such file or directory"


def test_scenarios_that_cannot_be_replayed_are_named(refused, stack, tmp_path):
    file, path = record(stack, tmp_path, serve_qbitsim)
    text = file.read_text()
    against = ("play", "--against", f"unix:{path}", str(file))
    file.write_text(text[: len(text) // 2])
    assert refused(*against).startswith(f"{file}:")
    file.write_text(text)
    cut = tmp_path / "cut"
    cut.write_text(text[: len(text) // 2])
    assert (
        refused(*against[:-1], str(cut))
        == f"{cut}: it is no scenario in JSON, which --against takes, or it ends in the middle"
    )
    assert refused(*against, "--patience", "0") == "--patience 0.0: it must be more than 0 seconds"
    scenario = json.loads(text)
    file.write_text(json.dumps({**scenario, "format": 99}))
    assert refused(*against) == f"{file}: it has format 99, and this qbitsim knows formats up to 1"
    file.write_text(json.dumps({**scenario, "records": scenario["records"][:-1]}))
    assert "ends in the middle" in refused(*against)
    file.write_text(json.dumps(scenario))
    assert "no machine to be set up" in refused(*against, "--disk", "d=1M")
