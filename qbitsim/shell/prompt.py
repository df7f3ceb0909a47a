"""The shell at a keyboard: a line is edited and completed, and events show above it as they come.

What was typed is stored for the next time in the directory for such things (XDG's state directory).
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import ANSI
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.patch_stdout import patch_stdout

from qbitsim.shell.script import commands
from qbitsim.shell.shell import Shell


def history_file(environment: Mapping[str, str]) -> Path:
    """Where the history is stored."""
    state = environment.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "qbitsim" / "shell-history"


class TolerantFileHistory(FileHistory):
    """A history in a file, that goes on without it once it cannot be written.

    :param complain: is called once then.
    """

    def __init__(self, path: Path, complain: Callable[[str], None]) -> None:
        super().__init__(path)
        self._path = path
        self._complain: Callable[[str], None] | None = complain

    def store_string(self, string: str) -> None:
        """Store a line."""
        try:
            super().store_string(string)
        except OSError as error:
            if self._complain is not None:
                self._complain(f"the history is not kept: {self._path}: {error.strerror}")
            self._complain = None


def open_history(environment: Mapping[str, str], complain: Callable[[str], None]) -> History:
    """The history of earlier sessions; one of this session only, and a complaint, if it cannot be kept."""
    try:
        path = history_file(environment)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        with path.open("ab+"):
            pass
    except (OSError, RuntimeError) as error:
        complain(
            f"the history is not kept: {getattr(error, 'filename', None) or 'no home'}: "
            f"{getattr(error, 'strerror', None) or error}"
        )
        return InMemoryHistory()
    return TolerantFileHistory(path, complain)


class _Completer(Completer):
    def __init__(self, shell: Shell) -> None:
        self._shell = shell

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        """The candidates for what stands before the cursor."""
        line = document.text_before_cursor
        for each in self._shell.completer.complete(line):
            yield Completion(each.text, each.start - len(line), display_meta=each.note)


class Keyboard:
    """Lines from a keyboard for a shell."""

    def __init__(self, shell: Shell, environment: Mapping[str, str] = os.environ) -> None:
        self._shell = shell
        style = shell.screen.style
        self._session: PromptSession[str] = PromptSession(
            history=open_history(environment, shell.screen.complain),
            completer=_Completer(shell),
            complete_while_typing=False,
            auto_suggest=AutoSuggestFromHistory(),
            multiline=Condition(lambda: not shell.is_complete(get_app().current_buffer.text)),
            prompt_continuation=lambda width, _, wrapped: ("" if wrapped else "... ").rjust(width),
            bottom_toolbar=self._toolbar,
            color_depth=None if style.colour else ColorDepth.DEPTH_1_BIT,
            enable_history_search=True,
        )

    def run(self) -> None:
        """Read lines and run them until somebody leaves."""
        shell = self._shell
        while not shell.over:
            try:
                line = self._read()
            except KeyboardInterrupt:
                continue
            except EOFError:
                return
            try:
                for _, command in commands(shell, line.splitlines() or [""]):  # several lines may have been pasted
                    if shell.run(command) or shell.over:
                        break
            except KeyboardInterrupt:
                shell.interrupted()

    def _read(self) -> str:
        screen = self._shell.screen
        before = screen.out
        with patch_stdout(raw=True):
            screen.out = sys.stdout
            try:
                line: str = self._session.prompt(ANSI(self._prompt()), pre_run=self._listen)
                return line
            finally:
                screen.out = before

    def _prompt(self) -> str:
        shell = self._shell
        text = f"qbitsim {shell.machine.profile.name}" if shell.machine is not None else f"QEMU {shell.monitor.version}"
        if shell.machine is not None and (due := len(shell.machine.scheduler.ready())):
            text += f" {shell.screen.style.paint(f'[{due} due]', 'yellow')}"
        if shell.monitor.channel is None:
            text += " [gone]"
        return f"{text}> "

    def _listen(self) -> None:
        """Show what the server says while the line is edited."""
        channel = self._shell.monitor.channel
        fileno = getattr(channel, "fileno", None)
        if fileno is None:
            return
        loop = asyncio.get_running_loop()
        number = fileno()

        def read() -> None:
            self._shell.pump()
            if self._shell.monitor.channel is not channel:
                loop.remove_reader(number)

        loop.add_reader(number, read)

    def _toolbar(self) -> str:
        """What the command takes that is being typed; else the state of things."""
        shell = self._shell
        hint = shell.completer.hint(get_app().current_buffer.document.text_before_cursor)
        if hint:
            return _shortened(hint)
        parts = []
        if shell.machine is not None:
            parts += [f"t = {shell.machine.clock() / 1e9:g} s", f"{len(shell.machine.scheduler.ready())} due"]
        if shell.controlled:
            parts.append(f"{len(shell.undo)} to undo")
        return _shortened("  ".join([*parts, "Tab completes", ":help"]))


def _shortened(text: str) -> str:
    columns = get_app().output.get_size().columns
    return text if len(text) <= columns else text[: columns - 3] + "..."
