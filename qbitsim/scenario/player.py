"""Plays scenarios and records what the machine answers, in the form in which real QEMU was recorded.

A scenario is ``{"name", "group", "description", "steps": [...]}``; a step is one of

``{"shell": [...]}``            a command on the image files: qemu-img, qemu-io, ls, rm, mv, cp, mkdir
``{"start": {...}}``            start a machine: ``drives``, ``blockdevs``, ``args``, ``negotiate``
``{"qmp": {...}, "pick": P}``   one QMP message; ``pick`` reduces the reply in the record
``{"write": [dev, offset, length, pattern]}``, ``{"io": [dev, command]}``  guest I/O through qemu-io
``{"raw": text}``, ``{"raw_hex": hex}``  bytes as they are, ``repeat`` times
``{"settle": true}``            wait until no job makes progress
``{"wait_event": name, "data": {...}}``  wait for an event, with such members if they are given
``{"sleep": seconds}``, ``{"quit": true}``, ``{"kill": signal}``, ``{"reconnect": true}``
``{"note": text}``              for readers

Records are what a client sees, in order; timestamps are left out and generated node-names are ``#auto``.
"""

from __future__ import annotations

import json
import re
import shlex
import signal
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

from qbitsim.drivers.drive_options import parse_object
from qbitsim.errors import QmpError
from qbitsim.history.normal import normal
from qbitsim.images.store import ImageStore
from qbitsim.jsontypes import Json
from qbitsim.machine.boot import add_device, add_drive, check_node_options, plug_board_drives, plug_virtio_drive
from qbitsim.machine.machine import Machine
from qbitsim.profiles import DEFAULT_PROFILE, Profile, profile
from qbitsim.programs.shell import Shell
from qbitsim.qmp.session import Session
from qbitsim.scenario.messages import loads, raw_bytes, without_time
from qbitsim.scenario.reductions import reduce_reply

if TYPE_CHECKING:
    from qbitsim.history.history import History


POLL = 0.05
"""Seconds of virtual time between two looks while settling, as the recorder of real QEMU waited."""

ENDS_CLEANLY = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGTERM})
"""Signals upon which QEMU ends as if it was told to (os_setup_signal_handling, os-posix.c)."""

SETTLE_LIMIT = 600
"""Looks after which a machine is taken for one that never settles."""


class ScenarioError(Exception):
    """The scenario itself is at fault: an unknown step, an event that never comes, a machine that does not run."""


class _StartError(Exception):
    """An option of the command line is refused.

    :ivar option: with its value, as it was given; :ivar desc: why, in whole lines.
    """

    def __init__(self, option: str, desc: str) -> None:
        super().__init__(desc)
        self.option = option
        self.desc = desc


@contextmanager
def _option(flag: str, value: str) -> Iterator[None]:
    """What is refused inside is refused because of this option."""
    try:
        yield
    except QmpError as error:
        raise _StartError(f"{flag} {value}".strip(), f"{error.desc}\n{error.hint}") from None


class Player:
    """One run of one scenario.

    :param release: the QEMU release to be, a profile or the name of one.
    :param history: watches the machines, if it is given.
    :param images: the files that the machines and the commands see; an empty store if not given.
    :ivar records: what was seen, oldest first.
    """

    def __init__(
        self,
        release: str | Profile = DEFAULT_PROFILE,
        history: History | None = None,
        *,
        images: ImageStore | None = None,
    ) -> None:
        self.profile = profile(release)
        self.images = images if images is not None else ImageStore()
        self.shell = Shell(self.images, self.profile)
        self.machine: Machine | None = None
        self.session: Session | None = None
        self.records: list[Json] = []
        self._history = history
        self._index = 0
        self._unread: deque[bytes] = deque()

    def play(self, steps: list[Json]) -> list[Json]:
        """Play all steps and return the records.

        :raises ScenarioError: the scenario is at fault.
        """
        for self._index, step in enumerate(steps):
            kind = next((name for name in _STEPS if name in step), None)
            if kind is None:
                raise ScenarioError(f"step {self._index} is of no known kind: {step!r}")
            _STEPS[kind](self, step)
        return self.records

    # -- the conversation

    def _record(self, **members: object) -> None:
        self.records.append(normal(members))

    def _record_step(self, kind: str, **members: object) -> None:
        """A record of the step that is played."""
        self._record(step=self._index, type=kind, **members)

    def _machine(self) -> Machine:
        if self.machine is None:
            raise ScenarioError("no machine is running")
        return self.machine

    def _send(self, data: bytes) -> None:
        self._machine()
        assert self.session is not None
        self._receive(self.session.feed(data))

    def _receive(self, data: bytes) -> None:
        self._unread += [line for line in data.split(b"\r\n") if line]

    def _pump(self) -> None:
        assert self.session is not None
        self._receive(self.session.pump())

    def _work(self) -> None:
        """Let everything happen that needs no time."""
        self._machine().run_until_idle()
        self._pump()

    def _next_message(self) -> tuple[Json, str] | None:
        """The next message of the machine, and its text; events are recorded on the way to a reply."""
        while self._unread:
            line = self._unread.popleft()
            message = loads(line)
            if "event" not in message:
                return message, line.decode("utf-8", "replace")
            self._note_event(message)
        return None

    def _note_event(self, message: Json) -> None:
        self._record(type="event", **without_time(message))

    def _ask(self, message: Json) -> Json:
        """Send one message and return the reply; events that came before it are recorded."""
        self._send(json.dumps(message).encode() + b"\n")
        found = self._next_message()
        if found is None:
            raise ScenarioError(f"no reply to {message!r}")
        self._work()
        return found[0]

    # -- steps

    def _shell(self, step: Json) -> None:
        argv = step["shell"]
        status, output = self.shell.run(argv)
        self._note_in_history(f"$ {shlex.join(argv)}")
        if status and not step.get("may_fail"):
            raise ScenarioError(f"{argv!r} failed: {output}")
        record: Json = {"argv": argv, "rc": status}
        if step.get("output", argv[:2] != ["qemu-img", "create"]):
            if step.get("json_pick") and status == 0:
                info = _json_object(output)
                if info is None:
                    raise ScenarioError(f"step {self._index}: json_pick, but {argv!r} wrote no JSON object")
                info.update(info.get("format-specific", {}).get("data", {}))
                record["json"] = {key: info[key] for key in step["json_pick"] if key in info}
            else:
                record["output"] = re.sub(r"disk size: .*", "disk size: -", output)
        self._record_step("shell", **record)

    def _start(self, step: Json) -> None:
        config = step["start"] if isinstance(step["start"], dict) else {}
        machine_type = config.get("machine", "none")
        self.machine = Machine(self.profile, images=self.images, running=False, machine_type=machine_type)
        try:
            self._configure(self.machine, config)
        except _StartError as error:
            if not config.get("expect_exit"):
                raise ScenarioError(f"the machine does not start: {error.desc.strip()}") from None
            self.machine.crash()
            self.machine = None
            option = f"{error.option}: " if error.option else ""
            self._record_step("start-failed", exit=1, stderr=f"qemu-system-x86_64: {option}{error.desc}")
            return
        if self._history is not None:
            self._history.watch(self.machine)
            self.machine.journal = None  # the session writes it
        self._connect(negotiate=config.get("negotiate", True))

    def _configure(self, machine: Machine, config: Json) -> None:
        arguments = config.get("args", [])
        for flag, value in pairwise(arguments):
            if flag == "-object":
                with _option(flag, value):
                    machine.execute("object-add", parse_object(value))
            elif flag == "-name":
                machine.guest_name = value.partition(",")[0].removeprefix("guest=")
            elif flag == "-uuid":
                machine.guest_uuid = value
        for options in config.get("blockdevs", []):
            with _option("-blockdev", json.dumps(options)):
                check_node_options(machine, options)
                machine.add_node(options)
        drives = []
        for given in config.get("drives", []):
            text = ",".join(f"{name}={value}" for name, value in given.items())
            with _option("-drive", text):
                drives.append((text, add_drive(machine, given)))
        with _option("", ""):
            plug_board_drives(machine)
        devices = [value for flag, value in pairwise(arguments) if flag == "-device"]
        self._add_devices(machine, [value for value in devices if not value.startswith("{")])
        for text, drive in drives:
            with _option("-drive", text):
                plug_virtio_drive(machine, drive)
        self._add_devices(machine, [value for value in devices if value.startswith("{")])

    def _add_devices(self, machine: Machine, values: list[str]) -> None:
        for value in values:
            with _option("-device", value):
                add_device(machine, value)

    def _connect(self, *, negotiate: bool) -> None:
        self.session = Session(self._machine(), journal=self._history, name="client")
        self._unread.clear()
        self._receive(self.session.connect())
        found = self._next_message()
        assert found is not None
        self._record_step("greeting", greeting=found[0])
        if negotiate:
            self._ask({"execute": "qmp_capabilities"})

    def _qmp(self, step: Json) -> None:
        reply = self._ask(step["qmp"])
        self._record_step("reply", reply=reduce_reply(reply, step.get("pick")))
        self._after_quit()

    def _after_quit(self) -> None:
        if self.machine is not None and self.machine.closing:
            self._flush_events()

    def _write(self, step: Json) -> None:
        device, offset, length, pattern = step["write"]
        self._do_io(device, f"write -q -P {pattern} {offset} {length}")

    def _io(self, step: Json) -> None:
        self._do_io(step["io"][0], step["io"][1])

    def _do_io(self, device: str, command: str) -> None:
        machine = self._machine()
        machine.take_stdout()
        line = f'qemu-io {device} "{command}"'
        reply = self._ask({"execute": "human-monitor-command", "arguments": {"command-line": line}})
        record: Json = {"dev": device, "cmd": command}
        if "return" in reply:
            record["hmp"] = reply["return"].replace("\r\n", "\n")
        else:
            record["reply"] = reply
        self._record_step("io", **record, output=machine.take_stdout())

    def _raw(self, step: Json) -> None:
        self._send(raw_bytes(step) * step.get("repeat", 1))
        count = 0
        while (found := self._next_message()) is not None:
            self._record_step("reply", reply=found[0], text=found[1])
            count += 1
        self._record_step("raw-end", replies=count)
        self._work()

    def _settle(self, step: Json) -> None:
        del step  # there is nothing more in it
        machine = self._machine()
        last: list[str] | None = None
        stable = 0
        for _ in range(SETTLE_LIMIT):
            machine.advance(POLL)
            self._pump()
            if self.session is not None:
                self.session.receive(b"\n")  # who records asks for the jobs each time, and QEMU counts lines
            news = len(self._unread)
            self._flush_events()
            jobs = [repr(job) for job in machine.jobs.jobs]
            stable = stable + 1 if jobs == last and not news else 0
            last = jobs
            if stable >= (6 if jobs else 2):
                self._record_step("settled")
                return
        raise ScenarioError(f"step {self._index}: the machine does not settle: {last}")

    def _flush_events(self) -> None:
        found = self._next_message()
        if found is not None:
            raise ScenarioError(f"unexpected {found[1]}")

    def _wait_event(self, step: Json) -> None:
        machine = self._machine()
        for _ in range(SETTLE_LIMIT):
            self._pump()
            while self._unread:
                message = loads(self._unread.popleft())
                self._note_event(message)
                data = normal(message.get("data", {}))
                if message.get("event") == step["wait_event"] and step.get("data", {}).items() <= data.items():
                    return
            machine.advance(POLL)
        raise ScenarioError(f"step {self._index}: event {step['wait_event']} never came")

    def _sleep(self, step: Json) -> None:
        if self.machine is not None:
            self.machine.advance(step["sleep"])
            self._pump()

    def _reconnect(self, step: Json) -> None:
        self._machine().advance(0.1)
        self._connect(negotiate=step.get("negotiate", True))

    def _quit(self, step: Json) -> None:
        del step  # there is nothing more in it
        self._send(b'{"execute": "quit"}\n')
        self._pump()
        while (found := self._next_message()) is not None:
            self._record_step("reply", reply=found[0])
        self._end(0)

    def _kill(self, step: Json) -> None:
        self._pump()
        number = step["kill"]
        if number in ENDS_CLEANLY:
            self._machine().shut_down("host-signal")
            self._pump()
        else:
            self._machine().crash()
        self._unread.clear()
        self._note_in_history("QEMU is killed")
        self._end(0 if number in ENDS_CLEANLY else -number)

    def _end(self, status: int) -> None:
        self.machine = self.session = None
        self._record_step("exit", status=status)

    def _note(self, step: Json) -> None:
        """A remark for readers."""
        self._note_in_history(str(step["note"]))

    def _note_in_history(self, text: str) -> None:
        if self._history is not None:
            self._history.noted("look", text)


_STEPS = {
    "shell": Player._shell,  # noqa: SLF001 - the table of this module's own methods
    "start": Player._start,  # noqa: SLF001
    "qmp": Player._qmp,  # noqa: SLF001
    "write": Player._write,  # noqa: SLF001
    "io": Player._io,  # noqa: SLF001
    "raw": Player._raw,  # noqa: SLF001
    "raw_hex": Player._raw,  # noqa: SLF001
    "settle": Player._settle,  # noqa: SLF001
    "wait_event": Player._wait_event,  # noqa: SLF001
    "sleep": Player._sleep,  # noqa: SLF001
    "reconnect": Player._reconnect,  # noqa: SLF001
    "quit": Player._quit,  # noqa: SLF001
    "kill": Player._kill,  # noqa: SLF001
    "note": Player._note,  # noqa: SLF001
}


def _json_object(text: str) -> Json | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
