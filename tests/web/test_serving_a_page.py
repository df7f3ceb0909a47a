"""``qbitsim serve --web`` as a process."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import forked
import pytest

from qbitsim.cli.main import main
from qbitsim.history.file import loads


@contextmanager
def serving(*arguments):
    process = forked.Process(forked.qbitsim, "serve", *arguments, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def url_of(process):
    line = process.stdout.readline()
    assert line.startswith("qbitsim: page ready on http://")
    return line.removeprefix("qbitsim: page ready on ").rstrip("\n")


@pytest.fixture
def fails(capsys):
    """Begins a server that cannot begin, and returns its exit status and what it says; standard output says nothing."""

    def begin(*arguments):
        status = main(["serve", *arguments])
        out, told = capsys.readouterr()
        assert out == ""
        return status, told

    return begin


def post(url, name, **arguments):
    home, _, token = url.partition("#token=")
    request = urllib.request.Request(
        home + "command",
        json.dumps({"execute": name, "arguments": arguments}).encode(),
        {"Authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def test_the_page_may_be_the_only_address_and_its_line_has_the_token():
    with serving("--web", "127.0.0.1:0", "--control", "--disk", "drive0=1M") as process:
        url = url_of(process)
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/#token=[\w-]{32}", url)
        assert post(url, "query-status")["return"]["running"]
        assert post(url, "quit") == {"return": {}}
        out, err = process.communicate(timeout=10)
        assert (process.returncode, out, err) == (0, "", "")


def test_without_control_there_is_no_token():
    with serving("--web", "127.0.0.1:0") as process:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url_of(process))


def test_a_page_beside_a_monitor(tmp_path):
    path = tmp_path / "qmp"
    with serving("--qmp", f"unix:{path}", "--web", "127.0.0.1:0", "--control") as process:
        assert process.stdout.readline() == f"qbitsim: QMP ready on unix:{path}\n"
        url = url_of(process)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b'{"execute": "qmp_capabilities"} {"execute": "query-status"}')
            with client.makefile() as lines:
                assert [list(json.loads(lines.readline())) for _ in range(3)] == [["QMP"], ["return"], ["return"]]
        with urllib.request.urlopen(url.partition("#")[0] + "history", timeout=10) as answer:
            told = [(moment.get("who"), moment["text"]) for moment in json.load(answer)["moments"]]
        assert told[1] == ("monitor 1", "qmp_capabilities")
        assert told[3] == ("monitor 1", "query-status")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_though_somebody_looks(number):
    with serving("--web", "127.0.0.1:0") as process:
        url = url_of(process)
        with urllib.request.urlopen(url + "history", timeout=10) as answer:
            cursor = answer.headers["Qbitsim-Cursor"]
        with urllib.request.urlopen(f"{url}feed?from={cursor}", timeout=10) as feed:
            process.send_signal(number)
            told = feed.read().decode()
        assert '"text": "SHUTDOWN"' in told
        assert "event: end" in told
        assert process.communicate(timeout=10) == ("", "")
        assert process.returncode == 0


def test_a_host_in_brackets():
    with serving("--web", "[::1]:0") as process:
        url = url_of(process)
        assert url.startswith("http://[::1]:")
        with urllib.request.urlopen(url + "history", timeout=10) as answer:
            assert json.load(answer)["kind"] == "qbitsim-history"


def test_whoever_lets_others_look_is_warned():
    with serving("--web", "0.0.0.0:0") as process:
        url_of(process)
        process.send_signal(signal.SIGTERM)
        warning = "qbitsim: warning: others can look at the page, on whatever network reaches it\n"
        assert process.communicate(timeout=10)[1] == warning


def test_a_port_in_use_is_told_in_one_line(fails):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert fails("--web", f"127.0.0.1:{port}") == (
            2,
            f"qbitsim: cannot listen on 127.0.0.1:{port}: Address already in use\n",
        )


@pytest.mark.parametrize("address", ["8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", ":-1"])
def test_an_address_that_is_none_is_told_in_one_line(fails, address):
    assert fails("--web", address) == (
        2,
        f"qbitsim: --web {address!r}: write HOST:PORT, such as 127.0.0.1:8080; port 0 is any that is free\n",
    )


@pytest.mark.parametrize("host", ["nowhere.invalid", "a" * 70, "..", "192.0.2.1"])
def test_a_host_that_is_not_ours_is_told_in_one_line(fails, host):
    status, told = fails("--web", f"{host}:0")
    assert (status, told.count("\n")) == (2, 1)
    assert told.startswith(f"qbitsim: cannot listen on {host}:0: ")


def test_without_the_extra_it_says_how_to_get_it_before_it_listens(tmp_path):
    code = (
        "import importlib.util, sys; from qbitsim.cli.main import main; found = importlib.util.find_spec; "
        "import qbitsim.cli.serve as serve; serve.find_spec = lambda name: None if name == 'aiohttp' else found(name); "
        f"sys.exit(main(['serve', '--web', '127.0.0.1:0', '--qmp', 'unix:{tmp_path}/qmp']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "qbitsim: --web needs the extra 'web': pip install 'qbitsim[web]'\n"
    assert list(tmp_path.iterdir()) == []


LEAVE = """
import socket, sys, threading, time
from qbitsim.cli.main import main

def leave(path):
    with socket.socket(socket.AF_UNIX) as client:
        while client.connect_ex(path):
            time.sleep(0.01)
        client.sendall(b'{"execute": "qmp_capabilities"} {"execute": "quit"}')
        while client.recv(4096):
            pass

threading.Thread(target=leave, args=(sys.argv[1],)).start()
main(["serve", "--qmp", f"unix:{sys.argv[1]}"])
print("aiohttp" in sys.modules)
"""


def test_serving_without_a_page_does_not_load_the_extra(tmp_path):
    argv = [sys.executable, "-c", LEAVE, str(tmp_path / "qmp")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=True)
    assert done.stdout.splitlines()[-1] == "False"


def test_the_history_is_written_at_the_end(tmp_path):
    file = tmp_path / "run.jsonl"
    with serving("--web", "127.0.0.1:0", "--control", "--disk", "drive0=1M", "--history", str(file)) as process:
        url = url_of(process)
        post(url, "x-qbitsim-write", drive="drive0", offset=0, length=512)
        post(url, "quit")
        assert process.wait(timeout=10) == 0
    told = [moment["text"] for moment in loads(file.read_text())["moments"]]
    assert "the guest writes 512 bytes at 0 of drive0" in told
    assert "SHUTDOWN" in told


def test_the_history_is_written_without_a_page_too(tmp_path):
    file, path = tmp_path / "run.jsonl", tmp_path / "qmp"
    file.write_text("old")
    with serving("--qmp", f"unix:{path}", "--history", str(file)) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=10) == ("", "")
    assert [moment["text"] for moment in loads(file.read_text())["moments"]] == ["QEMU 10.0 with no drives", "SHUTDOWN"]


def test_a_server_that_cannot_begin_leaves_an_old_history_alone(fails, tmp_path):
    file = tmp_path / "run.jsonl"
    file.write_text("old")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        fails("--web", f"127.0.0.1:{taken.getsockname()[1]}", "--history", str(file))
    assert file.read_text() == "old"


@pytest.mark.parametrize(("name", "words"), [("no/such/place", "No such file or directory"), ("-", "write the name")])
def test_a_history_that_cannot_be_written_is_told_before_it_listens(fails, name, words):
    status, told = fails("--web", "127.0.0.1:0", "--history", name)
    assert (status, told.count("\n")) == (2, 1)
    assert words in told


def test_what_is_no_http_is_not_told_on_standard_error():
    with serving("--web", "127.0.0.1:0") as process:
        port = int(url_of(process).rstrip("/").rpartition(":")[2])
        for sent in (b"\x00\xff\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", b""):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(sent)
                client.shutdown(socket.SHUT_WR)
                assert client.recv(1 << 16)[:12] in (b"", b"HTTP/1.0 400", b"HTTP/1.1 400")
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=10) == ("", "")


def test_a_client_that_did_not_read_is_told_to_reload():
    with serving("--web", "127.0.0.1:0", "--control", "--disk", "drive0=64M") as process:
        url = url_of(process)
        home = url.partition("#")[0]
        with urllib.request.urlopen(home + "history", timeout=10) as answer:
            cursor = answer.headers["Qbitsim-Cursor"]
        with socket.socket() as client:
            client.settimeout(10)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", int(home.rstrip("/").rpartition(":")[2])))
            client.sendall(f"GET /feed?from={cursor} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            for _ in range(3):
                post(url, "x-qbitsim-guest-writes", drive="drive0", count=10_000, length=512)
                post(url, "x-qbitsim-run-until-idle")
            told = b""
            while b"event: reload" not in told:
                told += client.recv(1 << 16)
        assert len(told) < 20_000_000


def test_a_refusal_is_told_to_programs_too():
    with serving("--web", "127.0.0.1:0", "--control") as process:
        url = url_of(process)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            post(url + "x", "query-status")
