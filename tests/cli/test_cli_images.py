"""``--images``: image files are real files of a folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from test_cli_serve import ready, serving, unix_client
from trees import complaints_in

from qbitsim.cli.main import main

needs_qemu_img = pytest.mark.skipif(
    shutil.which("qemu-img") is None, reason="no qemu-img on the path (Debian: qemu-utils)"
)


def real(*argv: str | Path) -> str:
    return subprocess.run(argv, capture_output=True, check=True, text=True).stdout


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for image files, beside which commands run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vm").mkdir()
    return tmp_path / "vm"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


COMMANDS = """\
disk drive0=1M
{"execute": "block-dirty-bitmap-add", "arguments": {"node": "drive0", "name": "b0", "persistent": true}}
write drive0 64k 64k 0x41
"""


def test_a_file_of_commands_leaves_complete_files(folder, capsys):
    Path("commands.txt").write_text(COMMANDS)
    assert main(["play", "commands.txt", "--images", "vm"]) == 0
    assert capsys.readouterr() == ('{"return": {}}\n', "")
    assert sorted(os.listdir(folder)) == ["drive0.qcow2"]
    Path("more.txt").write_text('{"execute": "query-block"}\nqemu-io drive0 "read -P 0x41 64k 64k"\n')
    assert main(["play", "more.txt", "--images", str(folder), "--drive", "id=drive0,file=drive0.qcow2"]) == 0
    reply, read = capsys.readouterr().out.splitlines()[:2]
    (bitmap,) = json.loads(reply)["return"][0]["inserted"]["dirty-bitmaps"]
    assert (bitmap["name"], bitmap["count"], bitmap["persistent"]) == ("b0", 65536, True)
    assert read == "read 65536/65536 bytes at offset 65536"
    assert complaints_in(folder) == {}


@needs_qemu_img
def test_real_tools_read_what_was_written_and_write_what_is_read(folder, capsys):
    Path("commands.txt").write_text(COMMANDS)
    assert main(["play", "commands.txt", "--images", "vm"]) == 0
    found = json.loads(real("qemu-img", "info", "--output=json", folder / "drive0.qcow2"))
    assert found["virtual-size"] == 1 << 20
    assert found["format-specific"]["data"]["bitmaps"] == [{"flags": ["auto"], "name": "b0", "granularity": 65536}]
    real("qemu-io", "-c", "write -P 0x42 0 64k", folder / "drive0.qcow2")
    Path("more.txt").write_text('qemu-io drive0 "read -P 0x42 0 64k"\n')
    assert main(["play", "more.txt", "--images", "vm", "--drive", "id=drive0,file=drive0.qcow2"]) == 0
    assert "Pattern verification failed" not in capsys.readouterr().out


def test_a_file_of_commands_that_is_at_fault_leaves_complete_files(folder, capsys):
    Path("commands.txt").write_text(COMMANDS + "frob\n")
    assert main(["play", "commands.txt", "--images", "vm"]) == 2
    assert capsys.readouterr().err == "qbitsim: commands.txt:4: unknown command 'frob'\n"
    assert complaints_in(folder) == {}
    Path("more.txt").write_text('qemu-io drive0 "read -P 0x41 64k 64k"\n')
    assert main(["play", "more.txt", "--images", "vm", "--drive", "id=drive0,file=drive0.qcow2"]) == 0
    assert "Pattern verification failed" not in capsys.readouterr().out


def test_a_scenario_leaves_its_files(folder, capsys):
    steps = [
        {"shell": ["qemu-img", "create", "-f", "qcow2", "a.qcow2", "1M"]},
        {"start": {"drives": [{"if": "none", "id": "d", "file": "a.qcow2", "format": "qcow2"}]}},
        {"write": ["d", 0, 65536, 7]},
    ]
    Path("scenario.json").write_text(json.dumps(steps))
    assert main(["play", "scenario.json", "--images", "vm"]) == 0
    assert sorted(os.listdir(folder)) == ["a.qcow2"]
    assert complaints_in(folder) == {}
    assert b"\7" * 65536 in (folder / "a.qcow2").read_bytes()


def test_names_are_relative_to_the_folder_or_absolute_and_lead_through_links(folder, tmp_path, capsys):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    os.symlink("drive0.qcow2", folder / "link")
    os.symlink(elsewhere, folder / "outside")
    Path("commands.txt").write_text(f"""\
disk drive0=1M
image outside/t.img=1M
image {elsewhere}/u.img=1M,format=raw
write drive0 0 64k 0x41
qemu-img info -U link
{{"execute": "drive-backup", "arguments": {{"device": "drive0", "target": "{elsewhere}/v.img", "sync": "full"}}}}
""")
    assert main(["play", "commands.txt", "--images", "vm"]) == 0
    assert '"desc"' not in capsys.readouterr().out
    assert sorted(os.listdir(folder)) == ["drive0.qcow2", "link", "outside"]
    assert sorted(os.listdir(elsewhere)) == ["t.img", "u.img", "v.img"]
    assert os.readlink(folder / "link") == "drive0.qcow2"


def test_no_file_is_touched_that_nobody_named(folder, capsys):
    for name in ("drive1.qcow2", "notes.txt"):
        (folder / name).write_bytes(name.encode())
        os.utime(folder / name, (1, 1))
    Path("commands.txt").write_text(COMMANDS)
    before = contents(folder)
    assert main(["play", "commands.txt", "--images", "vm"]) == 0
    assert contents(folder).items() >= before.items()
    assert {os.stat(folder / name).st_mtime for name in before} == {1}


def test_a_disk_on_a_file_that_exists_is_not_made_anew(folder, capsys):
    Path("commands.txt").write_text(COMMANDS)
    assert main(["play", "commands.txt", "--images", "vm"]) == 0
    before = contents(folder)
    assert main(["play", "commands.txt", "--images", "vm"]) == 2
    assert "the file 'drive0.qcow2' exists already" in capsys.readouterr().err
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("name", "why"), [("nosuch", "No such file or directory"), ("file", "Not a directory"), ("", "No such file")]
)
@pytest.mark.parametrize("command", [["play", "c.txt"], ["serve", "--qmp", "stdio"], ["shell", "-c", "x"], ["demo"]])
def test_a_folder_must_exist(command, name, why, folder, capsys):
    Path("c.txt").write_text("")
    Path("file").write_text("")
    assert main([*command, "--images", name]) == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith(f"qbitsim: --images {name}: {why}"), err.count("\n")) == ("", True, 1)


def test_a_server_stores_what_its_clients_wrote(folder, tmp_path):
    path = tmp_path / "qmp"
    with serving("--qmp", f"unix:{path}", "--images", "vm", "--disk", "drive0=1M") as process:
        ready(process)
        client = unix_client(path)
        bitmap = {"node": "drive0", "name": "b0", "persistent": True}
        action = {"type": "block-dirty-bitmap-add", "data": bitmap}
        assert client.command("transaction", actions=[action]) == {"return": {}}
        line = 'qemu-io drive0 "write -q -P 0x41 0 64k"'
        assert client.command("human-monitor-command", **{"command-line": line}) == {"return": ""}
        arguments = {"device": "drive0", "target": "t.img", "sync": "full"}
        assert client.command("drive-backup", **arguments) == {"return": {}}
        client.event("BLOCK_JOB_COMPLETED")
        process.terminate()
        assert client.event("SHUTDOWN") == {"guest": False, "reason": "host-signal"}
        client.close()
        printed = (
            b"Formatting 't.img', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 "
            b"lazy_refcounts=off refcount_bits=16\n"
        )
        assert process.communicate(timeout=10) == (printed, b"")
        assert process.returncode == 0
    assert sorted(os.listdir(folder)) == ["drive0.qcow2", "t.img"]
    assert complaints_in(folder) == {}
    if shutil.which("qemu-img"):
        assert "identical" in real("qemu-img", "compare", folder / "drive0.qcow2", folder / "t.img")
        found = json.loads(real("qemu-img", "info", "--output=json", folder / "drive0.qcow2"))
        assert found["format-specific"]["data"]["bitmaps"] == [{"flags": ["auto"], "name": "b0", "granularity": 65536}]


def test_a_shell_works_on_files_and_cannot_undo(folder, capsys):
    lines = ["block-dirty-bitmap-add node=drive0 name=b0 persistent=true", ":write drive0 0 64k 0x41"]
    words = [word for line in lines for word in ("-c", line)]
    assert main(["shell", "--images", "vm", "--disk", "drive0=1M", *words]) == 0
    assert capsys.readouterr().err == ""
    assert complaints_in(folder) == {}
    assert b"\x41" * 65536 in (folder / "drive0.qcow2").read_bytes()
    drive = ["--drive", "id=drive0,file=drive0.qcow2"]
    assert main(["shell", "--images", "vm", *drive, "-c", "stop", "-c", ":undo"]) != 0
    assert "Traceback" not in capsys.readouterr().err


def test_a_shell_on_a_server_has_no_files_of_its_own(folder, capsys):
    assert main(["shell", "--images", "vm", "--connect", "unix:nosuch"]) == 2
    assert "has its disks, its files and its pacing already" in capsys.readouterr().err


def test_the_story_is_told_in_an_empty_folder_and_stays_there(folder, capsys):
    assert main(["demo", "--images", "vm"]) == 0
    assert "All 8 backups read as their disks did" in " ".join(capsys.readouterr().out.split())
    assert complaints_in(folder) == {}
    assert {"drive0.qcow2", "drive1.qcow2", "full_backup.img"} <= set(os.listdir(folder))
    before = contents(folder)
    assert main(["demo", "--images", "vm"]) == 2
    assert capsys.readouterr() == ("", "qbitsim: --images vm: the story begins with an empty folder\n")
    assert contents(folder) == before
