"""Files and lines that are damaged end in one line on stderr, and never in a traceback."""

from __future__ import annotations

import json

import pytest

from qbitsim.cli.main import main


def one_line(capsys, argv):
    status = main(argv)
    lines = capsys.readouterr().err.splitlines()
    assert status
    assert len(lines) == 1
    assert lines[0].startswith("qbitsim: ")
    return lines[0]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ("bps=word", "expects a number"),
        ("iops=1.5x", "expects a number"),
        ("driver=null-co,size=word", "expects a non-negative number below 2^64"),
        ("driver=null-co,latency-ns=word", "expects a number"),
        (
            "driver=blkdebug,image.driver=null-co,inject-error.0.event=read_aio,inject-error.0.errno=EIO",
            "Parameter 'errno' expects a number",
        ),
    ],
)
def test_a_drive_with_a_word_for_a_number_is_refused(tmp_path, capsys, options, text):
    lines = tmp_path / "lines.qmp"
    lines.write_text('{"execute": "query-status"}\n')
    assert text in one_line(capsys, ["play", str(lines), "--drive", f"id=d0,if=none,{options}"])


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ([{"event": "read_aio", "errno": "EIO"}], "'inject-error[0].errno', expected: integer"),
        ([3], "'inject-error[0]', expected: object"),
        (3, "'inject-error', expected: array"),
    ],
)
def test_a_scenario_with_a_word_for_an_errno_is_refused(tmp_path, capsys, rules, text):
    node = {"driver": "blkdebug", "node-name": "b", "image": {"driver": "null-co"}, "inject-error": rules}
    scenario = tmp_path / "scenario.json"
    scenario.write_text(json.dumps({"name": "x", "steps": [{"start": {"blockdevs": [node]}}]}))
    assert text in one_line(capsys, ["play", str(scenario)])


def test_a_mark_alone_is_no_command(tmp_path, capsys):
    lines = tmp_path / "lines.qmp"
    lines.write_text("!\n")
    assert one_line(capsys, ["play", str(lines)]) == f"qbitsim: {lines}:1: unknown command '!'"
