"""Every chapter is played, and all that it claims must hold."""

from __future__ import annotations

import pytest
from pictures import PLACE, kept, last_picture

from qbitsim.profiles import PROFILES
from qbitsim.terminal.picture import Style
from qbitsim.tour.chapters import CHAPTERS
from qbitsim.tour.lesson import Finding, Qmp, Question, Step
from qbitsim.tour.player import FalseClaimError, Player
from qbitsim.tour.pretty import pretty
from qbitsim.tour.reader import Reader

each_chapter = pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda chapter: chapter.slug)

PLAYABLE = [
    pytest.param(chapter, release, id=f"{chapter.slug}-{release}")
    for chapter in CHAPTERS
    for release, profile in PROFILES.items()
    if profile.offers(chapter.since)
]

STEPS = [
    pytest.param(step, id=f"{chapter.slug}-{place}")
    for chapter in CHAPTERS
    for place, step in enumerate(chapter.steps, 1)
]


def played(chapter, release="10.0", width=80):
    """What a reader without a keyboard is told, line by line."""
    told: list[str] = []
    Player(chapter, release, Style(width), told.append).play(Reader())
    return "\n".join(told).splitlines()


@pytest.mark.parametrize(("chapter", "release"), PLAYABLE)
def test_all_that_a_chapter_claims_holds(chapter, release):
    told = " ".join(" ".join(played(chapter, release)).split())
    for step in chapter.steps:
        for finding in step.findings:
            shown = PROFILES[release].offers(step.since)
            assert (" ".join(finding.text.split()) in told) == shown


@each_chapter
def test_the_last_picture_of_a_chapter_is_the_one_that_was_kept(chapter):
    assert last_picture(chapter) == kept(chapter).read_text()


def test_there_is_a_kept_picture_for_each_chapter_and_none_besides():
    assert sorted(PLACE.iterdir()) == sorted(map(kept, CHAPTERS))


def test_the_chapters_are_those_of_the_tour_in_their_order():
    assert [chapter.slug for chapter in CHAPTERS] == [
        "bitmap",
        "granularity",
        "full",
        "chain",
        "failure",
        "transaction",
        "grouped",
        "writes",
        "merge",
        "persistence",
        "pull",
    ]


@pytest.mark.parametrize("step", STEPS)
def test_a_step_tells_something_and_claims_something(step):
    assert step.tell
    assert step.findings or step.question is not None


@pytest.mark.parametrize("step", STEPS)
def test_the_command_of_a_step_is_the_first_thing_that_it_does(step):
    assert not any(isinstance(act, Qmp) for act in (*step.before, *step.do[1:]))


@pytest.mark.parametrize("step", [step for step in STEPS if step.values[0].question is not None])
def test_the_right_answer_of_a_question_is_an_answer(step):
    question = step.question
    right = question.right or "none"
    assert question.accepts(right)
    assert question.is_right(right)
    assert not question.is_right(question.letters.replace(question.right, "")[:1] if question.choices else "99")


@each_chapter
@pytest.mark.parametrize("width", [40, 80, 120])
def test_no_line_is_wider_than_the_terminal(chapter, width):
    for line in played(chapter, width=width):
        assert len(line) <= width, line
        assert line == line.rstrip()
        assert line.isascii()


def test_the_cells_of_an_inconsistent_bitmap_are_unknown_and_not_marked_as_changed():
    lines = played(next(chapter for chapter in CHAPTERS if chapter.slug == "persistence"))
    place = lines.index(f"   bitmap0          {'?' * 32}  inconsistent")
    assert lines[place - 2 : place + 2] == [
        "  drive0            AAAABBAA....BBAA..CCAAAAAA......  1 MiB",
        "                                      ^^",
        f"   bitmap0          {'?' * 32}  inconsistent",
        "",
    ]


def test_what_does_not_fit_is_indented_less_and_only_a_token_sticks_out():
    value = {"commands": {"names": ["short", "quite-long-a-name", "longer-than-the-screen-is"], "x": "a-long-value"}}
    assert pretty(value, 24).splitlines() == [
        "{",
        '  "commands": {',
        '    "names": [',
        '      "short",',
        '    "quite-long-a-name",',
        '"longer-than-the-screen-is"',
        "    ],",
        '    "x": "a-long-value"',
        "  }",
        "}",
    ]


def chapter_that_claims(**claims):
    """The first chapter with one step more."""
    chapter = CHAPTERS[0]
    return type(chapter)("false", "A false claim", (*chapter.steps, Step("Look:", **claims)))


def test_a_chapter_cannot_find_what_is_not_so():
    told: list[str] = []
    chapter = chapter_that_claims(see=(Finding("All is dirty.", lambda scene: scene.dirty("bitmap0") != []),))
    with pytest.raises(FalseClaimError) as caught:
        Player(chapter, "10.0", Style(80), told.append).play(Reader())
    assert str(caught.value) == "chapter 'false', step 7: this is not so: All is dirty."
    assert "All is dirty." not in told


def test_a_question_cannot_have_a_wrong_answer():
    question = Question("What is dirty?", right="3", why="", holds=lambda scene: scene.dirty("bitmap0") == [3])
    with pytest.raises(FalseClaimError, match="this is not so: What is dirty\\? cell 3"):
        Player(chapter_that_claims(question=question), "10.0", Style(80), lambda _: None).play(Reader())


def test_a_step_that_a_release_lacks_is_left_out_and_said_so():
    (writes,) = (chapter for chapter in CHAPTERS if chapter.slug == "writes")
    told = played(writes, "2.5")
    assert told.count("(A step is left out: it shows what QEMU has since 4.2, and this is 2.5.)") == 3
