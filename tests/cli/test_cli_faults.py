"""Whatever is wrong with a command line, or with a file that it names, is told in one line; the exit status is 2."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from qbitsim.cli.main import main
from qbitsim.profiles import PROFILES

SIZE_TEXT = "write a number of bytes, or one with a suffix k, M, G, T or P"
DISK_OPTIONS = "size, format, cluster-size, backing, node-name, file, discard, read-only"
DISK_USAGE = (
    "ID[=SIZE][,format=qcow2|raw][,cluster-size=S][,backing=B][,node-name=N][,file=F][,discard=on][,read-only=on]"
)
FAIL_USAGE = "write WHERE:OPERATION:OFFSET+LENGTH:ERRNO[:once], such as drive1:read:0+64k:EIO:once"

COMMAND_LINES = [
    ("", "the following arguments are required: COMMAND (try 'qbitsim --help')"),
    ("demo extra", "unrecognized arguments: extra (try 'qbitsim --help')"),
    ("demo --frob", "unrecognized arguments: --frob (try 'qbitsim --help')"),
    ("demo --profile 9", f"unknown profile '9': choose one of {', '.join(PROFILES)}"),
    ("demo --width x", "argument --width: invalid int value: 'x' (try 'qbitsim demo --help')"),
    ("serve", "serve needs an address: --qmp unix:PATH, tcp:HOST:PORT or stdio, --web HOST:PORT or --nbd ADDRESS"),
    ("serve --frob", "unrecognized arguments: --frob (try 'qbitsim --help')"),
    ("serve --qmp foo", "--qmp 'foo': write unix:PATH, tcp:HOST:PORT or stdio"),
    ("serve --qmp unix:", "--qmp 'unix:': write unix:PATH, tcp:HOST:PORT or stdio"),
    ("serve --qmp tcp:1:2:x", "--qmp 'tcp:1:2:x': write unix:PATH, tcp:HOST:PORT or stdio"),
    ("serve --qmp tcp:h:65536", "--qmp 'tcp:h:65536': write unix:PATH, tcp:HOST:PORT or stdio"),
    ("serve --qmp stdio --qmp stdio", "--qmp stdio can be given only once"),
    ("play", "the following arguments are required: FILE (try 'qbitsim play --help')"),
    ("play nofile", "nofile: No such file or directory"),
    ("play .", ".: Is a directory"),
]

SETTINGS = [
    ("--disk d=abc", f"--disk 'd=abc': invalid size 'abc': {SIZE_TEXT}"),
    ("--disk d", "--disk 'd': 'd.qcow2' needs a size, such as d=64M"),
    ("--disk =1M", f"--disk '=1M' begins with no name; write {DISK_USAGE}"),
    ("--disk d=1M,format=vmdk", "--disk 'd=1M,format=vmdk': unknown disk format 'vmdk': choose qcow2 or raw"),
    (
        "--disk d=1M,frob=1",
        f"--disk 'd=1M,frob=1': unknown option 'frob': choose among {DISK_OPTIONS}",
    ),
    ("--disk d=1M,size=2M", "--disk 'd=1M,size=2M': 'size' is given twice"),
    ("--disk d=1M,discard=maybe", "--disk 'd=1M,discard=maybe': 'discard' is on or off, not 'maybe'"),
    (
        "--disk d=1M,cluster-size=1000",
        "--disk 'd=1M,cluster-size=1000': d.qcow2: Cluster size must be a power of two between 512 and 2048k",
    ),
    (
        "--disk d=16E",
        "--disk 'd=16E': Invalid image size specified. Must be between 0 and 9223372036854775807.",
    ),
    ("--disk d=1M --disk d=2M", "--disk 'd=2M': there is a drive 'd' already"),
    (
        "--disk d=1M,backing=b",
        "--disk 'd=1M,backing=b': there is no backing file 'b'; make it with an earlier --image or --disk",
    ),
    ("--disk d=1M,node-name=1", "--disk 'd=1M,node-name=1': Invalid node-name: '1'"),
    ("--image x=1M --image x=1M", "--image 'x=1M': the file 'x' exists already"),
    (
        "--image x=1M --disk d=1M,file=x",
        (
            "--disk 'd=1M,file=x': the file 'x' exists already, so it has a size, a format and a backing file: leave "
            "them out to use it as it is"
        ),
    ),
    (
        "--blockdev {",
        """--blockdev '{' is no JSON object; write one such as {"driver": "null-co", "node-name": "n0"}""",
    ),
    (
        '--blockdev {"driver":"null-co"}',
        """--blockdev '{"driver":"null-co"}': 'node-name' must be specified for the root node""",
    ),
    (
        '--blockdev {"driver":"frob","node-name":"a"}',
        """--blockdev '{"driver":"frob","node-name":"a"}': Parameter 'driver' does not accept value 'frob'""",
    ),
    ("--drive id=a,file=zz", "--drive 'id=a,file=zz': Could not open 'zz': No such file or directory"),
    ("--drive file=zz", "--drive 'file=zz': a drive needs an id, such as id=drive0"),
    ("--drive id", "--drive 'id': 'id' has no value; write id=…"),
    (
        "--drive id=a,file=z,file.driver=f",
        "--drive 'id=a,file=z,file.driver=f': 'file' and 'file.driver' exclude each other",
    ),
    ("--capacity x", "--capacity 'x': write FILE=BYTES, such as incremental.0.img=128k"),
    ("--capacity x=y", f"--capacity 'x=y': invalid size 'y': {SIZE_TEXT}"),
    ("--fail d", f"--fail 'd': {FAIL_USAGE}"),
    (
        "--fail d:read:*:EIO",
        "--fail 'd:read:*:EIO': no drive with a medium, no node and no image file is called 'd'",
    ),
    (
        "--fail d:frob:0+1:EIO",
        "--fail 'd:frob:0+1:EIO': unknown operation 'frob': choose one of read, write, write-zeroes, discard, flush",
    ),
    ("--fail d:read:0+1:EX", "--fail 'd:read:0+1:EX': unknown errno 'EX': write a name such as EIO or ENOSPC"),
    ("--fail d:read:0+1:9999", "--fail 'd:read:0+1:9999': unknown errno '9999': write a name such as EIO or ENOSPC"),
    ("--fail d:read:q+1:EIO", f"--fail 'd:read:q+1:EIO': invalid size 'q': {SIZE_TEXT}"),
]

FILES = [
    (b"frob", "f:1: unknown command 'frob'"),
    (b"\n# comment\n\xff", "f:3: not UTF-8"),
    (b'\n{"execute": "query-status"\nwrite d 0 1\n', "f:2: the JSON object that begins here does not end"),
    (b'{"execute": bad}\n', "f:1: JSON parse error, invalid keyword 'bad'"),
    (b'{"execute": "quit"}\n{"execute": "stop"}\n', "f:2: the machine has quit"),
    (b'{"execute": "quit"}\nwrite d 0 1\n', "f:2: the machine has quit"),
    (b"write d 0", "f:1: write 'write DRIVE OFFSET LENGTH [PATTERN]'"),
    (b"discard d 0", "f:1: write 'discard DRIVE OFFSET LENGTH'"),
    (b'rm "x', "f:1: no closing quotation"),
    (b"advance", "f:1: write 'advance SECONDS', such as advance 1.5"),
    (b"advance -1", "f:1: write 'advance SECONDS', such as advance 1.5"),
    (b"advance nan", "f:1: write 'advance SECONDS', such as advance 1.5"),
    (b"step x", "f:1: write 'step' or 'step NUMBER'"),
    (b"run 5", "f:1: 'run' stands alone in its line"),
    (b"disk d=abc", f"f:1: disk 'd=abc': invalid size 'abc': {SIZE_TEXT}"),
    (b"[1]", "f: step 0 is no object"),
    (b"[{}]", "f: step 0 is of no known kind: it has no members"),
    (b'[{"frob": 1}]', "f: step 0 is of no known kind: it has frob"),
    (b'[\n{"qmp":\n{}}', "f:3:4: Expecting ',' delimiter"),
    (b'{"steps": 5}', "f: 'steps' is no list"),
    (b'{"steps": [{"note": ""}, {"write": [1]}]}', "f: step 1: 'write' is not [device, offset, length, pattern]"),
    (b'[{"io": ["d"]}]', "f: step 0: 'io' is not [device, command]"),
    (b'[{"shell": []}]', "f: step 0: 'shell' is not a list of words"),
    (b'[{"raw_hex": "4"}]', "f: step 0: 'raw_hex' is not bytes as hexadecimal digits"),
    (b'[{"qmp": {}, "pick": "x"}]', "f: step 0: unknown 'pick' 'x'"),
    (
        b'[{"start": {"args": ["-device", "x"]}}]',
        "f: step 0: 'start' is not true, or an object with 'drives', 'blockdevs' and 'args'",
    ),
    (b"[" * 100_000, "f: nested too deep"),
]


def complaint(capsys: pytest.CaptureFixture[str], argv: list[str]) -> str:
    """The one line that ``qbitsim argv`` says before it ends with status 2."""
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("qbitsim: ")
    assert err.count("\n") == 1
    return err.removeprefix("qbitsim: ").removesuffix("\n")


@pytest.mark.parametrize(("line", "text"), COMMAND_LINES)
def test_a_wrong_command_line_is_told_in_one_line(line, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert complaint(capsys, line.split()) == text


def test_an_unknown_subcommand_is_told_with_those_there_are(capsys):
    said = complaint(capsys, ["frob"]).replace("'", "")  # Python 3.12 and later leave the quotes out
    assert said.startswith("argument COMMAND: invalid choice: frob (choose from serve, play, demo")
    assert said.endswith(" (try qbitsim --help)")


@pytest.mark.parametrize(("line", "text"), SETTINGS)
def test_a_wrong_description_of_the_machine_is_quoted(line, text, capsys):
    assert complaint(capsys, ["serve", "--qmp", "unix:/nonexistent/never", *line.split()]) == text


@pytest.mark.parametrize(("data", "text"), FILES, ids=[text for _, text in FILES])
def test_a_malformed_file_is_named_with_its_line_or_step(data, text, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("f").write_bytes(data)
    assert main(["play", "f"]) == 2
    assert capsys.readouterr().err == f"qbitsim: {text}\n"


def test_malformed_json_in_a_json_file_is_no_file_of_commands(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("f.json").write_text('{"steps": [\n}')
    assert complaint(capsys, ["play", "f.json"]) == "f.json:2:1: Expecting value"


def test_transcripts_are_of_scenarios_and_disks_of_files_of_commands(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("commands").write_text("# nothing\n")
    Path("scenario").write_text("[]")
    assert complaint(capsys, ["play", "commands", "--transcript", "x"]) == (
        "--transcript is for scenarios, and commands is a file of commands"
    )
    assert complaint(capsys, ["play", "scenario", "--disk", "d=1M"]) == (
        "disks and failures are for files of commands; a scenario starts its own machine"
    )
    assert complaint(capsys, ["play", "scenario", "--transcript", "no/x"]) == "no/x: No such file or directory"
    assert sorted(os.listdir()) == ["commands", "scenario"]


def test_a_path_that_is_taken_or_cannot_be_made_is_refused_and_left_alone(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("precious")
    assert complaint(capsys, ["serve", "--qmp", "unix:file"]) == "cannot listen on file: it exists and is not a socket"
    assert Path("file").read_text() == "precious"
    assert complaint(capsys, ["serve", "--qmp", "unix:no/s"]) == "cannot listen on no/s: No such file or directory"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind("live")
        other.listen()
        assert complaint(capsys, ["serve", "--qmp", "unix:live"]) == (
            "cannot listen on live: a server is listening there"
        )
        assert Path("live").is_socket()


def test_a_port_in_use_is_refused(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert complaint(capsys, ["serve", "--qmp", f"tcp:127.0.0.1:{port}"]).startswith(
            f"cannot listen on 127.0.0.1:{port}: "
        )


def test_a_socket_is_removed_if_another_address_cannot_be_had(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["serve", "--qmp", "unix:s", "--qmp", "unix:no/s"]) == 2
    assert capsys.readouterr() == ("", "qbitsim: cannot listen on no/s: No such file or directory\n")
    assert os.listdir() == []


def test_a_reader_that_goes_away_is_told_nothing():
    process = subprocess.Popen(
        [sys.executable, "-m", "qbitsim", "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
    )
    assert process.stdout is not None
    process.stdout.close()
    _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (1, b"")


def test_an_interrupt_ends_a_play_in_one_line(monkeypatch, capsys, tmp_path):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("qbitsim.cli.script.Script.play", interrupt)
    file = tmp_path / "f"
    file.write_text("run\n")
    assert main(["play", str(file)]) == 130
    assert capsys.readouterr() == ("", "qbitsim: interrupted\n")


def test_a_scenario_that_fails_ends_with_1_and_its_transcript_says_why(capsys, tmp_path):
    file, out = tmp_path / "f", tmp_path / "out"
    file.write_text('[{"shell": ["ls"]}, {"qmp": {"execute": "stop"}}]')
    assert main(["play", str(file), "--transcript", str(out)]) == 1
    assert capsys.readouterr() == ("", f"qbitsim: {file}: no machine is running\n")
    assert json.loads(out.read_text()) == {
        "scenario": None,
        "group": None,
        "qemu": None,
        "records": [{"step": 0, "type": "shell", "argv": ["ls"], "rc": 0, "output": ""}],
        "harness_error": {"error": "no machine is running", "exit": None},
    }
