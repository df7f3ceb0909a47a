"""qemu-system-x86_64 as a process: monitors, descriptors, signals, pid files."""

from __future__ import annotations

import array
import json
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

import forked
import pytest
from qemu_process import BASE, NAMES, PATIENCE, SYSTEM, Qmp, command, connected, run

from qbitsim.images.host.store import HostImageStore

RELEASE = "10.0"
QUIT = '{"execute": "qmp_capabilities"}{"execute": "quit"}'


def started(*argv: str) -> forked.Process:
    return forked.Process(forked.program, NAMES[SYSTEM], RELEASE, *BASE, *argv)


def started_with(fds: tuple[int, ...], *argv: str) -> subprocess.Popen[bytes]:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command(RELEASE, *BASE, *argv), pass_fds=fds, **streams)


def ended(process: forked.Process | subprocess.Popen[bytes]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out.decode(), err.decode()


def test_a_monitor_on_standard_input() -> None:
    status, out, err = run(RELEASE, *BASE, "-qmp", "stdio", stdin=QUIT)
    assert (status, err, out.count("\r\n")) == (0, "", 4)


def test_pretty_messages() -> None:
    _, out, _ = run(RELEASE, *BASE, "-qmp-pretty", "stdio", stdin=QUIT)
    assert '{\r\n    "return": {\r\n    }\r\n}\r\n' in out


def test_several_monitors_and_a_client_that_comes_again(tmp_path: Path) -> None:
    one, two = tmp_path / "1.sock", tmp_path / "2.sock"
    where = [f"unix:{path},server=on,wait=off" for path in (one, two)]
    process = started("-qmp", where[0], "-qmp", where[1], "-name", "guest")
    first, second = Qmp(connected(one)), Qmp(connected(two))
    assert first("query-name") == {"return": {"name": "guest"}}
    first.close()
    again = Qmp(connected(one))
    assert again("quit") == {"return": {}}
    assert [message["event"] for message in second.rest()] == ["SHUTDOWN"]
    assert ended(process) == (0, "", "")
    assert not one.exists()
    again.close()
    second.close()


def test_inherited_descriptors(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "l.sock"))
        argv = ["-chardev", f"socket,id=a,fd={theirs.fileno()}", "-mon", "a,mode=control"]
        argv += ["-chardev", f"socket,id=b,fd={listener.fileno()},server=on,wait=off", "-mon", "b,mode=control"]
        process = started_with((theirs.fileno(), listener.fileno()), *argv)
        theirs.close()
        ours.settimeout(PATIENCE)
        qmp, other = Qmp(ours), Qmp(connected(tmp_path / "l.sock"))
        assert other("query-status")["return"]["running"] is True
        qmp("quit")
    assert ended(process)[0] == 0
    qmp.close()
    other.close()


def test_a_human_monitor(tmp_path: Path) -> None:
    path = tmp_path / "hmp.sock"
    process = started("-monitor", f"unix:{path},server=on,wait=off")
    client = connected(path)
    client.sendall(b"\nquit\n")
    said = b""
    while data := client.recv(4096):
        said += data
    client.close()
    echo = b"q\x1b[K\x1b[Dqu\x1b[K\x1b[D\x1b[Dqui\x1b[K\x1b[D\x1b[D\x1b[Dquit\x1b[K\r\n"
    banner = b"QEMU 10.0.13 monitor - type 'help' for more information\r\n(qemu) "
    assert said == banner + b"\r\n(qemu) " + echo
    assert ended(process) == (0, "", "")


def test_waiting_for_the_first_client(tmp_path: Path) -> None:
    path = tmp_path / "q.sock"
    process = started("-chardev", f"socket,id=m,path={path},server=on", "-mon", "m,mode=control")
    qmp = Qmp(connected(path))
    qmp("quit")
    qmp.close()
    status, _, err = ended(process)
    words = f"-chardev socket,id=m,path={path},server=on"
    where = f"disconnected:unix:{path},server=on"
    assert (status, err) == (0, f"qemu-system-x86_64: {words}: info: QEMU waiting for connection on: {where}\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_cleanly(number: int, tmp_path: Path) -> None:
    path = tmp_path / "q.sock"
    process = started("-qmp", f"unix:{path},server=on,wait=off")
    qmp = Qmp(connected(path))
    process.send_signal(number)
    assert [(each["event"], each["data"]["reason"]) for each in qmp.rest()] == [("SHUTDOWN", "host-signal")]
    qmp.close()
    status, out, err = ended(process)
    assert (status, out) == (0, "")
    assert re.fullmatch(rf"qemu-system-x86_64: terminating on signal {number} from pid {os.getpid()} \(.*\)\n", err)


def test_in_the_background_with_a_pid_file(tmp_path: Path) -> None:
    path, pid_file = tmp_path / "q.sock", tmp_path / "pid"
    argv = ["-daemonize", "-pidfile", str(pid_file), "-qmp", f"unix:{path},server=on,wait=off"]
    assert run(RELEASE, *BASE, *argv) == (0, "", "")
    assert int(pid_file.read_text()) > 0
    status, _, err = run(RELEASE, *BASE, "-pidfile", str(pid_file))
    refusal = "cannot create PID file: Cannot lock pid file: Resource temporarily unavailable"
    assert (status, err) == (1, f"qemu-system-x86_64: {refusal}\n")
    qmp = Qmp(connected(path))
    qmp("quit")
    qmp.rest()
    qmp.close()
    deadline = time.monotonic() + PATIENCE
    while pid_file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not pid_file.exists()


@pytest.mark.parametrize(
    ("release", "machine", "options", "drives"),
    [
        ("7.2", "pc", "", {"ide1-cd0": 23, "floppy0": 16, "sd0": None}),
        ("10.0", "pc", "", {"ide1-cd0": 4, "floppy0": 14}),
        ("10.0", "pc", "-serial none -vga none", {"ide1-cd0": 4, "floppy0": 12}),
        ("10.0", "pc", "-device ide-cd", {"floppy0": 13, "": "/machine/peripheral-anon/device[0]"}),
        ("7.2", "q35", "-smp 2", {"ide2-cd0": 19, "sd0": None}),
        ("11.1", "q35", "", {"ide2-cd0": 15}),
        ("10.0", "pc", "-nodefaults", {}),
        ("10.0", "none", "", {}),
    ],
)
def test_a_board_has_empty_drives_by_default(
    release: str, machine: str, options: str, drives: dict[str, int | str | None]
) -> None:
    asked = '{"execute": "qmp_capabilities"}{"execute": "query-block"}{"execute": "quit"}'
    argv = ["-M", machine, "-display", "none", "-qmp", "stdio", *options.split()]
    _, out, _ = run(release, *argv, stdin=asked)
    listed = json.loads(out.splitlines()[2])["return"]
    paths = {name: f"/machine/unattached/device[{at}]" if isinstance(at, int) else at for name, at in drives.items()}
    assert {each["device"]: each.get("qdev") for each in listed} == paths
    assert not any("inserted" in each for each in listed)


def test_global_properties_and_changed_options_are_taken() -> None:
    changed = ["-drive", "if=none,id=x,driver=null-co", "-set", "drive.x.read-only=on"]
    given = ["-global", "virtio-blk-pci.scsi=off", "-global", "foo.bar=1", "-global", "driver=cpu,property=a,value=b"]
    asked = '{"execute": "qmp_capabilities"}{"execute": "query-block"}{"execute": "quit"}'
    status, out, err = run(RELEASE, *BASE, *changed, *given, "-qmp", "stdio", stdin=asked)
    assert (status, err) == (0, "qemu-system-x86_64: warning: global foo.bar has invalid class name\n")
    assert json.loads(out.splitlines()[2])["return"][0]["inserted"]["ro"] is True


def test_a_machine_goes_on_from_a_snapshot(tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    HostImageStore(str(tmp_path)).create(disk.name, "qcow2", 1 << 20)
    argv = [*BASE, "-drive", f"if=none,id=d,file={disk},format=qcow2", "-qmp", "stdio"]
    run(RELEASE, *argv, stdin=said("savevm s1", 'qemu-io d "write -P 7 0 64k"'))
    status, out, err = run(RELEASE, *argv, "-loadvm", "s1", stdin=said('qemu-io d "read -P 0 0 64k"', "info status"))
    assert (status, err) == (0, "")
    assert "read 65536/65536 bytes at offset 0" in out
    assert "Pattern verification failed" not in out
    assert "VM status: running" in out


def said(*lines: str) -> str:
    """What a client says that has a human monitor run some lines."""
    asked = [{"execute": "human-monitor-command", "arguments": {"command-line": each}} for each in lines]
    return "".join(map(json.dumps, [{"execute": "qmp_capabilities"}, *asked, {"execute": "quit"}]))


def test_where_objects_are_and_what_monitors_talk_through(tmp_path: Path) -> None:
    unused = f"socket,id=u,path={tmp_path}/u,server=on,wait=off"
    process = started("-chardev", unused, "-qmp", f"unix:{tmp_path}/q,server=on,wait=off")
    qmp = Qmp(connected(tmp_path / "q"))
    root = {each["name"]: each["type"] for each in qmp("qom-list", path="/")["return"]}
    places = dict.fromkeys(("backend", "objects", "chardevs"), "child<container>")
    assert root == {"type": "string", "machine": "child<none-machine>", **places}
    machine = [each["name"] for each in qmp("qom-list", path="/machine")["return"]]
    assert machine[-3:] == ["peripheral-anon", "peripheral", "unattached"]
    assert qmp("qom-get", path="/", property="machine") == {"return": "/machine"}
    chardevs = [
        {"label": "u", "filename": f"disconnected:unix:{tmp_path}/u,server=on", "frontend-open": False},
        {"label": "compat_monitor0", "filename": f"unix:{tmp_path}/q,server=on", "frontend-open": True},
    ]
    assert qmp("query-chardev") == {"return": chardevs}
    assert [each["id"] for each in qmp("query-yank")["return"]] == ["u", "compat_monitor0"]
    qmp("quit")
    qmp.close()
    assert ended(process) == (0, "", "")


def test_descriptors_over_the_socket(tmp_path: Path) -> None:
    image, path = tmp_path / "disk.img", tmp_path / "q.sock"
    image.write_bytes(bytes(65536))
    process = started("-qmp", f"unix:{path},server=on,wait=off")
    qmp = Qmp(connected(path))
    assert qmp("getfd", fdname="x")["error"]["desc"] == "No file descriptor supplied via SCM_RIGHTS"
    descriptor = os.open(image, os.O_RDWR)
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
    qmp.client.sendmsg([b'{"execute": "add-fd", "arguments": {"fdset-id": 5, "opaque": "disk"}}'], rights)
    number = qmp.read()["return"]["fd"]
    os.close(descriptor)
    image.rename(tmp_path / "elsewhere")
    assert qmp("query-fdsets") == {"return": [{"fds": [{"fd": number, "opaque": "disk"}], "fdset-id": 5}]}
    assert qmp("blockdev-add", driver="file", node_name="n", filename="/dev/fdset/5") == {"return": {}}
    refused = qmp("blockdev-add", driver="file", node_name="m", filename="/dev/fdset/6")
    assert refused["error"]["desc"] == "Failed to find fdset /dev/fdset/6"
    qmp("human-monitor-command", command_line='qemu-io n "write -P 7 0 512"')
    assert qmp("remove-fd", fdset_id=5) == {"return": {}}
    assert qmp("query-fdsets") == {"return": [{"fds": [], "fdset-id": 5}]}
    assert qmp("blockdev-del", node_name="n") == {"return": {}}
    assert qmp("query-fdsets") == {"return": []}
    qmp("quit")
    qmp.close()
    status, out, err = ended(process)
    assert (status, err) == (0, "")
    assert out.startswith("wrote 512/512 bytes at offset 0\n")
    assert (tmp_path / "elsewhere").read_bytes()[:512] == b"\7" * 512


def test_clients_of_nbd_are_greeted_where_nbd_server_start_says(tmp_path: Path) -> None:
    qmp, nbd = tmp_path / "qmp.sock", tmp_path / "nbd.sock"
    process = started("-qmp", f"unix:{qmp},server=on,wait=off")
    monitor = Qmp(connected(qmp))
    address = {"type": "unix", "data": {"path": str(nbd)}}
    assert monitor("nbd-server-start", addr=address) == {"return": {}}
    with connected(nbd) as client:
        assert client.recv(8) == b"NBDMAGIC"
    assert monitor("nbd-server-stop") == {"return": {}}
    assert not nbd.exists()
    assert monitor("quit") == {"return": {}}
    assert ended(process) == (0, "", "")
    monitor.close()


def driven(*argv: str) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    """A program whose guest a test has driven once, and the connection for that."""
    test, guest = socket.socketpair()
    test.settimeout(PATIENCE)
    with guest:
        number = guest.fileno()
        given = ["-chardev", f"socket,id=qtest,fd={number}", "-qtest", "chardev:qtest", "-accel", "qtest", *argv]
        process = started_with((number,), *given)
    test.sendall(b"clock_step 1\n")
    assert test.recv(100).startswith(b"OK ")
    return test, process


def told(text: str) -> list[str]:
    return [re.sub(r"\d+", "N", each) for each in text.splitlines()]


STEP = ["[I N.N] OPENED", "[R +N.N] clock_step N", "[S +N.N] OK N"]


def test_what_a_test_does_with_the_guest_is_told_on_standard_error() -> None:
    test, process = driven()
    test.sendall(b"leap\n")
    assert test.recv(100) == b"FAIL Unknown command 'leap'\n"
    test.close()
    process.send_signal(signal.SIGTERM)
    status, _, err = ended(process)
    rest = ["[R +N.N] leap", "[S +N.N] FAIL Unknown command 'leap'", "[I +N.N] CLOSED"]
    assert (status, told(err)) == (0, [*STEP, *rest])


def test_what_a_test_does_with_the_guest_is_told_elsewhere_or_nowhere(tmp_path: Path) -> None:
    for path in (tmp_path / "log", "none", tmp_path / "none" / "log"):
        test, process = driven("-qtest-log", str(path))
        process.send_signal(signal.SIGTERM)
        assert ended(process) == (0, "", "")
        test.close()
    assert told((tmp_path / "log").read_text()) == [*STEP, "[I +N.N] CLOSED"]
