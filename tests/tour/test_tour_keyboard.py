"""The tour as somebody takes it who has a keyboard."""

from __future__ import annotations

import json

import pytest
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from qbitsim.terminal.picture import Style
from qbitsim.tour.chapters import CHAPTERS
from qbitsim.tour.guide import Guide, find
from qbitsim.tour.keyboard import Keyboard
from qbitsim.tour.progress import ProgressFile
from qbitsim.tour.reader import Reader

ENTER, NEW_LINE, CTRL_C, CTRL_D, CTRL_U = "\r", "\x1b\r", "\x03", "\x04", "\x15"
CLEAR_LINE = "\x01\x0b"
BACKSPACE = "\x7f"


@pytest.fixture
def state(tmp_path):
    return tmp_path / "deep" / "tour.json"


@pytest.fixture
def visit(state):
    """Takes the tour with these keys, where it was left or from a chapter on; gives all that was told, as one line."""

    def visit(*keys: str, chapter: str | None = None) -> str:
        told: list[str] = []
        guide = Guide("10.0", Style(80), told.append, ProgressFile(state))
        chapters, start = (guide.begin(find(chapter)), 0) if chapter is not None else guide.welcome()
        with create_pipe_input() as pipe:
            # Ctrl-D at last, so that a tour that asks once more than expected ends and does not hang.
            pipe.send_text("".join(keys) + CTRL_D * 3)
            guide.lead(Keyboard(guide.narrator, pipe, DummyOutput()), chapters, start)
        return " ".join("\n".join(told).split())

    return visit


def kept(state):
    return json.loads(state.read_text())


def test_enter_goes_on_and_a_letter_is_a_guess(visit):
    text = visit(ENTER, "a", ENTER, ENTER)
    assert "Right: a) none. A new bitmap knows nothing of the past." in text
    assert text.endswith("no cell of it is dirty. Goodbye. 'qbitsim tour' goes on here.")


def test_a_wrong_guess_is_told_so(visit):
    assert "Not quite. The answer: a) none." in visit(ENTER, "B", ENTER, ENTER)


def test_enter_instead_of_a_guess_shows_the_answer(visit):
    text = visit(ENTER, ENTER, ENTER)
    assert "The answer: a) none." in text
    assert "Not quite" not in text


def test_cells_are_guessed_as_numbers(visit):
    assert "Right: cells 2, 8 and 9." in visit(ENTER, ENTER, ENTER, ENTER, "9 8 2", ENTER)


def test_what_is_no_guess_is_asked_again(visit):
    text = visit(ENTER, "seven", ENTER, "a", ENTER, ENTER)
    assert text.count("Your guess: a, b or c. Enter shows the answer, q leaves.") == 1
    assert "Right: a) none." in text
    text = visit(ENTER, ENTER, ENTER, ENTER, "many", ENTER, "2 8 9", ENTER, chapter="1")
    assert "Your guess: numbers of cells, or none." in text
    assert "Right: cells 2, 8 and 9." in text


def test_other_keys_get_help(visit):
    text = visit("x", ENTER, ENTER, ENTER, "?", ENTER)
    assert "Enter goes on to the next step. q leaves." in text
    assert "Enter runs the command as it is shown. e lets you change it first" in text


def test_a_command_is_changed_into_one_that_qemu_refuses(visit):
    text = visit(ENTER, ENTER, "e", ENTER, CLEAR_LINE, "}}", ENTER, ENTER, "e", ENTER, BACKSPACE, ENTER, ENTER)
    assert '<- {"error": {"class": "GenericError", "desc": "JSON parse error, expecting value"}}' in text
    assert "The machine is put back to where it was before your command." in text


def test_a_name_in_a_command_is_changed(visit):
    # From behind the last brace to behind the name: one line up, to its end, and over '" }'.
    to_the_name = "\x1b[A\x05" + "\x1b[D" * 2
    text = visit(ENTER, ENTER, "e", ENTER, to_the_name, "-of-mine", ENTER, ENTER, ENTER)
    tried, _, rest = text.partition("The machine is put back")
    assert "bitmap0-of-mine ................................ clean" in tried
    assert "bitmap0 ................................ clean" in rest


def test_a_command_is_changed_into_one_that_is_refused_and_then_mended(visit):
    node = "\x1b[A" + "\x05" + BACKSPACE * 2
    text = visit(ENTER, ENTER, "e", ENTER, node, '", "x": 1}', ENTER, ENTER, "e", ENTER, ENTER, ENTER, chapter="1")
    assert text.count('<- {"error": {"class": "GenericError", "desc": "Parameter \'x\' is unexpected"}}') == 2


def test_an_idea_of_what_to_change_is_told_once_and_only_at_a_keyboard(visit):
    idea = "To try with e: another node, such as drive7; or a command that QEMU does not have."
    assert visit(ENTER, ENTER, "e", ENTER, CTRL_C, ENTER).count(idea) == 1
    told: list[str] = []
    Guide("10.0", Style(80), told.append).lead(Reader(), [find("bitmap")])
    assert "To try" not in "".join(told)


def test_json_that_is_not_finished_can_be_finished(visit):
    text = visit(ENTER, ENTER, "e", ENTER, BACKSPACE, ENTER, "e", ENTER, "}", ENTER, ENTER, ENTER)
    assert "<- nothing: this is no whole JSON value, so QEMU waits for the rest of it" in text
    assert "The answer: a) none." in text


def test_a_change_is_given_up_with_ctrl_c(visit):
    text = visit(ENTER, ENTER, "e", ENTER, "garbage", CTRL_C, ENTER)
    assert "garbage" not in text
    assert "The answer: a) none." in text


def test_alt_enter_is_a_new_line_in_the_command(visit):
    text = visit(ENTER, ENTER, "e", ENTER, NEW_LINE, NEW_LINE, ENTER)
    assert "The machine is put back" not in text  # it is the same command
    assert "The answer: a) none." in text


def test_the_jobs_go_on_after_a_changed_command_with_r(visit):
    full = (
        CLEAR_LINE
        + "\x1b[A\x01\x0b" * 12
        + ('{"execute": "drive-backup", "arguments": {"device": "drive0", "sync": "full", "target": "mine"}}')
    )
    text = visit(ENTER, ENTER, "e", ENTER, full, ENTER, "r", ENTER, ENTER)
    tried, _, _ = text.partition("The machine is put back")
    assert "job drive0 ................................ running, 0 of 16 copied" in tried
    assert "job drive0 ################################ completed" in tried


@pytest.mark.parametrize("leave", [CTRL_C, CTRL_D, "q" + ENTER, "quit" + ENTER])
def test_the_tour_is_left_and_taken_up_again(visit, state, leave):
    assert visit(ENTER, ENTER, ENTER, leave).endswith("Goodbye. 'qbitsim tour' goes on here.")
    assert kept(state) == {"version": 1, "chapter": "bitmap", "step": 2, "seen": []}
    text = visit()
    assert text.startswith("You left in chapter 1, after step 2 of 6. ('qbitsim tour 1' begins at the beginning.)")
    assert "The machine is again where you left it: cell 0 1 2" in text
    assert "(3/6) Now the guest goes on with its work" in text
    assert "(2/6)" not in text


def test_a_tour_that_is_left_in_the_middle_of_a_step_begins_this_step_again(visit, state):
    visit(ENTER, ENTER, CTRL_D)
    assert kept(state)["step"] == 1
    assert "(2/6) QEMU sees every write" in visit()


def test_after_a_chapter_comes_the_next_one(visit, state):
    text = visit(ENTER * 15, chapter="bitmap")
    assert "-- 2. Granularity: how much one bit stands for --" in text
    assert kept(state) == {"version": 1, "chapter": "granularity", "step": 1, "seen": ["bitmap"]}


def test_the_end_of_the_tour_says_what_else_there_is(visit, state):
    text = visit(ENTER * 40, chapter="pull")
    assert "That was the tour." in text
    assert kept(state) == {"version": 1, "chapter": None, "step": 0, "seen": ["pull"]}


def test_who_has_seen_all_is_told_so(visit, state):
    state.parent.mkdir()
    slugs = [chapter.slug for chapter in CHAPTERS]
    state.write_text(json.dumps({"version": 1, "chapter": None, "step": 0, "seen": slugs}))
    assert visit().startswith("You have seen the whole tour; here it is again.")


def test_a_chapter_by_name_keeps_what_was_seen(visit, state):
    visit(ENTER * 15, chapter="bitmap")
    visit(ENTER, chapter="chain")
    assert kept(state) == {"version": 1, "chapter": "chain", "step": 1, "seen": ["bitmap"]}


def test_a_bad_state_file_costs_one_line_and_nothing_else(visit, state):
    state.parent.mkdir()
    state.write_text("{")
    text = visit(ENTER)
    complaint = "could not be read and will be written anew; the tour begins at the start"
    assert text.startswith(f"(Your progress: {state} {complaint}.) A tour of dirty bitmaps")
    assert kept(state)["step"] == 1


def test_a_bad_state_file_does_not_keep_from_the_chapter_that_is_asked_for(visit, state):
    state.parent.mkdir()
    state.write_text("garbage{")
    text = visit(ENTER, chapter="chain")
    complaint = "could not be read and will be written anew"
    assert text.startswith(f"(Your progress: {state} {complaint}.) -- 4. Incremental backups")


def test_a_chapter_that_is_gone_costs_one_line_and_leads_to_the_start(visit, state):
    state.parent.mkdir()
    state.write_text('{"version": 1, "chapter": "fish", "step": 2, "seen": ["bitmap"]}')
    text = visit(ENTER)
    assert text.startswith("(Your progress: there is no chapter 'fish'; the tour begins at the start.) A tour of")
    assert kept(state) == {"version": 1, "chapter": "bitmap", "step": 1, "seen": ["bitmap"]}


def test_a_state_file_of_a_newer_version_is_left_alone(visit, state):
    state.parent.mkdir()
    state.write_text('{"version": 2, "place": "far"}')
    text = visit(ENTER, ENTER, ENTER)
    assert text.count("a newer qbitsim; nothing is kept of this visit; the tour begins at the start.)") == 1
    assert text.endswith("Goodbye.")
    assert kept(state) == {"version": 2, "place": "far"}


def test_a_state_file_that_cannot_be_written_costs_one_line(visit, state):
    state.parent.write_text("a file where a directory should be")
    text = visit(ENTER, ENTER, ENTER)
    assert text.count("Not a directory; nothing is kept of this visit; the tour begins at the start.)") == 1
    assert "The answer: a) none." in text
