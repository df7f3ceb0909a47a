"""A machine that is just enough for testing monitors: echo, fail, emit, work, sleep and quit."""

from __future__ import annotations

from dataclasses import dataclass

from qbitsim.engine.events import EventLog
from qbitsim.errors import QmpError
from qbitsim.nbd.exports import Exports
from qbitsim.profiles import QEMU_10_0


@dataclass
class FakeCommand:
    allow_oob: bool = False


COMMANDS = {
    "qmp_capabilities": FakeCommand(),
    "echo": FakeCommand(),
    "fail": FakeCommand(),
    "emit": FakeCommand(),
    "work": FakeCommand(),
    "sleep": FakeCommand(),
    "quit": FakeCommand(),
    "yank": FakeCommand(allow_oob=True),
}


class FakeMachine:
    profile = QEMU_10_0

    def __init__(self, capabilities=("oob",)):
        self.events = EventLog()
        self.closing = False
        self.monitor_faults = []
        self.control = None
        self.monitor_descriptors = None
        self.executed = []
        self.work = 0
        self.now = 0
        self.deadlines = []
        self._capabilities = list(capabilities)
        self.exports = Exports(None, None, self.profile, None)

    def note_no_clients(self):
        pass

    def take_printing(self):
        return iter(())

    def greeting(self):
        version = {"qemu": {"major": 10, "minor": 0, "micro": 13}, "package": "fake"}
        return {"QMP": {"version": version, "capabilities": self._capabilities}}

    def find(self, name):
        return COMMANDS.get(name)

    def execute(self, name, arguments):
        self.executed.append(name)
        if name == "fail":
            raise QmpError("it failed", "DeviceNotFound")
        if name == "emit":
            self.emit(arguments.get("name", "TEST"))
        if name == "work":
            self.work += arguments["steps"]
        if name == "sleep":
            self.deadlines.append(self.now + arguments["ns"])
        if name == "quit":
            self.emit("SHUTDOWN")
            self.closing = True
        if name == "echo":
            return arguments
        return {}

    def emit(self, name):
        seconds, rest = divmod(self.now, 10**9)
        stamp = {"seconds": seconds, "microseconds": rest // 1000}
        self.events.append({"timestamp": stamp, "event": name})

    def step(self):
        due = [each for each in self.deadlines if each <= self.now]
        if due:
            self.deadlines.remove(due[0])
            self.emit("AWAKE")
            return True
        if not self.work:
            return False
        self.work -= 1
        if not self.work:
            self.emit("DONE")
        return True

    def clock(self):
        return self.now

    def move_clock(self, when):
        self.now = when

    @property
    def next_deadline(self):
        return min(self.deadlines, default=None)
