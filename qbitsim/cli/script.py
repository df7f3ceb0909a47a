"""A file of QMP commands and guest writes, one per line, played on one machine.

A line is one of

* a JSON object: a QMP command, sent as it is; it may go on over several lines. A list of them is sent one by one;
* ``NAME key=value ...``, or a line of the human monitor such as ``info block``: as ``qbitsim shell`` takes it;
* ``write DRIVE OFFSET LENGTH [PATTERN]``, ``zero DRIVE OFFSET LENGTH``, ``discard DRIVE OFFSET LENGTH``,
  ``qemu-io DRIVE "COMMAND"``: what the guest does;
* ``qemu-img …``, ``ls``, ``rm FILE``, ``mv``, ``cp``, ``mkdir``: commands on the image files;
* ``disk …``, ``image …``, ``drive …``, ``blockdev …``, ``capacity …``, ``fail …``: as the options of those names;
* ``run``: let time pass until nothing is left to do; ``advance SECONDS``: let time pass;
* ``hold``: from here jobs go on only in ``step [N]``, ``run`` and ``advance``, and not at the end of the file;
* empty, or begins with ``#``; or it is what a server has said, which is left out.

Prompts and arrows that were pasted with a line, ``(QEMU)`` and ``->``, are left out.

Without ``hold`` everything that needs no time happens after each line. What is printed is what a QMP client reads, in
order, and between it what QEMU and the other programs print. The greeting is shown if the file negotiates by itself;
otherwise the negotiation is made silently before its first command.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from functools import cached_property
from typing import cast

from qbitsim.errors import QmpError
from qbitsim.jsontypes import Json, JsonValue
from qbitsim.machine.machine import Machine
from qbitsim.nearest import nearest
from qbitsim.programs.shell import Shell
from qbitsim.qapi.introspect import query_qmp_schema
from qbitsim.qmp.parser import JsonStream
from qbitsim.qmp.session import Session
from qbitsim.shell.line import TRANSACTION, human_commands, parse
from qbitsim.shell.pasted import is_list_of_commands, is_said, without_prompt
from qbitsim.shell.schema import Schema
from qbitsim.shell.words import IncompleteError, LineError
from qbitsim.terminal.errors import FAILED, CliError
from qbitsim.terminal.options import SETTINGS

STEP_LIMIT = 5_000_000
"""Steps without a pause after which a machine is taken for one that never becomes idle."""

FILE_COMMANDS = frozenset({"qemu-img", "ls", "rm", "mv", "cp", "mkdir"})
_GUEST = {"write": "write -q -P {3} {1} {2}", "zero": "write -q -z {1} {2}", "discard": "discard -q {1} {2}"}
_NEGOTIATE = b'{"execute": "qmp_capabilities"}'


class Script:
    """One play.

    :param machine: what it is played on.
    :param name: of the file, for messages.
    :param show: is given each line of output, without its end.
    :param echo: whether each line that is played is shown, too, behind ``->``.
    :ivar left_out: the numbers of the lines that are what a server has said.
    :ivar status: 0, or :data:`.FAILED` once a command on image files has failed.
    """

    def __init__(self, machine: Machine, name: str, show: Callable[[str], None], *, echo: bool = False) -> None:
        self.machine = machine
        self.name = name
        self.status = 0
        self.left_out: list[int] = []
        self._show = show
        self._echo = echo
        self._shell = Shell(machine.images, machine.profile)
        self._journal, machine.journal = machine.journal, None  # what the guest does is no conversation
        self._session: Session | None = None
        self._held = False
        self._number = 0
        self._lines: list[bytes] = []

    def play(self, data: bytes) -> int:
        """Play the whole file and return the exit status.

        :raises CliError: a line is malformed; the text says which one.
        """
        lines = self._lines = data.splitlines()
        while self._number < len(lines):
            line = without_prompt(lines[self._number].decode("latin-1")).encode("latin-1").strip()
            self._number += 1
            if line.startswith((b"{", b"[")):
                self._qmp(line, lines)
            elif line and not line.startswith(b"#"):
                self._word(line)
            if not self._held:
                self._work()
        return self.status

    def _fault(self, text: str, line: int | None = None) -> CliError:
        return CliError(f"{self.name}:{line or self._number}: {text}")

    # -- QMP

    def _qmp(self, line: bytes, lines: list[bytes]) -> None:
        """Send the message that begins in ``line``, once it is complete."""
        begin, stream, data = self._number, JsonStream(), line
        values = stream.feed(line + b"\n")
        while not values:
            if self._number == len(lines):
                raise self._fault("the JSON object that begins here does not end", begin)
            data += b"\n" + lines[self._number]
            values = stream.feed(lines[self._number] + b"\n")
            self._number += 1
        for value in values:
            if isinstance(value, QmpError):
                raise self._fault(value.desc, begin)
        if is_said(values[0]):
            self.left_out.append(begin)
            return
        if is_list_of_commands(values[0]):
            for value in cast("list[Json]", values[0]):
                self._send(json.dumps(value).encode(), value, begin)
            return
        self._send(data, values[0], begin)

    def _send(self, data: bytes, value: JsonValue | QmpError, begin: int) -> None:
        if self.machine.closing:
            raise self._fault("the machine has quit", begin)
        self._echo_line(data)
        session = self._session or self._connect(value)
        session.receive(data + b"\n")
        while session.pending:
            self._print(session.answer())
            if not self._held:
                self._work()

    def _connect(self, first: JsonValue | QmpError) -> Session:
        self._session = session = Session(self.machine, journal=self._journal, name="client")
        greeting = session.connect()
        if isinstance(first, dict) and first.get("execute") == "qmp_capabilities":
            self._print(greeting)
        else:
            session.feed(_NEGOTIATE)
        return session

    def _print(self, data: bytes) -> None:
        for line in data.decode("ascii").splitlines():
            self._show(line)
        self._print_text(self.machine.take_stdout())

    def _print_text(self, text: str) -> None:
        for line in text.splitlines():
            self._show(line)

    def _echo_line(self, data: bytes) -> None:
        if self._echo:
            for line in data.decode("utf-8", "replace").splitlines():
                self._show(f"-> {line}")

    # -- words

    def _word(self, line: bytes) -> None:
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            raise self._fault("not UTF-8") from None
        word, _, rest = text.partition(" ")
        rest = rest.strip()
        if word in SETTINGS or word in FILE_COMMANDS or word in _GUEST or word in _TIME or word == "qemu-io":
            self._echo_line(line)
        if word in SETTINGS:
            try:
                SETTINGS[word](self.machine, rest)
            except CliError as error:
                raise self._fault(f"{word} {error.text}") from None
        elif word in FILE_COMMANDS:
            self._run_shell(text)
        elif word in _GUEST or word == "qemu-io":
            self._guest(word, rest)
        elif word in _TIME:
            _TIME[word](self, rest)
        elif word in self._schema.commands or word in human_commands() or TRANSACTION.match(text):
            self._typed(text)
        else:
            known = [*self._schema.commands, *SETTINGS, *FILE_COMMANDS, *_GUEST, *_TIME]
            plain = word.removeprefix(":")
            meant = f"; without a shell it is '{plain}'" if word != plain and plain in known else nearest(plain, known)
            raise self._fault(f"unknown command '{word}'{meant}")

    @cached_property
    def _schema(self) -> Schema:
        """What is known of the commands."""
        return Schema(query_qmp_schema(self.machine.registry))

    def _typed(self, text: str) -> None:
        """A command as people type it, which may go on over several lines."""
        begin = self._number
        while True:
            try:
                message = parse(text, self._schema)
                break
            except LineError as error:
                if not isinstance(error, IncompleteError) or self._number == len(self._lines):
                    raise self._fault(error.text, begin) from None
            text += "\n" + self._lines[self._number].decode("utf-8", "replace")
            self._number += 1
        self._send(json.dumps(message).encode(), message, begin)

    def _run_shell(self, text: str) -> None:
        try:
            argv = shlex.split(text)
        except ValueError as error:
            raise self._fault(str(error).lower()) from None
        status, output = self._shell.run(argv)
        if status:
            self.status = FAILED
        self._print_text(output)

    def _guest(self, word: str, rest: str) -> None:
        """Guest I/O, by QEMU's own ``qemu-io``."""
        if self.machine.closing:
            raise self._fault("the machine has quit")
        if word != "qemu-io":
            parts = rest.split()
            if word == "write" and len(parts) == 3:
                parts.append("0xcd")  # qemu-io's own default
            if len(parts) != 3 + (word == "write"):
                raise self._fault(f"write '{word} DRIVE OFFSET LENGTH{' [PATTERN]' if word == 'write' else ''}'")
            if parts[0] not in self.machine.graph.drives and parts[0] not in self.machine.graph.nodes:
                known = [*self.machine.graph.drives, *self.machine.graph.nodes]
                raise self._fault(f"there is no drive or node '{parts[0]}'{nearest(parts[0], known)}")
            rest = f'{parts[0]} "{_GUEST[word].format(*parts)}"'
        try:
            answer = self.machine.qmp("human-monitor-command", command_line=f"qemu-io {rest}")
        except QmpError as error:
            raise self._fault(error.desc) from None
        self._print_text(self.machine.take_stdout() + answer)
        if self._session is not None:
            self._print(self._session.pump())

    # -- time

    def _work(self) -> None:
        """Let everything happen that needs no time."""
        if self.machine.scheduler.run_until_idle(STEP_LIMIT) == STEP_LIMIT:
            raise CliError(f"{self.name}:{self._number}: the machine works without end (a job retries?)", FAILED)
        if self._session is not None:
            self._print(self._session.pump())

    def _run(self, rest: str) -> None:
        self._check_empty("run", rest)
        self._work()
        while (deadline := self.machine.next_deadline) is not None:
            self.machine.advance_to(deadline)
            self._work()

    def _advance(self, rest: str) -> None:
        try:
            seconds = float(rest)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < 1e9:
            raise self._fault("write 'advance SECONDS', such as advance 1.5")
        self.machine.advance(seconds)
        self._work()

    def _hold(self, rest: str) -> None:
        self._check_empty("hold", rest)
        self._held = True

    def _step(self, rest: str) -> None:
        if rest and not rest.isdecimal():
            raise self._fault("write 'step' or 'step NUMBER'")
        for _ in range(int(rest or "1")):
            if not self.machine.step():
                break
        if self._session is not None:
            self._print(self._session.pump())

    def _check_empty(self, word: str, rest: str) -> None:
        if rest:
            raise self._fault(f"'{word}' stands alone in its line")


_TIME: dict[str, Callable[[Script, str], None]] = {
    "run": Script._run,  # noqa: SLF001 - the table of this module's own methods
    "advance": Script._advance,  # noqa: SLF001
    "hold": Script._hold,  # noqa: SLF001
    "step": Script._step,  # noqa: SLF001
}
