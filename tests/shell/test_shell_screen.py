"""What replies and events look like on terminals of all kinds."""

from __future__ import annotations

import io
import json
import re

import pytest

from qbitsim.shell.screen import Screen

ROWS = [{"device": "drive0", "locked": False, "inserted": {"file": "a.qcow2", "ro": True}, "dirty-bitmaps": [{}]}]


def test_the_reply_of_a_query_is_a_table_as_wide_as_the_terminal(new_shell, say, monkeypatch):
    shell = new_shell(drive0="1M", drive1="2M")
    assert [line.rstrip() for line in say(shell, "query-block").splitlines()] == [
        "device  node-name    type     drv    file          ro  locked  removable  active",
        "drive0  drive0-node  unknown  qcow2  drive0.qcow2  no  no      yes        yes",
        "drive1  drive1-node  unknown  qcow2  drive1.qcow2  no  no      yes        yes",
        "2 rows; 12 more columns do not fit; ':json' shows all",
    ]
    monkeypatch.setenv("COLUMNS", "40")
    assert [line.rstrip() for line in say(shell, "query-block").splitlines()] == [
        "device  node-name    type     drv    ro",
        "drive0  drive0-node  unknown  qcow2  no",
        "drive1  drive1-node  unknown  qcow2  no",
        "2 rows; 16 more columns do not fit; ':json' shows all",
    ]


def test_nothing_in_a_table_is_cut(terminal):
    screen = Screen(terminal, {"NO_COLOR": "1"})
    screen.reply("query-x", {"return": [{"id": "x" * 39, "other": "y" * 100, "more": {"a": {"b": 1}}, "n": None}]})
    assert terminal.take().split() == [
        "id",
        "a",
        "n",
        "x" * 39,
        "{1}",
        "null",
        *["1", "row;", "1", "more", "column", "does", "not", "fit;", "':json'", "shows", "all"],
    ]


@pytest.mark.parametrize("value", [[], [1, 2], {}, {"a": [True, None, "ä"]}, "text", [{"a": "x" * 90}]])
def test_what_is_no_table_is_json(terminal, value):
    screen = Screen(terminal, {"NO_COLOR": "1"})
    screen.reply("query-x", {"return": value})
    assert json.loads(terminal.take()) == value


def test_without_colours_there_is_no_escape(new_shell, say):
    shell = new_shell()
    assert "\x1b" not in say(shell, "query-block", "query-version", "stop", "nonsense", ":show", ":help", ":step x")


def test_colours_only_colour(new_shell, say):
    lines = ("query-block", "query-version", "stop", "nonsense", ":show", ":step x", ":step")
    plain, coloured = say(new_shell(), *lines), say(new_shell(colour=True), *lines)
    assert coloured != plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


def test_a_very_long_reply_is_cut_and_says_how_to_see_it(terminal):
    screen = Screen(terminal, {"NO_COLOR": "1"})
    screen.reply("x", {"return": list(range(1000))})
    lines = terminal.take().splitlines()
    assert (len(lines), lines[-1]) == (61, "... 942 more lines; ':json' shows all on one line")


def test_an_event_is_folded_where_the_terminal_ends(terminal, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    screen = Screen(terminal, {"NO_COLOR": "1"})
    screen.event({"event": "BLOCK_JOB_COMPLETED", "data": {"device": "drive0", "error": "No space", "len": 65536}})
    assert terminal.take().splitlines() == [
        "event BLOCK_JOB_COMPLETED device=drive0",
        '      error="No space" len=65536',
    ]


def test_what_is_no_terminal_gets_one_line_of_json_each(capsys):
    out = io.StringIO()
    screen = Screen(out, {})
    screen.reply("query-x", {"return": ROWS})
    screen.event({"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}})
    screen.complain("what is wrong")
    assert [json.loads(line) for line in out.getvalue().splitlines()] == [
        {"return": ROWS},
        {"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}},
    ]
    assert capsys.readouterr().err == "qbitsim: what is wrong\n"
