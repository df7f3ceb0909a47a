"""``qbitsim report``: every kind of transcript, whole, cut off, newer, and wrong."""

from __future__ import annotations

import base64
import json
import re
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path

import pytest
from recordings import unpack

from qbitsim.cli.main import main
from qbitsim.history.file import loads

NAME = "d01-incremental-default-success"
SCENARIO = Path("scenarios", f"{NAME}.json")
GOLDEN = Path("golden-10.0", f"{NAME}.json")
DISKS = "disks and failures are for files of commands; a scenario starts its own machine"
PNG = "-o two.png: a report is a page (.html), a picture (.svg) or a history (.jsonl)"
COMMANDS = """\
disk drive0=1M
{"execute": "block-dirty-bitmap-add", "arguments": {"node": "drive0", "name": "b0"}}
write drive0 0 64k
{"execute": "drive-backup", "arguments": {"device": "drive0", "bitmap": "b0", "sync": "incremental", "target": "t"}}
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    unpack(tmp_path, [NAME])


@pytest.fixture
def report(capsys):
    """Run ``qbitsim report`` and return its status, its output and its complaints."""

    def run(*arguments):
        status = main(["report", *map(str, arguments)])
        return (status, *capsys.readouterr())

    return run


def kinds(history):
    return [moment["kind"] for moment in history["moments"]]


def test_a_file_of_commands_is_played_and_shown(report):
    Path("story.txt").write_text(COMMANDS)
    assert report("story.txt") == (0, "report.html: 3 commands, 9 events\n", "")
    assert Path("report.html").read_text().startswith("<!doctype html>")


def test_the_machine_of_a_file_of_commands_can_be_given(report):
    Path("story.txt").write_text(COMMANDS.partition("\n")[2])
    assert report("story.txt", "--disk", "drive0=1M", "--profile", "2.5", "-o", "h.jsonl")[0] == 0
    history = loads(Path("h.jsonl").read_text())
    assert (history["title"], history["profile"]) == ("story", "2.5")
    assert kinds(history)[-4:] == ["reply", "step", "event", "step"]


def test_a_scenario_is_played_and_shown(report):
    assert report(SCENARIO, "-o", "h.jsonl")[0] == 0
    history = loads(Path("h.jsonl").read_text())
    assert (history["title"], history["bits"], history["notes"]) == ("d01-incremental-default-success", True, [])
    assert {"disk", "bitmap", "successor", "job"} == {lane["kind"] for lane in history["lanes"]}


def test_a_transcript_of_real_qemu_is_shown_as_far_as_it_tells(report):
    note = "The machine is not known, only what was said: there are no bits to show."
    assert report(GOLDEN, "-o", "h.jsonl")[::2] == (0, f"qbitsim: {GOLDEN}: {note}\n")
    history = loads(Path("h.jsonl").read_text())
    assert (history["profile"], history["bits"]) == ("10.0.13", False)
    assert "job" in {lane["kind"] for lane in history["lanes"]}


def test_a_scenario_that_was_recorded_otherwise_is_shown_with_the_difference(report):
    value = json.loads(SCENARIO.read_text())
    records = json.loads(GOLDEN.read_text())["records"]
    Path("same.json").write_text(json.dumps({**value, "records": records}))
    assert report("same.json")[::2] == (0, "")
    for record in records:
        if record["type"] == "event":
            record["event"] = "STOP"
    Path("other.json").write_text(json.dumps({**value, "records": records}))
    status, _, complaints = report("other.json")
    assert status == 0
    assert complaints.startswith("qbitsim: other.json: This machine did not answer as it was recorded. monitor 0")


def test_a_history_is_written_by_play_and_shown(report, capsys):
    Path("story.txt").write_text(COMMANDS)
    assert main(["play", "story.txt", "--history", "h.jsonl"]) == 0
    assert main(["play", str(SCENARIO), "--history", "s.jsonl"]) == 0
    capsys.readouterr()
    assert report("h.jsonl", "-o", "again.jsonl") == (0, "again.jsonl: 3 commands, 9 events\n", "")
    assert Path("again.jsonl").read_text() == Path("h.jsonl").read_text()
    assert loads(Path("s.jsonl").read_text())["title"] == NAME


def test_a_picture_is_small_and_well_formed(report):
    Path("story.txt").write_text(COMMANDS)
    report("story.txt", "-o", "picture.svg")
    text = Path("picture.svg").read_text()
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(text) < 8_000
    words = [each.text for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert words[:2] == ["story", "QEMU 10.0, 20 moments from left to right"]
    assert {"drive0", "b0", "successor of b0", "✓ completed", "0 dirty cells"} <= set(words)


def test_two_runs_are_shown_side_by_side_and_the_status_says_whether_they_differ(report):
    Path("one.txt").write_text(COMMANDS)
    Path("two.txt").write_text(COMMANDS.replace("0 64k", "64k 64k"))
    assert report("one.txt", "one.txt")[::2] == (0, "qbitsim: they are equal\n")
    status, _, complaints = report("one.txt", "two.txt")
    text = (
        "Moment 6 differs in what happens: the guest writes 65536 bytes at 0 of drive0 / "
        "the guest writes 65536 bytes at 65536 of drive0."
    )
    assert (status, complaints) == (1, f"qbitsim: they differ: {text}\n")


@pytest.mark.parametrize("name", ["story.txt", "-"])
def test_it_can_read_and_write_in_a_pipe(report, monkeypatch, name):
    Path("story.txt").write_text(COMMANDS)
    with open("story.txt") as file:
        monkeypatch.setattr("sys.stdin", file)
        status, output, complaints = report(name, "-o", "-")
    assert (status, complaints) == (0, "")
    assert output.startswith("<!doctype html>")


def test_what_a_cut_file_holds_is_shown(report):
    text = SCENARIO.read_text()
    Path("cut.json").write_text(text[: text.rindex('"wait') if '"wait' in text else len(text) * 2 // 3])
    status, output, complaints = report("cut.json")
    assert status == 0
    assert output.startswith("report.html: ")
    assert complaints == "qbitsim: cut.json: The file is cut off. What comes before is shown.\n"


def test_every_scenario_that_is_cut_off_is_shown_or_refused_in_one_line(report):
    text = SCENARIO.read_text()
    for end in range(0, len(text), 41):
        Path("cut.json").write_text(text[:end])
        try:
            status, _, complaints = report("cut.json", "-o", "h.jsonl")
        except SystemExit:
            pytest.fail("it has left")
        assert complaints.count("\n") <= 2
        assert status in (0, 2)


def test_a_newer_format_is_shown_as_far_as_it_is_known(report):
    value = {**json.loads(SCENARIO.read_text()), "format": 7}
    Path("newer.json").write_text(json.dumps(value))
    note = "The file has format 7; this qbitsim knows 1. Some of it may be missing."
    assert report("newer.json")[::2] == (0, f"qbitsim: newer.json: {note}\n")


def test_a_play_that_ends_early_is_shown_up_to_there(report):
    Path("story.txt").write_text(f"{COMMANDS}nonsense\n")
    note = "The play ends early: story.txt:5: unknown command 'nonsense'"
    assert report("story.txt")[::2] == (0, f"qbitsim: story.txt: {note}\n")
    steps = [{"start": {"drives": [{"id": "d", "file": "x", "if": "none"}]}}]
    Path("missing.json").write_text(json.dumps({"name": "x", "steps": steps}))
    status, _, complaints = report("missing.json")
    assert status == 0
    assert complaints.startswith("qbitsim: missing.json: The scenario ends early: the machine does not start")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "x.json: it is empty"),
        ("  \n", "x.json: it is empty"),
        ("nonsense", "x.json: it is no JSON, and nothing of it can be read"),
        ("{}", "x.json: it is JSON, but neither a history nor a scenario nor a transcript"),
        ("[1]", "x.json: it is JSON, but neither a history nor a scenario nor a transcript"),
        ('{"steps": [{"fly": 1}]}', "x.json: step 0 is of no known kind: it has fly"),
        ('{"steps": [1]}', "x.json: step 0 is no object"),
        ('{"kind": "qbitsim-history"', "x.json: it does not begin with the header of a history"),
    ],
)
def test_what_shows_nothing_is_refused_in_one_line(report, text, complaint):
    Path("x.json").write_text(text)
    assert report("x.json") == (2, "", f"qbitsim: {complaint}\n")
    assert not Path("report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["missing.json"], "missing.json: No such file or directory"),
        (["."], ".: Is a directory"),
        ([str(SCENARIO), "-o", "two.png"], PNG),
        (["a", "b", "c"], "a report shows one transcript, or two side by side"),
        (["-", "-"], "standard input can be read only once"),
        ([str(SCENARIO), "-o", "no/such/folder.html"], "no/such/folder.html: No such file or directory"),
        (
            [str(SCENARIO), "--disk", "d=1M"],
            "disks and failures are for files of commands; a scenario starts its own machine",
        ),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_line(report, arguments, complaint):
    assert report(*arguments) == (2, "", f"qbitsim: {complaint}\n")


def test_an_unknown_file_of_commands_is_refused_if_nothing_of_it_was_played(report):
    Path("x.txt").write_text("nonsense\n")
    assert report("x.txt") == (2, "", "qbitsim: x.txt:1: unknown command 'nonsense'\n")


def test_a_history_takes_no_disks(report):
    Path("story.txt").write_text(COMMANDS)
    report("story.txt", "-o", "h.jsonl")
    complaint = "disks and failures are for files of commands; h.jsonl: it is a history, in which all has happened"
    assert report("h.jsonl", "--disk", "d=1M") == (2, "", f"qbitsim: {complaint}\n")


def _names(page):
    """What a page calls its runs."""
    (data,) = re.findall(r'id="data">([^<]+)<', Path(page).read_text())
    return json.loads(zlib.decompress(base64.b64decode(data), -zlib.MAX_WBITS))["names"]


def test_two_runs_are_called_by_their_files(report):
    for folder in ("good", "bad"):
        Path(folder).mkdir()
        Path(folder, "story.txt").write_text(COMMANDS)
    Path("other.txt").write_text(COMMANDS)
    report("good/story.txt", "other.txt", "-o", "short.html")
    report("good/story.txt", "bad/story.txt", "-o", "long.html")
    assert _names("short.html") == ["story.txt", "other.txt"]
    assert _names("long.html") == ["good/story.txt", "bad/story.txt"]
