"""``qbitsim shell`` without a keyboard: lines from the command line, a pipe or a file, as other processes see it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from qbitsim import Machine
from qbitsim.cli import main as entry
from qbitsim.cli import shell as subcommand


def run(*arguments, text=""):
    return subprocess.run(
        [sys.executable, "-m", "qbitsim", "shell", *arguments],
        check=False,
        input=text,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def in_process(capsys, monkeypatch, tmp_path):
    """Run it in this process: status, standard output and error."""

    def run(*arguments, text=""):
        file = tmp_path / "stdin"
        file.write_text(text)
        with file.open() as stdin:
            monkeypatch.setattr(sys, "stdin", stdin)
            status = entry.main(["shell", *arguments])
        return (status, *capsys.readouterr())

    return run


DISK = ("--disk", "drive0=1M,node-name=node0")


def test_a_pipe_is_a_script_and_each_reply_a_line_of_json():
    lines = "# a comment\nblock-dirty-bitmap-add node=drive0 name=bitmap0\n:write drive0 0 64k\nstop\nquery-jobs"
    ended = run(*DISK, text=lines)
    assert (ended.returncode, ended.stderr) == (0, "")
    added, event, stopped, jobs = map(json.loads, ended.stdout.splitlines())
    assert (added, event["event"], stopped, jobs) == ({"return": {}}, "STOP", {"return": {}}, {"return": []})


def test_the_first_command_that_is_refused_ends_a_script(in_process):
    assert in_process(*DISK, text="query-jobs\n\njob-cancel id=x\nquery-jobs\n") == (
        1,
        '{"return": []}\n{"error": {"class": "GenericError", "desc": "Job not found"}}\n',
        "qbitsim: <stdin>:3: stopped here\n",
    )


def test_a_line_with_a_hyphen_may_be_refused(in_process):
    status, out, err = in_process(*DISK, text="-job-cancel id=x\n-nonsense a\nquery-jobs\n")
    assert (status, out.splitlines()[-1]) == (0, '{"return": []}')
    assert err == "qbitsim: column 10: 'a' is no argument: write key=value\n"


def test_what_cannot_be_understood_ends_a_script_with_another_status(in_process):
    assert in_process(*DISK, text=":step now\n") == (
        2,
        "",
        "qbitsim: column 7: 'now' is no number of steps\nqbitsim: <stdin>:1: stopped here\n",
    )
    assert in_process(*DISK, text='{"execute":\n')[0] == 2


def test_a_command_may_go_on_in_the_next_lines(in_process):
    text = 'transaction(\n  block-dirty-bitmap-add node=node0 name=b0\n)\n{"execute":\n "query-jobs"}\n'
    assert in_process(*DISK, text=text) == (0, '{"return": {}}\n{"return": []}\n', "")


def test_lines_on_the_command_line_run_in_turn(in_process):
    status, out, err = in_process(*DISK, "-c", "block-dirty-bitmap-add node=node0 name=b0", "-c", ":show")
    assert (status, err) == (0, "")
    assert out.splitlines()[1:] == [
        "  drive0              1 MiB",
        "   b0               ................................  0 dirty",
    ]


def test_a_script_may_end_the_machine(in_process):
    status, out, _ = in_process(text="quit\nnonsense\n")
    assert status == 0
    assert '"SHUTDOWN"' in out


@pytest.mark.parametrize("pacing", ["manual", "immediate"])
def test_jobs_end_by_themselves_only_if_told_so(in_process, pacing):
    backup = "drive-backup device=drive0 sync=full target=t format=qcow2 job-id=job0"
    lines = ":write drive0 0 1M", backup, "query-jobs"
    _, out, _ = in_process(*DISK, "--pacing", pacing, *(part for line in lines for part in ("-c", line)))
    assert (json.loads(out.splitlines()[-1])["return"] == []) == (pacing == "immediate")


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (["--connect", "unix:/no/such/path"], 1, "--connect unix:/no/such/path: No such file or directory"),
        (["--connect", "unix:" + "x" * 200], 1, f"--connect unix:{'x' * 200}: AF_UNIX path too long"),
        (["--connect", "tcp:127.0.0.1:1"], 1, "--connect tcp:127.0.0.1:1: Connection refused"),
        (["--connect", "stdio"], 2, "--connect 'stdio': write unix:PATH or tcp:HOST:PORT"),
        (
            ["--connect", "unix:x", "--disk", "drive0=1M"],
            2,
            "--connect: the server that runs there has its disks and its pacing already",
        ),
        (["--connect", "unix:x", "--patience", "0"], 2, "--patience 0.0: it must be more than 0 seconds"),
        (
            ["--pacing", "realtime"],
            2,
            "--pacing 'realtime': choose manual or immediate; for real time, serve and --connect",
        ),
        (["--disk", "drive0"], 2, "--disk 'drive0': 'drive0.qcow2' needs a size, such as drive0=64M"),
    ],
)
def test_what_is_wrong_with_the_command_line_is_one_line(in_process, arguments, status, text):
    assert in_process(*arguments) == (status, "", f"qbitsim: {text}\n")


def test_without_the_extra_one_line_says_so(in_process, monkeypatch):
    monkeypatch.setattr(subcommand, "find_spec", lambda _: None)
    assert in_process() == (2, "", "qbitsim: shell needs the extra 'shell': pip install 'qbitsim[shell]'\n")


def test_an_old_server_is_told_to_be_one(in_process, tmp_path, monkeypatch):
    machine = Machine("2.5")
    machine.refuse("query-qmp-schema", "gone", "CommandNotFound", times=None)
    with machine.serve(tmp_path / "q"):
        status, out, err = in_process("--connect", f"unix:{tmp_path / 'q'}", "-c", "query-block-jobs")
    assert (status, out) == (0, '{"return": []}\n')
    assert err == ("qbitsim: this server has no query-qmp-schema: names of commands are completed, arguments are not\n")


def test_a_reader_that_goes_away_is_no_traceback():
    shell = f"{sys.executable} -m qbitsim shell"
    ended = subprocess.run(
        ["bash", "-c", f"yes query-qmp-schema | {shell} | head -c 10; echo ${{PIPESTATUS[1]}}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.stdout == '{"return":1\n'
    assert ended.stderr == "qbitsim: standard output was closed\n"
