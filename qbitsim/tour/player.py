"""Plays a chapter, step by step, for a reader."""

from __future__ import annotations

import json
from collections.abc import Callable

from qbitsim.profiles import profile
from qbitsim.terminal.picture import Style
from qbitsim.tour.lesson import Act, Chapter, Qmp, Question, Step
from qbitsim.tour.pretty import pretty
from qbitsim.tour.reader import Reader
from qbitsim.tour.scene import Scene


class FalseClaimError(Exception):
    """A chapter claims what the machine does not do."""

    def __init__(self, chapter: Chapter, step: int, claim: str) -> None:
        super().__init__(f"chapter '{chapter.slug}', step {step + 1}: this is not so: {claim}")


class Player:
    """Plays one chapter on a machine of its own.

    :param write: is given each line, or several of them.
    """

    def __init__(self, chapter: Chapter, release: str, style: Style, write: Callable[[str], None]) -> None:
        self.chapter = chapter
        self._write = write
        self._release = profile(release)
        self._silent = False
        self._reader = Reader()
        self.scene = Scene(release, chapter.disks, style, self._write_unless_silent)
        self._silently(lambda: self._perform_all(chapter.setup))

    def _write_unless_silent(self, text: str) -> None:
        if not self._silent:
            self._write(text)

    def _silently(self, do: Callable[[], None]) -> None:
        self._silent = True
        do()
        self._silent = False

    def _perform_all(self, acts: tuple[Act, ...]) -> None:
        for act in acts:
            act(self.scene)
        self.scene.begin_step()

    def play(self, reader: Reader, start: int = 0, done: Callable[[int], None] | None = None) -> None:
        """Play the chapter from a step on, the ones before it silently.

        :param done: is given the number of each step that was played to its end.
        :raises FalseClaimError: the machine does not do what the chapter claims.
        :raises LeftError: the reader leaves.
        """
        if start:
            self._silently(lambda: self._play_steps(0, start))
            self.scene.narrator.say("The machine is again where you left it:")
            self.scene.narrator.block(self.scene.last_picture)
        self._reader = reader
        for number in range(start, len(self.chapter.steps)):
            self._play(number)
            if done is not None:
                done(number)
            reader.turn()

    def _play_steps(self, start: int, end: int) -> None:
        for number in range(start, end):
            self._play(number)

    def _play(self, number: int) -> None:
        step, narrator = self.chapter.steps[number], self.scene.narrator
        if not self._release.offers(step.since):
            here = self._release.name
            narrator.say(f"(A step is left out: it shows what QEMU has since {step.since}, and this is {here}.)")
            return
        self.scene.begin_step()
        if step.tell:
            narrator.say(f"({number + 1}/{len(self.chapter.steps)}) {step.tell}")
        for act in step.before:
            act(self.scene)
        command = step.do[0] if step.do and isinstance(step.do[0], Qmp) else None
        if command is not None:
            self._show(command)
        guess = self._ask(step.question) if step.question is not None else None
        if command is not None:
            self._offer_change(step, command)
        narrator.gap()
        for act in step.do:
            act(self.scene)
        self._picture(step)
        self._check(number)
        if step.question is not None:
            self._answer(step.question, guess)
        for finding in step.findings:
            narrator.say(finding.text)

    def _show(self, command: Qmp) -> None:
        self.scene.narrator.line("->", "a client sends:")
        self.scene.show_json(command.request)

    def _picture(self, step: Step) -> None:
        files = self.chapter.files if step.files is None else step.files
        if step.drives != () or files:
            self.scene.picture(step.drives, files)

    # -- questions

    def _ask(self, question: Question) -> str | None:
        narrator = self.scene.narrator
        narrator.say(f"? {question.text}", "bold")
        for letter, choice in zip(question.letters, question.choices, strict=True):
            narrator.line(f"  {letter})", choice)
        if question.choices:
            narrator.gap()
        return self._reader.guess(question)

    def _answer(self, question: Question, guess: str | None) -> None:
        narrator = self.scene.narrator
        if guess is None:
            narrator.say(f"The answer: {question.answer}. {question.why}")
        elif question.is_right(guess):
            narrator.say(f"Right: {question.answer}. {question.why}", "green")
        else:
            narrator.say(f"Not quite. The answer: {question.answer}. {question.why}", "yellow")

    def _check(self, number: int) -> None:
        """Before anything is claimed of what is to be seen, make sure that it is.

        :raises FalseClaimError: it is not.
        """
        step = self.chapter.steps[number]
        claims = [(finding.text, finding.holds) for finding in step.findings]
        if step.question is not None:
            claims.append((f"{step.question.text} {step.question.answer}", step.question.holds))
        for text, holds in claims:
            if not holds(self.scene):
                raise FalseClaimError(self.chapter, number, text)

    # -- changed commands

    def _offer_change(self, step: Step, command: Qmp) -> None:
        """Let the reader run other commands first, each on the machine as it is; it is put back after each."""
        text = pretty(command.request, self.scene.narrator.style.width)
        while (changed := self._reader.change(text, step.idea)) is not None and not _same(changed, command):
            text = changed
            self._try(step, changed)

    def _try(self, step: Step, text: str) -> None:
        narrator = self.scene.narrator
        put_back = self.scene.save_point()
        narrator.gap()
        if not self.scene.attempt(text):
            narrator.line("<-", "nothing: this is no whole JSON value, so QEMU waits for the rest of it", "red")
            return
        if self.scene.machine.closing:
            narrator.line("**", "QEMU is gone, and with it its jobs and all that it kept in memory", "red")
        else:
            self._show_outcome(step)
        put_back()
        narrator.say("The machine is put back to where it was before your command. The tour now gives its own.")

    def _show_outcome(self, step: Step) -> None:
        """Let the reader see what has become of the machine, and what its jobs make of it."""
        self._picture(step)
        while self._reader.lets_jobs_run():
            self.scene.go_on()
            self._picture(step)


def _same(text: str, command: Qmp) -> bool:
    try:
        return bool(json.loads(text) == command.request)
    except (ValueError, RecursionError):
        return False
