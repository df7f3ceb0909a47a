"""``qbitsim shell`` without a keyboard: lines from the command line, a pipe or a file, as other processes see it."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import forked
import pytest

from qbitsim import Machine
from qbitsim.cli import main as entry
from qbitsim.cli import shell as subcommand
from qbitsim.shell import screen as screen_module


def run(*arguments, text=""):
    process = forked.Process(forked.qbitsim, "shell", *arguments, stdin=subprocess.PIPE, text=True)
    out, err = process.communicate(text, 60)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


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


def test_a_line_on_the_command_line_may_be_refused_too(in_process):
    status, out, err = in_process("-c", "-nosuch", "-c", "-c", "-c", "query-jobs")
    assert (status, err) == (0, "")
    assert [*map(json.loads, out.splitlines())] == [
        {"error": {"class": "CommandNotFound", "desc": "The command nosuch has not been found"}},
        {"error": {"class": "CommandNotFound", "desc": "The command c has not been found"}},
        {"return": []},
    ]


def test_a_line_is_missing_behind_the_last_c(in_process):
    complaint = "qbitsim: argument -c: expected one argument (try 'qbitsim shell --help')\n"
    assert in_process("-c", "query-jobs", "-c") == (2, "", complaint)


@pytest.mark.parametrize("end", [":quit\nnonsense\n", "quit\n", "quit\n\n# a comment\n"])
def test_a_script_may_end_before_its_last_line(in_process, end):
    status, out, err = in_process(text=end)
    assert (status, err) == (0, "")
    assert all(json.loads(line) for line in out.splitlines())


def test_lines_behind_the_end_of_qemu_are_not_run_and_this_is_a_failure(in_process, tmp_path):
    file = tmp_path / "lines"
    file.write_text("quit\n\nnonsense\n")
    for arguments, text, place in (
        ([], "quit\n\nnonsense\n", "<stdin>:3"),
        (["-c", "quit", "-c", "# a comment", "-c", "nonsense"], "", "-c:3"),
        (["-c", f":source {file}"], "", f"{file}:3"),
    ):
        status, out, err = in_process(*arguments, text=text)
        assert (status, err) == (1, f"qbitsim: {place}: not run, QEMU has quit\n")
        assert [*json.loads(out.splitlines()[-1])] == ["return"]


def test_lines_of_a_pipe_that_have_come_behind_the_end_of_qemu_are_told_too():
    ended = run(text="quit\n# a comment\nnonsense\n")
    assert (ended.returncode, ended.stderr) == (1, "qbitsim: <stdin>:3: not run, QEMU has quit\n")


def test_a_pipe_that_stays_open_does_not_hold_up_the_end():
    arguments = [sys.executable, "-m", "qbitsim", "shell"]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        process.stdin.write("quit\n")
        process.stdin.flush()
        assert process.wait(timeout=30) == 0


def test_the_failures_of_the_command_line_are_listed_and_lifted(in_process):
    options = (*DISK, "--fail", "drive0:read:*:EIO", "--fail", "node0:write:0+4k:ENOSPC:once", "--capacity", "t=64k")
    assert in_process(*options, "-c", "x-qbitsim-lift id=fail0", "-c", ":fault") == (
        0,
        """{"return": {}}
fail1: node0: writes that touch 0+4096 fail with ENOSPC, once
t: room for 65536 bytes of data; ':fault t=none' ends it
""",
        "",
    )


def test_a_file_that_fails_fails_what_runs_it(in_process, tmp_path):
    file = tmp_path / "lines"
    file.write_text("job-cancel id=x\n")
    status, out, err = in_process("-c", f":source {file}", "-c", "query-jobs")
    assert (status, err) == (1, f"qbitsim: {file}:1: stopped here\nqbitsim: -c:1: stopped here\n")
    assert json.loads(out)["error"]["desc"] == "Job not found"


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
            "--connect: the server that runs there has its disks, its files and its pacing already",
        ),
        (["--connect", "unix:x", "--patience", "0"], 2, "--patience 0.0: it must be more than 0 seconds"),
        (
            ["--pacing", "realtime"],
            2,
            "--pacing 'realtime': choose manual or immediate; for real time there is 'qbitsim serve'",
        ),
        (["--disk", "drive0"], 2, "--disk 'drive0': 'drive0.qcow2' needs a size, such as drive0=64M"),
    ],
)
def test_what_is_wrong_with_the_command_line_is_one_line(in_process, arguments, status, text):
    assert in_process(*arguments) == (status, "", f"qbitsim: {text}\n")


def test_pasted_prompts_and_arrows_are_left_out_and_so_is_what_the_server_had_said(in_process):
    lines = """(QEMU) query-jobs
(QEMU)query-jobs
qbitsim 10.0 [2 due]> query-jobs
-> {"execute": "query-jobs"}
(QEMU) ->{"execute": "query-jobs"}
<-{"return": []}
-> { "execute":
     "query-jobs" }
{"timestamp": {"seconds": 1, "microseconds": 0}, "event": "STOP"}
"""
    note = "qbitsim: this is what a server has said: it is left out\n"
    assert in_process(text=lines) == (0, '{"return": []}\n' * 6, note * 2)


def test_python_literals_are_taken_as_qmp_shell_does(in_process):
    lines = """transaction actions=[{'type': 'block-dirty-bitmap-add', 'data': {'node': 'drive0', 'name': 'b}"'}}]
{'execute': 'block-dirty-bitmap-add', 'arguments': {"node": 'drive0', 'name': "it's", 'persistent': True}}
block-dirty-bitmap-add node=drive0 name=b2 persistent=True disabled=False
block-dirty-bitmap-merge node=drive0 target=b2 bitmaps=['b}"', {'node': 'drive0', 'name': "it's"}]
"""
    assert in_process(*DISK, text=lines) == (0, '{"return": {}}\n' * 4, "")


@pytest.mark.parametrize("line", ["{'a': {1, 2}}", "{'a': 1e999}", "{'a': b'x'}", "[1, 2", "{'execute': f('x')}"])
def test_what_is_neither_json_nor_a_python_literal_is_refused(in_process, line):
    status, out, error = in_process(text=line)
    assert (status, out) == (2, "")
    assert error.endswith("stopped here\n")


def test_lines_of_the_human_monitor_are_sent_to_it(in_process):
    lines = 'info kvm\nblock_resize drive0 2M\nblock_resize device=drive0 size=4M\nqemu-io drive0 "length"\n'
    status, out, error = in_process(*DISK, text=lines)
    assert (status, error) == (0, "")
    assert out == '{"return": "kvm support: disabled\\r\\n"}\n{"return": ""}\n{"return": {}}\n4 MiB\n{"return": ""}\n'


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("exit", "'exit' is no command: leave with ':quit' or Ctrl-D"),
        ("show", "'show' is no command of QMP: write ':show'"),
        ("write drive0 0 64k", "'write' is no command of QMP: write ':write'"),
        (
            "qemu-img create -f qcow2 a 1M",
            "'qemu-img' is for files that 'qbitsim play' plays; here images are made at the start, by '--image'",
        ),
    ],
)
def test_who_writes_a_command_of_somebody_else_is_told_what_is_meant(in_process, line, told):
    assert in_process("-c", line) == (2, "", f"qbitsim: {told}\nqbitsim: -c:1: stopped here\n")


def test_a_keyboard_needs_the_extra(in_process, monkeypatch):
    monkeypatch.setattr(subcommand, "find_spec", lambda _: None)
    monkeypatch.setattr(subcommand, "_has_keyboard", lambda _: True)
    assert in_process() == (
        2,
        "",
        "qbitsim: the shell with a keyboard needs: pip install 'qbitsim[shell]'; -c and a pipe need nothing\n",
    )


def test_a_pipe_and_c_need_no_extra():
    bare = "import sys; sys.modules |= dict.fromkeys(['rich', 'prompt_toolkit']); from qbitsim.cli.main import main; "
    for arguments, text in ((["-c", "query-jobs"], ""), ([], "query-jobs")):
        code = f"{bare}sys.exit(main({['shell', *arguments]!r}))"
        ended = subprocess.run([sys.executable, "-c", code], input=text, capture_output=True, text=True, check=False)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, '{"return": []}\n', "")


def test_on_a_terminal_without_rich_replies_are_plain_json(monkeypatch):
    monkeypatch.setattr(screen_module, "find_spec", lambda _: None)
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    screen = screen_module.Screen(terminal, {"TERM": "xterm"})
    screen.reply("query-jobs", {"return": [{"id": "j", "type": "backup"}]})
    with screen.progress() as bars:
        bars([])
    assert json.loads(terminal.getvalue()) == [{"id": "j", "type": "backup"}]


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
    assert ended.stderr == ""
