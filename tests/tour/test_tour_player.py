"""What happens when a reader predicts, and when a reader changes a command."""

from __future__ import annotations

import re

import pytest

from qbitsim.terminal.picture import Style
from qbitsim.tour.guide import find
from qbitsim.tour.player import Player
from qbitsim.tour.reader import LeftError, Reader

ADD = '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "drive0", "name": "mine", "granularity": 512}}'
BUSY = '{"execute": "block-dirty-bitmap-clear", "arguments": {"node": "disk0", "name": "bitmap0"}}'


class Scripted(Reader):
    """A reader who has made up his mind: what he guesses, and what he sends instead of one command."""

    def __init__(self, guesses=(), changes=(), runs=0, at=0):
        self.guesses = iter(guesses)
        self.changes = iter(changes)
        self.runs = runs
        self.at = at
        self.offered: list[str] = []

    def guess(self, question):
        return next(self.guesses, None)

    def change(self, command, idea):
        self.offered.append(command)
        return next(self.changes, None) if len(self.offered) > self.at else None

    def lets_jobs_run(self):
        self.runs -= 1
        return self.runs >= 0


def told(slug, reader):
    """All that the reader is told, as one line."""
    lines: list[str] = []
    Player(find(slug), "10.0", Style(80), lines.append).play(reader)
    return " ".join("\n".join(lines).split())


def test_who_guesses_right_is_told_so_and_why():
    assert "Right: a) none. A new bitmap knows nothing of the past." in told("bitmap", Scripted(["a"]))


def test_who_guesses_wrong_is_told_the_answer_and_why():
    text = told("bitmap", Scripted(["c", "2-9"]))
    assert "Not quite. The answer: a) none. A new bitmap knows" in text
    assert "Not quite. The answer: cells 2, 8 and 9. A write sets the bit" in text


def test_cells_can_be_guessed_in_any_order_and_as_ranges():
    assert "Right: cells 2, 8 and 9." in told("bitmap", Scripted(["a", "8-9, 2"]))


def test_who_does_not_guess_is_told_the_answer():
    text = told("bitmap", Scripted())
    assert "The answer: a) none." in text
    assert "Right:" not in text
    assert "Not quite." not in text


def test_the_command_is_offered_as_it_was_shown():
    reader = Scripted()
    told("bitmap", reader)
    assert reader.offered[0] == (
        '{\n  "execute": "block-dirty-bitmap-add",\n  "arguments": {"node": "drive0", "name": "bitmap0"}\n}'
    )


def test_a_changed_command_runs_and_the_machine_is_put_back():
    text = told("bitmap", Scripted(changes=[ADD]))
    tried, _, rest = text.partition("The machine is put back to where it was before your command.")
    assert "mine ................................ clean" in tried
    assert "mine" not in rest
    assert "bitmap0 ................................ clean" in rest


def test_a_changed_command_leaves_no_trace_in_what_comes_later():
    plain = told("grouped", Scripted())
    changed = told("grouped", Scripted(changes=['{"execute": "quit"}'], runs=1))
    _, _, rest = changed.partition("The tour goes on with its own one.")
    assert plain.endswith(rest)
    assert "<- SHUTDOWN guest=False reason=host-qmp-quit" in changed


def test_a_refused_command_shows_the_words_of_qemu():
    text = told("chain", Scripted(changes=['{"execute": "job-cancel", "arguments": {"id": "x"}}']))
    assert '<- {"error": {"class": "GenericError", "desc": "Job not found"}}' in text


def test_the_machine_is_the_one_that_the_tour_has_come_to():
    text = told("failure", Scripted(changes=[BUSY], at=3))
    assert '<- {"error": {"class": "GenericError", "desc": "Bitmap \'bitmap0\' is currently in use' in text


def test_jobs_go_on_after_a_changed_command_if_the_reader_wants():
    full = '{"execute": "drive-backup", "arguments": {"device": "drive0", "sync": "full", "target": "mine"}}'
    assert told("chain", Scripted(changes=[full], runs=1)).count("len=1048576") == 1
    assert told("chain", Scripted(changes=[full], runs=0)).count("len=1048576") == 0


def test_a_job_that_never_ends_does_not_hang_the_tour():
    endless = (
        '{"execute": "drive-backup", "arguments": {"device": "drive0", "sync": "full", "target": "again.qcow2",'
        ' "on-target-error": "ignore"}}'
    )
    text = told("transaction", Scripted(changes=[endless], runs=1, at=5))
    assert re.search(r"operation=write action=ignore \(\d{3} times\)", text)
    assert "after 1000 steps there is still work to do" in text


def test_a_slow_disk_is_waited_for():
    slow = '{"execute": "drive-backup", "arguments": {"device": "drive1", "sync": "top", "target": "mine"}}'
    tried, _, _ = told("grouped", Scripted(changes=[slow], runs=1)).partition("The machine is put back")
    assert 'type=backup error="Input/output error"' in tried


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("hello", "JSON parse error, invalid keyword 'hello'"),
        ("[" * 2000, "JSON nesting depth limit exceeded"),
        ("1", "QMP input must be a JSON object"),
        ('{"execute": "nope"}', "The command nope has not been found"),
        ("\udcff", "JSON parse error, stray"),
    ],
)
def test_what_is_no_command_gets_the_answer_of_qemu(text, answer):
    assert answer in told("bitmap", Scripted(changes=[text]))


@pytest.mark.parametrize("text", ["", "{", '{"execute": "quit"'])
def test_json_without_an_end_gets_no_answer(text):
    seen = told("bitmap", Scripted(changes=[text]))
    assert "<- nothing: this is no whole JSON value, so QEMU waits for the rest of it" in seen
    assert seen.endswith("as it was at that moment.")


def test_a_long_reply_is_cut():
    assert "characters in all)" in told("bitmap", Scripted(changes=['{"execute": "query-qmp-schema"}']))


def test_when_qemu_is_gone_there_is_no_picture_and_no_job_to_run():
    class Forbidding(Scripted):
        def lets_jobs_run(self):
            raise AssertionError("there is nothing to choose")

    text = told("bitmap", Forbidding(changes=['{"execute": "quit"}']))
    assert (
        '<- {"return": {}} ** QEMU is gone, and with it its jobs and all that it kept in memory '
        "The machine is put back to where it was before your command."
    ) in text


def test_a_disk_that_is_gone_is_not_drawn():
    text = told("bitmap", Scripted(changes=['{"execute": "eject", "arguments": {"device": "drive0"}}']))
    assert '<- {"return": {}} cell 0 1 2 3 4 5 6 7 8 9 10 12 14 The machine is put back' in text


def test_a_chapter_can_be_taken_up_in_the_middle():
    whole: list[str] = []
    Player(find("chain"), "10.0", Style(80), whole.append).play(Reader())
    rest: list[str] = []
    Player(find("chain"), "10.0", Style(80), rest.append).play(Reader(), start=4)
    again = rest.index("The machine is again where you left it:")
    assert rest[again + 2] in whole
    assert rest[again + 4].startswith("(5/7) The next day.")
    assert whole[-len(rest) + again + 4 :] == rest[again + 4 :]


def test_the_steps_that_are_done_are_counted_up_to_where_the_reader_leaves():
    class Leaver(Reader):
        turns = 0

        def turn(self):
            self.turns += 1
            if self.turns == 3:
                raise LeftError

    done: list[int] = []
    with pytest.raises(LeftError):
        Player(find("chain"), "10.0", Style(80), lambda _: None).play(Leaver(), 1, done.append)
    assert done == [1, 2, 3]


@pytest.mark.parametrize(
    ("command", "hint"),
    [
        (
            BUSY.replace("disk0", "drive0"),
            "** node 'disk0' has a bitmap 'bitmap0'; while a job runs, its filter is above that node",
        ),
        (
            '{"execute": "job-finalize", "arguments": {"id": "drive0"}}',
            "** job 'drive0' is running still: nothing moves until told, and 1 thing is due",
        ),
    ],
)
def test_a_refusal_that_surprises_is_explained(command, hint):
    assert hint in told("failure", Scripted(changes=[command], at=3))
