"""What ``qbitsim play`` prints, and the transcripts that it writes."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys

import pytest
from recordings import recorded, unpack

from qbitsim import Machine
from qbitsim.cli.main import main
from qbitsim.cli.script import Script
from qbitsim.terminal.errors import CliError

NOW = '"timestamp": {"seconds": 1447192343, "microseconds": 0}'


def status(job: str, name: str) -> str:
    return f'{{{NOW}, "event": "JOB_STATUS_CHANGE", "data": {{"status": "{name}", "id": "{job}"}}}}'


@pytest.fixture
def play(capsys, tmp_path, monkeypatch):
    """Plays a text with arguments; the exit status and the lines that were printed."""

    def played(text: str, *arguments: str) -> tuple[int, list[str]]:
        file = tmp_path / "commands.txt"
        file.write_text(text, encoding="utf-8")
        code = main(["play", str(file), *arguments])
        out, err = capsys.readouterr()
        assert err == ""
        return code, out.splitlines()

    monkeypatch.chdir(tmp_path)
    return played


def test_replies_are_printed_as_qemu_writes_them(play):
    text = """
    # one per line, or several, or one over several lines
    {"execute": "query-status"}
    {"execute": "stop", "id": [1, "x"]} {"execute": "frob"}
    { "execute":
      "cont" }
    """
    assert play(text) == (
        0,
        [
            '{"return": {"status": "running", "running": true}}',
            f'{{{NOW}, "event": "STOP"}}',
            '{"return": {}, "id": [1, "x"]}',
            '{"error": {"class": "CommandNotFound", "desc": "The command frob has not been found"}}',
            f'{{{NOW}, "event": "RESUME"}}',
            '{"return": {}}',
        ],
    )


def test_a_file_that_negotiates_sees_the_greeting(play):
    code, lines = play('{"execute": "qmp_capabilities"}', "--profile", "7.2")
    assert code == 0
    assert json.loads(lines[0])["QMP"]["version"]["qemu"] == {"micro": 22, "minor": 2, "major": 7}
    assert lines[1:] == ['{"return": {}}']


def test_an_incremental_backup_from_beginning_to_end(play):
    text = """
    write drive0 0 64k 0x41
    {"execute": "block-dirty-bitmap-add", "arguments": {"node": "drive0", "name": "b"}}
    write drive0 128k 64k
    qemu-img create -q -f qcow2 t.img 1M
    {"execute": "drive-backup",
      "arguments": {"device": "drive0", "bitmap": "b", "target": "t.img",
                    "sync": "incremental", "mode": "existing", "format": "qcow2"}}
    qemu-img compare -U t.img drive0.qcow2
    qemu-io drive0 "read -q -P 0x41 0 64k"
    qemu-io drive0 "read -q -P 0 0 64k"
    """
    completed = (
        f'{{{NOW}, "event": "BLOCK_JOB_COMPLETED", "data": {{"device": "drive0", "len": 65536, "offset": 65536, '
        '"speed": 0, "type": "backup"}}'
    )
    assert play(text, "--disk", "drive0=1M") == (
        1,
        [
            '{"return": {}}',
            *[status("drive0", name) for name in ("created", "running", "paused", "running")],
            '{"return": {}}',
            *[status("drive0", name) for name in ("waiting", "pending")],
            completed,
            *[status("drive0", name) for name in ("concluded", "null")],
            "Content mismatch at offset 0!",
            "Pattern verification failed at offset 0, 65536 bytes",
        ],
    )


def test_a_speed_limit_lets_a_job_wait_for_time_to_pass(play):
    text = """
    disk d=1M,format=raw
    {"execute": "drive-backup", "arguments": {"device": "d", "target": "t", "sync": "full", "speed": 65536}}
    advance 3
    {"execute": "query-block-jobs"}
    run
    {"execute": "query-block-jobs"}
    """
    code, lines = play(text, "--profile", "2.5")
    assert code == 0
    [job] = json.loads(lines[1])["return"]
    assert (job["len"], 0 < job["offset"] < job["len"]) == (1 << 20, True)
    assert '"BLOCK_JOB_COMPLETED"' in lines[2]
    assert lines[3:] == ['{"return": []}']


def test_held_jobs_go_on_only_when_told_to(play):
    text = """
    disk d=1M
    hold
    {"execute": "drive-backup", "arguments": {"device": "d", "target": "t", "sync": "full"}}
    qemu-img info frob
    query-jobs
    run
    """
    code, lines = play(text)
    assert code == 1
    *begun, reply, info, jobs, waiting, pending, completed, _, _ = lines
    assert all('"JOB_STATUS_CHANGE"' in line for line in [*begun, waiting, pending])
    assert reply == '{"return": {}}'
    assert info.startswith("qemu-img: Could not open 'frob'")
    assert [job["status"] for job in json.loads(jobs)["return"]] == ["running"]
    assert '"BLOCK_JOB_COMPLETED"' in completed


def test_held_jobs_do_not_go_on_at_the_end_of_the_file(play):
    text = """
    disk d=1M
    hold
    {"execute": "drive-backup", "arguments": {"device": "d", "target": "t", "sync": "full"}}
    """
    code, lines = play(text)
    assert (code, json.loads(lines[-1])) == (0, {"return": {}})


def test_a_target_without_room_fails_and_another_try_succeeds(play):
    command = (
        '{"execute": "drive-backup", "arguments": {"device": "d", "target": "t", "sync": "full", "format": "raw"}}'
    )
    text = f"disk d=1M\nwrite d 0 128k\ncapacity t=64k\n{command}\ncapacity t=none\n{command}"
    code, lines = play(text, "--profile", "2.5")
    completed = [json.loads(line)["data"] for line in lines if "COMPLETED" in line]
    assert code == 0
    assert [data.get("error") for data in completed] == ["No space left on device", None]


def test_a_fault_strikes_once(play):
    text = """
    image base=1M
    disk d=1M,backing=base,node-name=n
    fail n:write:64k+1:EIO:once
    write d 0 64k
    write d 64k 64k
    write d 64k 64k
    """
    assert play(text) == (0, ["write failed: Input/output error"])


def test_echo_shows_what_is_played(play):
    assert play('disk d=1M\n{"execute":\n"stop"}\nrun\n', "--echo") == (
        0,
        ["-> disk d=1M", '-> {"execute":', '-> "stop"}', f'{{{NOW}, "event": "STOP"}}', '{"return": {}}', "-> run"],
    )


def test_commands_can_be_typed_as_in_the_shell(play):
    lines = """
        disk d=1M
        block-dirty-bitmap-add node=d name=b0 granularity=64k
        transaction(
          block-dirty-bitmap-add node=d name=b1
          block-dirty-bitmap-add node=d name=b2 )
        transaction actions=[{'type': 'block-dirty-bitmap-clear', 'data': {'node': 'd', 'name': 'b0'}}]
        info kvm
        query-jobs
    """
    replies = [json.loads(line)["return"] for line in play(lines)[1]]
    assert replies == [{}, {}, {}, "kvm support: disabled\r\n", []]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("query-jobs x", "'x' is no argument: write key=value"),
        ("block-dirty-bitmap-add nod=d", "block-dirty-bitmap-add has no 'nod'; did you mean 'node'?"),
        ("transaction( abort", "the transaction has no ')'"),
        ("query-job", "unknown command 'query-job'; did you mean 'query-jobs'?"),
        (":write d 0 64k", "unknown command ':write'; without a shell it is 'write'"),
        (":show", "unknown command ':show'"),
        ("write e 0 64k", "there is no drive or node 'e'"),
    ],
)
def test_what_is_typed_wrongly_is_told(line, text):
    with pytest.raises(CliError, match=f"^f:2: {re.escape(text)}$"):
        Script(Machine(), "f", lambda _: None).play(f"query-status\n{line}\n".encode())


def test_a_list_of_commands_is_played_one_by_one(play):
    commands = [{"execute": "query-jobs"}, {"execute": "query-name", "id": 2}]
    shown = ['{"return": []}', '{"return": {}, "id": 2}']
    assert play(json.dumps(commands)) == (0, shown)
    assert play("# both\n" + json.dumps(commands, indent=1)) == (0, shown)


def test_a_list_of_commands_of_which_one_is_none_is_refused(capsys, monkeypatch):
    text = '[{"execute": "query-jobs"}, {"execut": "query-jobs"}]'
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    assert main(["play", "-"]) == 2
    shown = 'qbitsim: <stdin>: number 2 of the list of commands is none: {"execut": "query-jobs"}\n'
    assert capsys.readouterr() == ("", shown)


def test_a_pasted_conversation_is_played_without_what_the_server_had_said(tmp_path, capsys):
    file = tmp_path / "f"
    file.write_text(
        '<- {"QMP": {"version": {}, "capabilities": []}}\n-> {"execute": "query-jobs"}\n<- {"return": []}\n'
        '{"timestamp": {"seconds": 1, "microseconds": 0}, "event": "STOP"}\n(QEMU) query-jobs\n{\n"return": []\n}\n'
    )
    assert main(["play", str(file)]) == 0
    assert capsys.readouterr() == (
        '{"return": []}\n' * 2,
        f"qbitsim: {file}: what a server has said is left out: line 1, 3, 4, 6\n",
    )


def test_a_dash_is_standard_input(capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"frob\n")))
    assert main(["play", "-"]) == 2
    assert capsys.readouterr() == ("", "qbitsim: <stdin>:1: unknown command 'frob'\n")


def test_a_job_that_retries_for_ever_ends_the_play(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("qbitsim.cli.script.STEP_LIMIT", 2000)
    file = tmp_path / "f"
    file.write_text(
        "disk d=1M\nwrite d 0 64k\nfail d:read:*:EIO\n"
        '{"execute": "drive-backup", "arguments": {"device": "d", "target": "t", "sync": "full", '
        '"on-source-error": "ignore"}}\n'
    )
    assert main(["play", str(file)]) == 1
    assert capsys.readouterr().err == f"qbitsim: {file}:4: the machine works without end (a job retries?)\n"


@pytest.mark.parametrize("version", ["10.0", "7.2"])
@pytest.mark.parametrize("name", ["a16-merge-basic", "d02-incremental-default-failure", "e05-id-echo"])
def test_a_transcript_is_that_of_real_qemu(name, version, tmp_path, capsys):
    out = tmp_path / "out.json"
    unpack(tmp_path, [name])
    scenario = tmp_path / "scenarios" / f"{name}.json"
    golden = tmp_path / f"golden-{version}" / f"{name}.json"
    assert main(["play", str(scenario), "--profile", version, "--transcript", str(out)]) == 0
    assert capsys.readouterr() == ("", "")
    assert out.read_text(encoding="utf-8") == golden.read_text(encoding="utf-8")


def test_without_transcript_the_records_are_printed_one_per_line(tmp_path, capsys):
    unpack(tmp_path, ["a16-merge-basic"])
    assert main(["play", str(tmp_path / "scenarios" / "a16-merge-basic.json")]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [printed] == recorded("10.0", "a16-merge-basic")


def test_who_interrupts_it_while_modules_are_loaded_is_answered_as_later():
    program = """
import sys
class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "qbitsim.cli.arguments":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupting())
from qbitsim.cli.main import main
sys.exit(main(["demo"]))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (130, "", "qbitsim: interrupted\n")


def test_a_history_is_told_from_a_file_of_commands(play, capsys):
    assert play("query-status", "--history", "h.jsonl")[0] == 0
    assert main(["play", "h.jsonl"]) == 2
    expected = "qbitsim: h.jsonl: this is a history, which is to be looked at: qbitsim report h.jsonl\n"
    assert capsys.readouterr() == ("", expected)
