"""A reader with a keyboard. Needs prompt_toolkit, from the extra ``shell``.

At each prompt ``q``, Ctrl-C or Ctrl-D leaves. While a command is edited, Enter sends it, Alt-Enter begins a new line,
and Ctrl-C gives the change up.
"""

from __future__ import annotations

from collections.abc import Callable

from prompt_toolkit import PromptSession
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output

from qbitsim.terminal.narrator import Narrator
from qbitsim.tour.lesson import Question
from qbitsim.tour.reader import LeftError, Reader


class Keyboard(Reader):
    """Asks at the terminal.

    :param narrator: tells what keys there are, when it must.
    :param keys: where keys come from, the terminal if not given; :param screen: where prompts go, likewise.
    """

    def __init__(self, narrator: Narrator, keys: Input | None = None, screen: Output | None = None) -> None:
        self._teller = narrator
        self._prompt: PromptSession[str] = PromptSession(input=keys, output=screen)
        self._editor: PromptSession[str] = PromptSession(
            input=keys, output=screen, multiline=True, key_bindings=_keys()
        )
        self._draft = ("", "")
        self._idea = ""

    def guess(self, question: Question) -> str | None:
        """An answer, None for Enter alone."""
        if question.choices:
            listed = f"{', '.join(question.letters[:-1])} or {question.letters[-1]}"
        else:
            listed = "numbers of cells, or none"
        answer = self._ask(
            "your guess > ",
            lambda text: not text or question.accepts(text),
            f"Your guess: {listed}. Enter shows the answer, q leaves.",
        )
        return answer or None

    def change(self, command: str, idea: str) -> str | None:
        """The command after an edit, None if it shall run as it is."""
        if idea and idea != self._idea:
            self._teller.say(f"To try with e: {idea}", "dim")
            self._idea = idea
        choice = self._ask(
            "Enter: run, e: change, q: leave > ",
            lambda text: text in ("", "e"),
            "Enter runs the command as it is shown. e lets you change it first; it then runs on the live machine, "
            "which is put back afterwards.",
        )
        if not choice:
            return None
        # What did not work can be corrected: a new edit begins where the last one ended.
        edited = self._edit(self._draft[1] if self._draft[0] == command else command)
        if edited is None:
            return self.change(command, idea)
        self._draft = (command, edited)
        return edited

    def lets_jobs_run(self) -> bool:
        """Whether the jobs go on; otherwise the machine is put back."""
        choice = self._ask(
            "Enter: put back, r: run jobs, q > ",
            lambda text: text in ("", "r"),
            "Enter puts the machine back to where it was before your command. r lets the jobs go on first. q leaves.",
        )
        return choice == "r"

    def turn(self) -> None:
        """Wait for Enter."""
        self._ask("Enter: go on, q: leave > ", lambda text: not text, "Enter goes on to the next step. q leaves.")

    def _ask(self, prompt: str, accepts: Callable[[str], bool], help_text: str) -> str:
        """Ask until there is an answer; what is no answer gets the help text.

        :raises LeftError: the reader leaves.
        """
        self._teller.blank()
        while True:
            try:
                text = str(self._prompt.prompt(prompt)).strip().lower()
            except (EOFError, KeyboardInterrupt):
                raise LeftError from None
            if text in ("q", "quit", "exit"):
                raise LeftError
            if accepts(text):
                return text
            self._teller.say(help_text)
            self._teller.blank()

    def _edit(self, text: str) -> str | None:
        """The text after an edit, None if the reader gives it up."""
        self._teller.say("Enter sends it, Alt-Enter is a new line, Ctrl-C gives it up:")
        try:
            return str(self._editor.prompt("", default=text))
        except (EOFError, KeyboardInterrupt):
            return None


def _keys() -> KeyBindings:
    keys = KeyBindings()

    def send(event: KeyPressEvent) -> None:
        event.current_buffer.validate_and_handle()

    def new_line(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    keys.add("enter")(send)
    keys.add("escape", "enter")(new_line)
    return keys
