"""``qbitsim tour`` from the command line: what it prints, where it reads, and terminals that can do little."""

from __future__ import annotations

import codecs
import io
import json
import os
import pty
import select
import struct
import subprocess
import sys
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest

from qbitsim.cli import tour
from qbitsim.cli.main import main
from qbitsim.tour.chapters import CHAPTERS
from qbitsim.tour.lesson import Finding, Step
from qbitsim.tour.progress import Progress, ProgressError, ProgressFile, state_path

PLAIN = {"TERM": "dumb"}
RICH = {"TERM": "xterm-256color", "LANG": "C.UTF-8", "PYTHONUTF8": "1"}


@pytest.fixture(autouse=True)
def _no_state_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("QBITSIM_TOUR_STATE", str(tmp_path / "tour.json"))


@pytest.fixture
def state(tmp_path):
    return tmp_path / "tour.json"


# -- without a keyboard


def test_all_chapters_play_by_themselves_and_keep_nothing(capsys, state):
    assert main(["tour", "--auto", "--width", "80"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for number, chapter in enumerate(CHAPTERS, 1):
        assert f"-- {number}. {chapter.title} --" in out
    assert "That was the tour." in out
    assert not state.exists()


@pytest.mark.parametrize("name", ["4", "chain"])
def test_one_chapter_plays_by_number_or_name(name, capsys):
    assert main(["tour", name, "--auto"]) == 0
    out = capsys.readouterr().out
    assert out.lstrip().startswith("-- 4. Incremental backups, and the chain that they make --")
    assert "-- 5." not in out
    assert "That was the tour." not in out


@pytest.mark.parametrize(("profile", "left_out"), [("10.0", 0), ("7.2", 0), ("2.5", 3)])
def test_what_a_release_lacks_is_left_out_and_said_so(profile, left_out, capsys):
    assert main(["tour", "--auto", "--profile", profile]) == 0
    assert capsys.readouterr().out.count("This chapter is left out: QEMU 2.5 has no ") == left_out


@pytest.mark.parametrize("name", ["0", "12", "nope", ""])
def test_a_chapter_that_is_not_there_is_one_line(name, capsys):
    assert main(["tour", name]) == 2
    assert capsys.readouterr().err == f"qbitsim: there is no chapter '{name}' (try 'qbitsim tour --list')\n"


def test_a_false_claim_ends_the_tour_with_a_line_and_a_status(monkeypatch, capsys):
    first = CHAPTERS[0]
    wrong = Step("Look:", see=(Finding("The moon is a disk.", lambda _: False),))
    false = type(first)(first.slug, first.title, (wrong,))
    monkeypatch.setattr(tour, "find", lambda _: false)
    monkeypatch.setattr("qbitsim.tour.guide.CHAPTERS", (false,))
    assert main(["tour", "1", "--auto"]) == 1
    assert capsys.readouterr().err == (
        "qbitsim: chapter 'bitmap', step 1: this is not so: The moon is a disk. (A bug of qbitsim.)\n"
    )


@pytest.mark.parametrize(("asked", "missing"), [("stdin", "input"), ("stdout", "output")])
def test_a_pipe_instead_of_a_terminal_goes_on_by_itself_and_says_so(asked, missing, monkeypatch, capsys):
    for stream in ("stdin", "stdout"):
        monkeypatch.setattr(getattr(sys, stream), "isatty", lambda stream=stream: stream != asked, raising=False)
    assert main(["tour", "bitmap"]) == 0
    out, err = capsys.readouterr()
    assert err == f"qbitsim: standard {missing} is no terminal: the tour goes on as with --auto\n"
    assert "A bit says that a cell was written." in out


def test_without_standard_input_it_goes_on_by_itself(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", None)
    assert main(["tour", "bitmap"]) == 0
    assert "standard input is no terminal" in capsys.readouterr().err


def test_without_the_extra_one_line_says_how_to_get_it_and_what_works_without(monkeypatch, capsys):
    monkeypatch.setattr(tour, "_at_terminal", lambda: True)
    monkeypatch.setattr(tour, "find_spec", lambda _: None)
    assert main(["tour"]) == 2
    assert capsys.readouterr().err == (
        "qbitsim: the tour with a keyboard needs: pip install 'qbitsim[shell]'; 'qbitsim tour --auto' does not\n"
    )


def test_the_tour_without_a_keyboard_imports_no_extra():
    program = (
        "import sys; from qbitsim.cli.main import main; main(['tour', 'bitmap', '--auto']);"
        "print(sorted({'prompt_toolkit', 'rich', 'asyncio'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "[]"


# -- the list


def test_the_list_shows_what_was_seen_and_begun(capsys, state):
    state.write_text('{"version": 1, "chapter": "full", "step": 2, "seen": ["bitmap", "granularity"]}')
    assert main(["tour", "--list", "--width", "80"]) == 0
    assert capsys.readouterr().out.splitlines()[:4] == [
        "x  1 bitmap      What a bitmap is",
        "x  2 granularity Granularity: how much one bit stands for",
        ">  3 full        A full backup, the anchor of all that follows",
        "   4 chain       Incremental backups, and the chain that they make",
    ]


def test_the_list_fits_40_columns(capsys):
    assert main(["tour", "--list", "--width", "40"]) == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 40


def test_the_list_is_shown_although_the_state_cannot_be_read(capsys, state):
    state.write_text("no JSON")
    assert main(["tour", "--list"]) == 0
    out, err = capsys.readouterr()
    assert err == f"qbitsim: {state} could not be read and will be written anew\n"
    assert len(out.splitlines()) == len(CHAPTERS)


# -- the state


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"version": 1}',
        '{"version": 1, "chapter": 3, "step": 0, "seen": []}',
        '{"version": 1, "chapter": null, "step": -1, "seen": []}',
        '{"version": 1, "chapter": null, "step": 0, "seen": [1]}',
        "[" * 100_000,
    ],
)
def test_a_state_that_makes_no_sense_is_written_anew(text, state):
    state.write_text(text)
    keeper = ProgressFile(state)
    with pytest.raises(ProgressError, match="could not be read and will be written anew"):
        keeper.load()
    keeper.save(Progress("full", 2, ("bitmap",)))
    assert ProgressFile(state).load() == Progress("full", 2, ("bitmap",))


def test_bytes_that_are_no_text_are_no_state(state):
    state.write_bytes(b"\xff\xfe")
    with pytest.raises(ProgressError, match="could not be read and will be written anew"):
        ProgressFile(state).load()


def test_a_directory_is_no_state_and_stays(state):
    state.mkdir()
    keeper = ProgressFile(state)
    with pytest.raises(ProgressError, match="Is a directory; nothing is kept of this visit"):
        keeper.load()
    keeper.save(Progress("full"))
    assert list(state.iterdir()) == []


def test_no_state_is_the_beginning(state):
    assert ProgressFile(state).load() == Progress()


def test_nothing_but_the_state_is_left_in_its_directory(state):
    ProgressFile(state).save(Progress("full", 1))
    assert os.listdir(state.parent) == [state.name]


@pytest.mark.parametrize(
    ("environment", "path"),
    [
        ({"QBITSIM_TOUR_STATE": "a/b", "XDG_STATE_HOME": "/x"}, Path("a/b")),
        ({"XDG_STATE_HOME": "/x"}, Path("/x/qbitsim/tour.json")),
        ({"XDG_STATE_HOME": "relative"}, Path("/home/me/.local/state/qbitsim/tour.json")),
        ({}, Path("/home/me/.local/state/qbitsim/tour.json")),
    ],
)
def test_the_state_is_where_the_environment_says(environment, path, monkeypatch):
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert state_path(environment) == path


def test_without_a_home_directory_one_line_says_what_to_do(monkeypatch, capsys):
    def homeless():
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("QBITSIM_TOUR_STATE")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert main(["tour", "--list"]) == 2
    assert capsys.readouterr().err == (
        "qbitsim: there is no home directory to keep your progress in: choose a file with --state\n"
    )


# -- at a terminal


class Terminal:
    """A process at a terminal of its own."""

    def __init__(self, arguments, columns, environment):
        ours, theirs = pty.openpty()
        ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 48, columns, 0, 0))
        clean = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "NO_COLOR")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "qbitsim", "tour", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=clean | environment | {"PROMPT_TOOLKIT_NO_CPR": "1"},
            start_new_session=True,
        )
        os.close(theirs)
        self._screen = ours
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.text = ""

    def type(self, keys, then):
        """Type, and read until a text comes that was not there before."""
        seen = self.text.count(then)
        os.write(self._screen, keys.encode())
        while self.text.count(then) == seen:
            assert self._read(), self.text

    def end(self):
        """Read to the end; the exit status."""
        while self._read():
            pass
        os.close(self._screen)
        return self.process.wait()

    def _read(self):
        """Whether there was something to read."""
        assert select.select([self._screen], [], [], 30)[0], f"nothing comes after {self.text}"
        try:
            data = os.read(self._screen, 65536)
        except OSError:  # which is how Linux says that the other end is closed
            return False
        self.text += self._decoder.decode(data)
        return bool(data)


def test_at_a_terminal_the_tour_has_colours_and_asks(state):
    terminal = Terminal(["--state", str(state)], 100, RICH)
    terminal.type("", "q: leave >")
    assert "── 1. What a bitmap is ──" in terminal.text
    assert "\033[34mAAAAAAAA\033[0m\033[2m····\033[0m" in terminal.text
    terminal.type("\r", "your guess >")
    terminal.type("\x04", "Goodbye.")
    assert terminal.end() == 0
    assert "Goodbye. 'qbitsim tour' goes on here." in terminal.text
    assert json.loads(state.read_text()) == {"version": 1, "chapter": "bitmap", "step": 1, "seen": []}


def test_ctrl_c_at_a_prompt_leaves_too(state):
    terminal = Terminal(["--state", str(state)], 80, RICH)
    terminal.type("", "q: leave >")
    terminal.type("\x03", "Goodbye.")
    assert terminal.end() == 0


def test_a_dumb_terminal_of_40_columns_is_enough(state):
    terminal = Terminal(["--state", str(state)], 40, PLAIN | {"PYTHONUTF8": "1"})
    terminal.type("", "q: leave >")
    terminal.type("\r", "your guess >")
    terminal.type("a\r", "e: change, q: leave >")
    terminal.type("\r", "Right: a) none.")
    terminal.type("q\r", "Goodbye.")
    assert terminal.end() == 0
    assert terminal.text.replace("\r", "").isascii()
    assert max(map(len, terminal.text.replace("\r", "").splitlines())) <= 40


def test_no_colour_and_ascii_are_respected(monkeypatch, capsys):
    class Screen(io.StringIO):
        encoding = "UTF-8"

        def isatty(self):
            return True

    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["tour", "chain", "--auto", "--ascii", "--width", "80"]) == 0
    assert screen.getvalue().isascii()
    assert "\033" not in screen.getvalue()
