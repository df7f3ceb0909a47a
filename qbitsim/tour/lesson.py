"""What the tour is made of: chapters of steps, as values.

A step tells something, does something on the live machine, and tells what is to be seen there. All that it tells after
it has done something is a *finding*: a text with a check, and it is told only if the check holds. A question's answer
is checked in the same way. So a chapter cannot claim what the machine does not do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qbitsim.jsontypes import Json
from qbitsim.records import record

if TYPE_CHECKING:
    from qbitsim.machine.machine import Machine
    from qbitsim.tour.scene import Scene

Check = Callable[["Scene"], bool]

CELL = 64 << 10
"""Bytes of a cell in the tour's pictures."""

CELLS = 16
"""Cells of each disk."""

Place = tuple[int, int]
"""(offset, length) in bytes."""


Act = Callable[["Scene"], object]
"""Something that a step does on a scene, which narrates it: :class:`Qmp`, what is made by the functions below, or a
method of the scene itself, such as ``Scene.finish``."""


@record
class Qmp:
    """A command; the reader sees it in full and may change it before it runs.

    :ivar part: what of the reply is shown, if not all of it; :ivar about: what that part is, in a word or two.
    """

    name: str
    arguments: Json
    part: Callable[[Any], Any] | None = None
    about: str = ""

    @property
    def request(self) -> Json:
        """The command as a client sends it."""
        return {"execute": self.name, "arguments": self.arguments} if self.arguments else {"execute": self.name}

    def __call__(self, scene: Scene) -> None:
        """Run it."""
        scene.execute(self)


def guest(letter: str, *cells: int, drive: str = "drive0") -> Act:
    """The guest fills whole cells with a letter; a failure is narrated."""
    return lambda scene: scene.guest_writes(letter, [(cell * CELL, CELL) for cell in cells], drive)


def guest_bytes(letter: str, offset: int, length: int) -> Act:
    """The guest fills some bytes of drive0 with a letter."""
    return lambda scene: scene.guest_writes(letter, [(offset, length)], "drive0")


def go(cells: int, job: str = "drive0") -> Act:
    """The jobs go on, one piece after the other, until a job has copied so many cells."""
    return lambda scene: scene.go(job, cells)


def client_asks(export: str, context: str) -> Act:
    """An NBD client asks for a metadata context of an export: which cells are dirty, or hold data."""
    return lambda scene: scene.client_asks(export, context)


def client_reads(export: str, *cells: int) -> Act:
    """An NBD client reads whole cells of an export, and keeps them."""
    return lambda scene: scene.client_reads(export, cells)


def shell(command: str) -> Act:
    """A command on image files; its output is shown."""
    return lambda scene: scene.shell(command)


def arrange(text: str, do: Callable[[Machine], object]) -> Act:
    """Something that the tour does behind the scenes, such as breaking a disk; ``text`` says it in one line."""
    return lambda scene: scene.arrange(text, do)


@record
class Question:
    """Something to predict before it happens.

    :ivar right: the letter of a choice; without choices, the numbers of cells: ``"3 4"`` (an empty text for none).
    :ivar why: shown with the answer.
    :ivar holds: whether the right answer is what the machine shows, after the step.
    """

    text: str
    right: str
    why: str
    holds: Check
    choices: tuple[str, ...] = ()

    def accepts(self, guess: str) -> bool:
        """Whether a guess can be an answer at all."""
        if self.choices:
            return guess.strip().lower() in self.letters
        return re.fullmatch(r"none|[\d\s,-]+", guess.strip().lower()) is not None

    def is_right(self, guess: str) -> bool:
        """Whether a guess is the answer."""
        return guess.strip().lower() == self.right if self.choices else numbers(guess) == numbers(self.right)

    @property
    def letters(self) -> str:
        """One letter for each choice."""
        return "abcdefgh"[: len(self.choices)]

    @property
    def answer(self) -> str:
        """The right answer in words."""
        if self.choices:
            return f"{self.right}) {self.choices[self.letters.index(self.right)]}"
        cells = sorted(numbers(self.right))
        listed = " and ".join([", ".join(map(str, cells[:-1])), str(cells[-1])] if cells[1:] else map(str, cells))
        return f"cell{'s' * (len(cells) > 1)} {listed}" if cells else "none"


def numbers(text: str) -> set[int]:
    """The numbers in a text such as ``"3, 5-7"``."""
    found: set[int] = set()
    for first, last in re.findall(r"(\d+)(?:\s*-\s*(\d+))?", text):
        found.update(range(int(first), min(int(last or first), int(first) + CELLS) + 1))
    return found


@record
class Finding:
    """What is to be seen now; shown only if the check holds."""

    text: str
    holds: Check


@record
class Step:
    """A part of a chapter.

    :ivar tell: a paragraph to begin with; :ivar before: what happens before the question is asked.
    :ivar do: what happens after it; a command, if any, is the first, and shown before the question.
    :ivar idea: what a reader with a keyboard could try instead of the command.
    :ivar see: what is to be seen after it, one finding or several.
    :ivar files: image files in the picture (None: those of the chapter); :ivar drives: the drives in it (None: all).
    :ivar since: the first release that this step is for; it is left out, with a remark, on others.
    """

    tell: str = ""
    before: tuple[Act, ...] = ()
    do: tuple[Act, ...] = ()
    idea: str = ""
    question: Question | None = None
    see: Finding | tuple[Finding, ...] = ()
    files: tuple[str, ...] | None = None
    drives: tuple[str, ...] | None = None
    since: str | None = None

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is to be seen, however much it is."""
        return (self.see,) if isinstance(self.see, Finding) else self.see


@record
class Chapter:
    """A chapter.

    :ivar slug: its short name; :ivar setup: what is done silently before it; :ivar disks: the drives of its machine.
    :ivar files: image files in its pictures, once they are there.
    :ivar since: the first release that it is for, and :ivar lacks: what older ones have not.
    """

    slug: str
    title: str
    steps: tuple[Step, ...]
    setup: tuple[Act, ...] = ()
    disks: tuple[str, ...] = ("drive0",)
    files: tuple[str, ...] = ()
    since: str | None = None
    lacks: str = ""
