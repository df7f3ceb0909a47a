"""A shell on one QMP server: it reads a line, does what it says, and shows what comes of it.

Where the server is a machine of qbitsim's that can be controlled, each thing that changes it can be undone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from qbitsim.errors import QmpError
from qbitsim.jsontypes import Json
from qbitsim.machine.machine import Machine
from qbitsim.nearest import nearest
from qbitsim.qapi.registry import PREFIX
from qbitsim.scenario.replayer import Channel
from qbitsim.shell import meta
from qbitsim.shell.completer import Completer
from qbitsim.shell.line import human_commands, parse, write
from qbitsim.shell.monitor import HungUpError, Monitor, NoReplyError, PeerError
from qbitsim.shell.names import Names
from qbitsim.shell.pasted import is_said_line, without_prompt
from qbitsim.shell.queries import jobs_of_queries, rows_of_queries
from qbitsim.shell.schema import Schema
from qbitsim.shell.screen import Screen
from qbitsim.shell.script import StoppedError
from qbitsim.shell.undo import Undo
from qbitsim.shell.words import IncompleteError, LineError, Word
from qbitsim.terminal.errors import FAILED, USAGE, CliError
from qbitsim.terminal.hints import hint
from qbitsim.terminal.picture import rows_of_state

_NAMES_PATIENCE = 1.0  # seconds that somebody who completes a line waits for names
_QUIET = ("query-", f"{PREFIX}query-", "qom-list", "qom-get")
_QUIET_COMMANDS = (f"{PREFIX}state", f"{PREFIX}read", f"{PREFIX}snapshot", "qmp_capabilities")
_EVENTS = 1000
_DUE = 1  # labels of what is due that are written out


class Shell:
    """A shell.

    :param connect: makes a connection to the server.
    :param machine: the server, if it is a machine of the shell's own; the shell watches it.
    :param patience: seconds to wait for a reply; None: for ever.
    :ivar schema: what is known of the server's commands.
    :ivar events: the latest events; :ivar unawaited: those that nobody has waited for.
    :ivar showing_events: whether events are shown as they come.
    :ivar drawing: whether the picture is drawn after each command that may have changed it.
    :ivar last: the latest reply.
    :ivar over: whether the shell is to end.
    """

    def __init__(
        self,
        connect: Callable[[], Channel],
        screen: Screen,
        *,
        machine: Machine | None = None,
        patience: float | None = None,
    ) -> None:
        self.screen = screen
        self.machine = machine
        self._history = machine.watch() if machine is not None else None
        if machine is not None:
            machine.journal = None  # only what people type is told, not what the shell asks for itself
        # What a machine in this process has not said at once, it does not say.
        self.monitor = Monitor(connect, self._on_event, screen.late, patience if machine is None else 0)
        self.schema = Schema(())
        self.names = Names(self._list, (), ())
        self.completer = Completer(self.schema, self.names, self._complete_meta)
        self.undo = Undo(self.monitor.execute)
        self.events: deque[Json] = deque(maxlen=_EVENTS)
        self.unawaited: deque[Json] = deque(maxlen=_EVENTS)
        self.showing_events = True
        self.drawing = False
        self.last: Json | None = None
        self.over = False
        self._ending = False  # whether the server was told to end
        self._changing = False  # whether a command that may be undone has begun

    # -- the server

    def connect(self) -> None:
        """Connect, and ask the server what it knows.

        :raises PeerError: that cannot be done.
        """
        self.monitor.open()
        self._learn()

    def _learn(self) -> None:
        try:
            self.schema = Schema(self.monitor.execute("query-qmp-schema"))
        except QmpError:
            commands = self.monitor.execute("query-commands")
            self.schema = Schema.of_names(each["name"] for each in commands)
        self.names = Names(self._list, self.schema.commands, self.schema.events)
        self.completer = Completer(self.schema, self.names, self._complete_meta)

    @property
    def ended(self) -> bool:
        """Whether the server has ended because it was told to."""
        return self.over and self.monitor.channel is None

    @property
    def controlled(self) -> bool:
        """Whether the server lets itself be controlled."""
        return f"{PREFIX}state" in self.schema.commands

    def _list(self, query: str) -> list[Json]:
        """The reply to a query for those who complete a line: nothing, rather than an error."""
        try:
            found = self.monitor.execute(query, patience=_NAMES_PATIENCE)
        except (QmpError, PeerError):
            return []
        return found if isinstance(found, list) else []

    def query(self, name: str) -> list[Json]:
        """The reply to a query without arguments; empty if the server does not have it.

        :raises QmpError: it was refused.
        :raises PeerError: there is no reply.
        """
        found: list[Json] = self.monitor.execute(name) if name in self.schema.commands else []
        return found

    def jobs(self) -> list[Json]:
        """The jobs that there are; see :func:`.jobs_of_queries`."""
        return jobs_of_queries(self.query)

    def _on_event(self, event: Json) -> None:
        self.events.append(event)
        self.unawaited.append(event)
        self.names.forget()
        if self.showing_events:
            self.screen.event(event)

    def pump(self) -> None:
        """Show what the server has said by itself."""
        try:
            self.monitor.pump()
        except PeerError as error:
            self._part(error)

    def _part(self, error: PeerError) -> None:
        """Say why the server is gone; the next command connects anew, unless it was to end."""
        self.names.forget()
        self.over = self._ending if self.machine is None else self.machine.closing
        if self.over:
            if not self.screen.raw:
                self.screen.say("the machine has ended" if self.machine is not None else "the server has ended", "dim")
        elif self.machine is not None and isinstance(error, HungUpError):
            self.screen.say("the machine was started anew", "yellow")
            self.monitor.open()
        else:
            self.screen.complain(str(error))

    # -- lines

    def is_complete(self, text: str) -> bool:
        """Whether a line need not go on."""
        text = without_prompt(text)
        if not text.strip() or text.lstrip()[0] in ":#":
            return True
        try:
            parse(text, self.schema)
        except IncompleteError:
            return False
        except LineError:
            return True
        return True

    def run(self, line: str) -> int:
        """Do what a line says; 0, :data:`FAILED` if the server refused it or is gone, or :data:`USAGE`.

        :raises CliError: nobody can read what is shown.
        """
        line = without_prompt(line)
        if not line.strip() or line.lstrip().startswith("#"):
            return 0
        if is_said_line(line):
            self.screen.remark("this is what a server has said: it is left out")
            return 0
        if (complaint := self._no_command(line)) is not None:
            self.screen.complain(complaint)
            return USAGE
        try:
            self._connect_again()
            status = meta.run(self, line) if line.lstrip().startswith(":") else self.send(parse(line, self.schema))
        except LineError as error:
            self.screen.complain(_placed(error, line))
            return USAGE
        except CliError as error:
            if error.status != USAGE:
                raise
            self.screen.complain(error.text)
            return USAGE
        except QmpError as error:
            self.screen.reply("", {"error": {**error.to_json()}})
            return FAILED
        except StoppedError as error:
            return error.status
        except PeerError as error:
            return self._failed(error)
        finally:
            self.names.forget()
        self.pump()
        return status

    def _no_command(self, line: str) -> str | None:
        """What to say of a word that is a command elsewhere; None if it is none, or one here."""
        name = line.split(maxsplit=1)[0]
        if name in self.schema.commands or name in human_commands():
            return None
        if name == "exit":
            return "'exit' is no command: leave with ':quit' or Ctrl-D"
        if name in meta.METAS:
            return f"'{name}' is no command of QMP: write ':{name}'"
        if name == "qemu-img":
            return "'qemu-img' is for files that 'qbitsim play' plays; here images are made at the start, by '--image'"
        return None

    def _failed(self, error: PeerError) -> int:
        self._part(error)
        if isinstance(error, NoReplyError) and self.machine is not None:
            self.screen.complain("the machine holds it back; the shell connects to the machine anew")
            self.monitor.open()
        return 0 if self.over else FAILED

    def _connect_again(self) -> None:
        self.pump()
        if self.monitor.channel is None:
            try:
                self.connect()
            except PeerError as error:
                raise PeerError(f"there is no server any more: {error}") from None
            self.screen.say(f"connected again, to QEMU {self.monitor.version}", "yellow")

    def interrupted(self) -> None:
        """Take note of Ctrl-C: a machine of the shell's own becomes what it was before the command."""
        self.names.forget()
        if self.machine is None or not self._changing:
            self.screen.say("interrupted", "yellow")
            return
        self.monitor.close()
        self.monitor.open()
        self._changing = False
        self.screen.say(f"interrupted, and undone: {self.undo.undo(1)[0]}", "yellow")

    def send(self, message: Json) -> int:
        """Send a message, show the reply, and let it be undone if it may have changed something.

        :raises QmpError: the machine cannot be saved.
        :raises PeerError: there is no reply.
        """
        name = str(message.get("execute", message.get("exec-oob", "")))
        changes = _changes(name)
        self._ending = name == "quit"
        if changes:
            self.save_undo_point(write(message, self.schema))
        self._note("->", message)
        reply = self.monitor.ask(message)
        self._note("<-", reply)
        self.last = reply
        if "error" in reply and changes:
            self.drop_undo_point()
        self.screen.reply(name, reply)
        if "error" in reply:
            self._hint(message, name, reply["error"])
            return FAILED
        if changes:
            self.after_change()
        return 0

    def _note(self, arrow: str, message: Json) -> None:
        if self._history is not None and self.machine is not None:
            self._history.note(self.machine.events, "", arrow, message)

    def _hint(self, message: Json, name: str, error: Json) -> None:
        """Say what may help somebody whose command was refused."""
        if self.screen.raw:
            return
        if message.get("arguments") == {"command-line": "help"}:
            self.screen.say("':help' says what the shell knows, ':help NAME' what a command takes", "dim")
            return
        if error.get("class") == "CommandNotFound" and name not in self.schema.commands:
            found = nearest(name, self.schema.commands).removeprefix("; ") or None
        else:
            due = len(self.machine.scheduler.ready()) if self.machine is not None else 0
            found = hint(str(error.get("desc")), lambda: self._list("query-named-block-nodes"), due)
            if found is not None and found.endswith(" due"):
                found += ": ':step' or ':run'"
        if found:
            self.screen.say(found, "dim")

    def save_undo_point(self, what: str) -> None:
        """Save the machine before something changes it, if it can be controlled."""
        if self.controlled:
            self._changing = self.undo.save(what)

    def drop_undo_point(self) -> None:
        """What was to change the machine did not: there is nothing to undo."""
        if self._changing:
            self.undo.forget()
        self._changing = False

    def after_change(self) -> None:
        """Draw the picture if somebody wants to see it each time."""
        self.names.forget()
        self._changing = False
        if self.drawing and self.monitor.channel is not None:
            self.draw(None)

    def draw(self, drives: Iterable[str] | None) -> None:
        """Draw the drives, or some of them, with their bitmaps, and the jobs.

        :raises QmpError: a query was refused.
        """
        chosen = list(drives) if drives is not None else None
        style = self.screen.style
        if self.controlled:
            state = self.monitor.execute(f"{PREFIX}state")
            for node in state["nodes"].values():  # what jobs record for themselves is not what people ask for
                node["bitmaps"] = [bitmap for bitmap in node["bitmaps"] if bitmap["name"] is not None]
            self.screen.picture(rows_of_state(state, style, drives=chosen))
            if state["due"]:
                self.screen.say(style.wrap(f"due: {_first_of(state['due'])}", "  ", "    "), "dim")
        else:
            self.screen.picture(rows_of_queries(self.query, style, drives=chosen))
            self.screen.say("  QMP tells how much is dirty, not where", "dim")

    def _complete_meta(self, given: list[Word]) -> Iterable[str]:
        return meta.complete(self, given)


def _first_of(labels: list[str]) -> str:
    more = len(labels) - _DUE
    return ", ".join(labels[:_DUE]) + (f" and {more} more" if more > 0 else "")


def _changes(name: str) -> bool:
    return not name.startswith(_QUIET) and name not in _QUIET_COMMANDS


def _placed(error: LineError, line: str) -> str:
    before = line[: max(error.place, 0)]
    row, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
    return f"{f'line {row}, ' if chr(10) in line else ''}column {column}: {error.text}"
