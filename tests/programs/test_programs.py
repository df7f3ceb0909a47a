"""The programs as processes: how they are made, how they start and how they end."""

from __future__ import annotations

import os
import pty
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from qbitsim.cli.main import main
from qbitsim.programs.installation import OccupiedError, install, script
from qbitsim.programs.table import PROGRAMS

REAL = shutil.which("qemu-img")
IN_USE = 'Failed to get shared "write" lock\nIs another process using the image [a.qcow2]?\n'


@pytest.fixture
def folder(programs: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The programs as 10.0, an image ``a.qcow2`` and a raw one in the current directory."""
    monkeypatch.chdir(tmp_path)
    made = programs("10.0")
    subprocess.run([made / "qemu-img", "create", "-q", "-f", "qcow2", "a.qcow2", "1M"], check=True)
    subprocess.run([made / "qemu-img", "create", "-q", "r.raw", "1M"], check=True)
    return made


# -- making them


def test_every_program_is_made_and_can_be_made_anew(tmp_path: Path) -> None:
    assert main(["programs", str(tmp_path / "new" / "bin"), "--profile", "7.2"]) == 0
    assert main(["programs", str(tmp_path / "new" / "bin")]) == 0
    made = sorted(path.name for path in (tmp_path / "new" / "bin").iterdir())
    assert made == sorted(PROGRAMS)
    assert all(os.access(tmp_path / "new" / "bin" / name, os.X_OK) for name in made)


@pytest.mark.parametrize("kind", ["file", "link to nowhere"])
def test_what_is_not_ours_stays(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "qemu-io"
    if kind == "file":
        other.write_text("somebody else's")
    else:
        other.symlink_to(tmp_path / "nowhere")
    with pytest.raises(OccupiedError):
        install(tmp_path, "10.0")
    assert main(["programs", str(tmp_path)]) == 1
    assert "qemu-io was not made by qbitsim" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["qemu-io"]


def test_an_interpreter_with_a_space_in_its_path_is_started_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spaced = tmp_path / "a space" / "python"
    spaced.parent.mkdir()
    spaced.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    spaced.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(spaced))
    program = tmp_path / "qemu-img"
    program.write_text(script("qemu-img", "7.2"))
    program.chmod(0o755)
    assert "version 7.2" in subprocess.run([program, "--version"], capture_output=True, check=True, text=True).stdout


# -- starting and ending


def cpu(argv: list[str]) -> float:
    """The least seconds of CPU that a process takes, of several."""
    found = []
    for _ in range(7):
        process = os.posix_spawn(
            argv[0], argv, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
        )
        usage = os.wait4(process, 0)[2]
        found.append(usage.ru_utime + usage.ru_stime)
    return min(found)


BARE_MACHINE = ("-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio")


def test_starting_is_quick(folder: Path) -> None:
    """At most seven times as long as it takes to start an interpreter as scripts do, and to do nothing."""
    bare = cpu([sys.executable, "-IS", "-c", ""])
    assert cpu([str(folder / "qemu-img"), "create", "-f", "qcow2", "b.qcow2", "1G"]) <= 7 * bare


def test_nothing_is_imported_that_create_does_not_use(folder: Path) -> None:
    argv = [sys.executable, "-IS", "-X", "importtime", folder / "qemu-img", "create", "-f", "qcow2", "b.qcow2", "1G"]
    done = subprocess.run(argv, capture_output=True, check=True, text=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "qbitsim.qemu_img.run" in imported
    unwanted = {"argparse", "asyncio", "dataclasses", "enum", "inspect", "json", "re", "site", "socket", "typing"}
    unwanted |= {"bisect", "collections", "contextlib", "functools", "heapq", "importlib", "struct", "warnings"}
    folders = {"bits", "block", "commands", "drivers", "jobs", "machine", "qapi", "qmp"}
    assert not imported & (unwanted | {f"qbitsim.{each}" for each in folders})


def test_nothing_is_imported_that_reading_a_disk_does_not_use(folder: Path) -> None:
    argv = [sys.executable, "-IS", "-X", "importtime", folder / "qemu-io", "-f", "qcow2", "-c", "read 0 512", "a.qcow2"]
    done = subprocess.run(argv, capture_output=True, check=True, text=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "qbitsim.qemu_io.run" in imported
    unwanted = {"argparse", "asyncio", "ctypes", "dataclasses", "datetime", "enum", "inspect", "json", "pathlib"}
    unwanted |= {"bisect", "bitarray", "collections", "contextlib", "functools", "heapq", "importlib", "re", "socket"}
    unwanted |= {"struct", "typing", "warnings"}
    folders = {"bits", "commands", "copying", "jobs", "machine", "nbd", "qemu_img", "qmp"}
    assert not imported & (unwanted | {f"qbitsim.{each}" for each in folders})


def test_help_is_given_without_a_machine(folder: Path) -> None:
    argv = [sys.executable, "-IS", "-X", "importtime", folder / "qemu-system-x86_64", "-machine", "help"]
    done = subprocess.run(argv, capture_output=True, check=True, text=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "qbitsim.programs.qemu_system.plan" in imported
    unwanted = {"commands.offered", "drivers", "images", "jobs", "machine", "serving"}
    assert not imported & ({"asyncio", "socket"} | {f"qbitsim.{each}" for each in unwanted})


def test_a_machine_that_ends_at_once_loads_no_more_commands_than_it_was_given(folder: Path) -> None:
    argv = [sys.executable, "-IS", "-X", "importtime", folder / "qemu-system-x86_64", *BARE_MACHINE]
    talk = '{"execute": "qmp_capabilities"}{"execute": "quit"}'
    done = subprocess.run(argv, input=talk, capture_output=True, check=True, text=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "qbitsim.commands.monitor" in imported
    unwanted = {"ast", "asyncio.sslproto", "inspect", "linecache", "locale", "qbitsim.qapi.info", "tokenize"}
    assert not imported & (
        unwanted | {f"qbitsim.commands.{each}" for each in ("backups", "jobs", "mirrors", "queries")}
    )


def test_output_that_nobody_reads_is_lost_without_a_word(folder: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([folder / "qemu-img", "info", "a.qcow2"], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it(folder: Path, number: int) -> None:
    with start(folder, "a.qcow2") as program:
        program.send_signal(number)
        assert program.wait(10) == -number


@pytest.mark.parametrize(
    ("command", "status"), [("abort", -signal.SIGABRT), ("sigraise 9", -signal.SIGKILL), ("sigraise 2", -signal.SIGINT)]
)
def test_a_program_that_kills_itself_closes_nothing(folder: Path, command: str, status: int) -> None:
    subprocess.run([folder / "qemu-img", "bitmap", "--add", "a.qcow2", "b0"], check=True)
    done = subprocess.run(
        [folder / "qemu-io", "-c", "length", "-c", command, "a.qcow2"], capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (status, b"")
    found = subprocess.run([folder / "qemu-img", "info", "a.qcow2"], capture_output=True, check=True, text=True).stdout
    assert "in-use" in found


# -- what is open


def start(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """A qemu-io that waits for its next command."""
    argv = [folder / "qemu-io", *arguments]
    program = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
    assert program.stdout is not None
    assert program.stdout.read(9) == b"qemu-io> "
    return program


@pytest.mark.parametrize("tool", ["ours", "real"])
def test_an_image_that_is_open_is_locked(folder: Path, tool: str) -> None:
    if tool == "real" and REAL is None:
        pytest.skip("no qemu-img on the path (Debian: qemu-utils)")
    program = start(folder, "a.qcow2")
    argv = [str(folder / "qemu-img") if tool == "ours" else str(REAL), "info", "a.qcow2"]
    refused = subprocess.run(argv, capture_output=True, check=False, text=True)
    assert (refused.returncode, refused.stderr) == (1, f"qemu-img: Could not open 'a.qcow2': {IN_USE}")
    assert subprocess.run([*argv, "-U"], capture_output=True, check=False).returncode == 0
    program.communicate(b"quit\n")
    assert subprocess.run(argv, capture_output=True, check=False).returncode == 0


def test_commands_are_taken_one_by_one(folder: Path) -> None:
    program = start(folder, "-f", "raw", "r.raw")
    assert program.stdin is not None
    assert program.stdout is not None
    program.stdin.write(b"length\n")
    program.stdin.flush()
    assert program.stdout.read(6) == b"1 MiB\n"
    assert program.communicate(b"truncate 2M\n\nlength")[0] == b"qemu-io> qemu-io> qemu-io> 2 MiB\nqemu-io> "
    assert program.returncode == 0
    assert Path("r.raw").stat().st_size == 2 << 20


def test_a_terminal_gets_a_prompt_and_its_lines_at_once(folder: Path) -> None:
    ours, theirs = pty.openpty()
    program = subprocess.Popen([folder / "qemu-io", "a.qcow2"], stdin=theirs, stdout=theirs)
    os.close(theirs)
    seen = wait_for(ours, b"qemu-io> ")
    os.write(ours, b"length\n")
    seen += wait_for(ours, b"1 MiB\r\nqemu-io> ")
    os.write(ours, b"\x04")
    assert program.wait(10) == 0
    os.close(ours)
    assert seen.count(b"qemu-io> ") == 2


def wait_for(descriptor: int, text: bytes) -> bytes:
    """What comes until this text has come."""
    seen, end = b"", time.monotonic() + 10
    while not seen.endswith(text):
        assert time.monotonic() < end, seen
        seen += os.read(descriptor, 1000)
    return seen


# -- help


@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
@pytest.mark.parametrize(
    ("command", "begins"),
    [
        ("qemu-img --help", "qemu-img version {}"),
        ("qemu-img -help", "qemu-img version {}"),
        ("qemu-img --vers", "qemu-img version {}"),
        ("qemu-img -V", "qemu-img version {}"),
        ("qemu-io -h", "Usage: qemu-io [OPTIONS]... [-c STRING]... [file]\nQEMU Disk exerciser\n"),
        ("qemu-io --version", "qemu-io version {}"),
        ("qemu-storage-daemon --help", "Usage: qemu-storage-daemon [options]\nQEMU storage daemon\n"),
        ("qemu-storage-daemon -V", "qemu-storage-daemon version {}"),
        ("qemu-system-x86_64 -help", "QEMU emulator version {}"),
        ("qemu-system-x86_64 --version", "QEMU emulator version {}"),
    ],
)
def test_a_program_asked_about_itself_answers_and_ends(
    command: str, begins: str, release: str, programs: Callable[[str], Path]
) -> None:
    name, *arguments = command.split()
    done = subprocess.run([programs(release) / name, *arguments], capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(begins.format(f"{release}."))


# -- what a machine prints


def _run_system(folder: Path, *arguments: str, text: str) -> str:
    command = [folder / "qemu-system-x86_64", "-display", "none", "-nodefaults", *arguments]
    drive = ["-drive", "if=none,id=d,file=a.qcow2"]
    return subprocess.run([*command, *drive], input=text, capture_output=True, text=True, check=True, timeout=60).stdout


def test_what_a_command_prints_comes_behind_the_line(folder: Path) -> None:
    text = 'qemu-io d "write 0 64k"\nquit\n'
    printed = _run_system(folder, "-M", "none", "-monitor", "stdio", text=text)
    assert '"write 0 64k"\x1b[K\nwrote 65536/65536 bytes at offset 0\n' in printed


def test_what_a_command_prints_comes_behind_the_reply_before(folder: Path) -> None:
    line = '{"execute": "human-monitor-command", "arguments": {"command-line": "qemu-io d \\"write 0 64k\\""}}'
    text = f'{{"execute": "qmp_capabilities"}}\n{line}\n{{"execute": "quit"}}\n'
    lines = _run_system(folder, "-M", "none", "-qmp", "stdio", text=text).splitlines()
    assert lines[1] == '{"return": {}}'
    assert lines[2] == "wrote 65536/65536 bytes at offset 0"
    assert lines[4] == '{"return": ""}'


def test_a_new_image_is_told_of(folder: Path) -> None:
    line = (
        '{"execute": "blockdev-snapshot-sync", "arguments": {"device": "d", "snapshot-file": "s"}}\n{"execute": "quit"}'
    )
    text = f'{{"execute": "qmp_capabilities"}}\n{line}\n'
    lines = _run_system(folder, "-M", "none", "-qmp", "stdio", text=text).splitlines()
    assert lines[2] == (
        "Formatting 's', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 "
        "backing_file=a.qcow2 backing_fmt=qcow2 lazy_refcounts=off refcount_bits=16"
    )


def test_the_clock_of_a_guest_that_a_test_drives_stands_still(folder: Path) -> None:
    _run_system(folder, "-M", "pc", "-accel", "qtest", "-monitor", "stdio", text="savevm s\nquit\n")
    listed = subprocess.run(
        [folder / "qemu-img", "snapshot", "-l", "a.qcow2"], check=True, capture_output=True, text=True
    )
    assert "0000:00:00.000" in listed.stdout


def test_qemu_io_opens_its_file_for_writing_later(folder: Path) -> None:
    done = subprocess.run(
        [folder / "qemu-io", "-r", "-c", "reopen -w", "-c", "write 0 64k", "a.qcow2"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("wrote 65536/65536 bytes at offset 0\n")


def test_qemu_io_takes_a_name_for_the_file_below_a_filter(folder: Path) -> None:
    done = subprocess.run(
        [folder / "qemu-io", "-c", "open -o driver=blkdebug,align=512 a.qcow2", "-c", "write 0 512"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
