"""Drives a real QEMU: plays the steps of a scenario on it and records what it answers.

The records have the form of those of :class:`qbitsim.scenario.player.Player`, so that the two can be
compared. Two things differ from an emulator and are dealt with here:

* real time passes: :meth:`RealQemu.settle` asks for the jobs until nothing has changed for a while;
* a process is slow to start: what `qemu-img create` makes is kept and copied the next time.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from channel import DEADLINE, Channel, QemuDiedError

from qbitsim.scenario.reductions import reduce_reply

Record = dict[str, Any]

PROGRAM = "qemu-system-x86_64"
ROOT_VARIABLE = "QBITSIM_QEMU_ROOT"
"""Names root directories of systems of their own that have a QEMU, with a colon between; chroot enters them."""

MIRROR_LOOKS_EVERY = 0.11
"""Seconds after which a mirror that is ready has seen what a guest has written (BLOCK_JOB_SLICE_TIME, and some)."""

SOCKETS = ("qmp.sock", "second.sock")
"""The monitors; the second one has a client of its own."""


class SilentError(QemuDiedError):
    """It greets, and does not negotiate."""


class SparseFile:
    """The content of a file with its holes, which QEMU can tell from zeroes."""

    def __init__(self, path: Path) -> None:
        self.pieces: list[tuple[int, bytes]] = []
        with open(path, "rb") as file:
            self.size = os.fstat(file.fileno()).st_size
            place = 0
            while place < self.size:
                try:
                    start = os.lseek(file.fileno(), place, os.SEEK_DATA)
                except OSError:
                    break
                place = os.lseek(file.fileno(), start, os.SEEK_HOLE)
                self.pieces.append((start, os.pread(file.fileno(), place - start, start)))

    def write(self, path: Path) -> None:
        """Make a file like it."""
        with open(path, "wb") as file:
            file.truncate(self.size)
            for start, data in self.pieces:
                os.pwrite(file.fileno(), data, start)


def temporary(root: str | None) -> Path:
    """Where to make folders that the programs of a system see: in memory if it is this one, where no flush waits.

    It is for those who do not care which file system the files are in.

    :param root: its root directory; None for this one.
    """
    memory = Path("/dev/shm")
    return memory if root is None and memory.is_dir() else Path(root or "/") / "tmp"


class Installation:
    """A QEMU that can be run.

    :param root: the root directory of its system; None for this one.
    :ivar version: (major, minor, micro).
    """

    def __init__(self, root: str | None = None) -> None:
        self.root = root
        text = subprocess.run(self.wrap("/", [PROGRAM, "--version"]), capture_output=True, check=True, text=True).stdout
        found = re.search(r"version (\d+)\.(\d+)\.(\d+)", text)
        assert found is not None, text
        self.version = tuple(map(int, found.groups()))
        self.templates: dict[tuple[str, ...], SparseFile] = {}

    def __repr__(self) -> str:
        return "QEMU " + ".".join(map(str, self.version))

    def wrap(self, directory: str, argv: list[str]) -> list[str]:
        """The command that runs ``argv`` in ``directory`` of the installation's system."""
        if self.root is None:
            return ["env", "-C", directory, *argv]
        return ["chroot", self.root, "env", "-C", directory, *argv]

    def scratch(self) -> tuple[Path, str]:
        """A new directory: its path here, and its path as the processes see it."""
        outer = Path(tempfile.mkdtemp(prefix="qbitsim-oracle-", dir=temporary(self.root)))
        return outer, str(outer) if self.root is None else f"/tmp/{outer.name}"


@functools.cache
def installations() -> tuple[Installation, ...]:
    """Every QEMU there is: the one on the path, and those in the root directories that the environment names."""
    found = []
    if shutil.which(PROGRAM):
        found.append(Installation())
    found += [Installation(root) for root in os.environ.get(ROOT_VARIABLE, "").split(":") if root]
    return tuple(found)


class RealQemu:
    """One run of one scenario on a real QEMU.

    :param installation: which QEMU.
    :param patience: how many times longer than usual to wait until nothing changes.
    :ivar records: what was seen, oldest first; :ivar second_records: by the client of the second monitor.
    """

    def __init__(self, installation: Installation, *, patience: int = 1) -> None:
        self.installation = installation
        self.patience = patience
        self.outer, self.inner = installation.scratch()
        self.records: list[Record] = []
        self.second_records: list[Record] = []
        self.process: subprocess.Popen[bytes] | None = None
        self._channel: Channel | None = None
        self._second: Channel | None = None
        self._printed = 0
        self._guest_asked = False

    # -- the process

    def close(self) -> None:
        """Kill what runs and remove the files."""
        self._stop()
        shutil.rmtree(self.outer, ignore_errors=True)

    def _stop(self) -> None:
        for channel in (self._channel, self._second):
            if channel is not None:
                channel.close()
        self._channel = self._second = None
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _launch(self, config: Record) -> None:
        argv = ["stdbuf", "-oL", PROGRAM, "-machine", "none", "-display", "none", "-nodefaults", "-S"]
        for drive in config.get("drives", []):
            argv += ["-drive", ",".join(f"{key}={value}" for key, value in drive.items())]
        for node in config.get("blockdevs", []):
            argv += ["-blockdev", json.dumps(node)]
        argv += config.get("args", [])
        for name in SOCKETS:
            argv += ["-qmp", f"unix:{name},server=on,wait=off"]
            (self.outer / name).unlink(missing_ok=True)
        self._printed = 0
        with open(self.outer / ".stdout", "wb") as stdout, open(self.outer / ".stderr", "wb") as stderr:
            self.process = subprocess.Popen(
                self.installation.wrap(self.inner, argv), stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr
            )

    def _connect(self, name: str) -> Channel:
        assert self.process is not None
        return Channel(self.outer / name, self.process, self.outer / ".stderr")

    # -- the conversation

    def send(self, data: bytes) -> None:
        """Put bytes on the first monitor's socket."""
        assert self._channel is not None
        self._channel.send(data)

    def line(self, timeout: float) -> bytes | None:
        """The next line of the first monitor; None if there was none for that many seconds."""
        assert self._channel is not None
        return self._channel.line(timeout)

    def ask(self, message: Record, timeout: float = DEADLINE) -> Record:
        """Send a message and return the reply; events that came before it are recorded.

        :raises QemuDiedError: instead of a reply within that many seconds.
        """
        self.send(json.dumps(message).encode() + b"\n")
        while True:
            line = self.line(timeout)
            if line is None:
                raise QemuDiedError(self.post_mortem())
            answer = self._event(json.loads(line))
            if answer is not None:
                return answer

    def post_mortem(self) -> str:
        """Why there is no answer."""
        if self._channel is None or not self._channel.closed or self.process is None:
            return "no answer"
        status = self.process.wait(timeout=DEADLINE)
        errors = (self.outer / ".stderr").read_text(errors="replace")
        return f"exit status {status}: {errors}"

    def _event(self, message: Record) -> Record | None:
        if "event" not in message:
            return message
        self._record(type="event", **{key: value for key, value in message.items() if key != "timestamp"})
        return None

    def _record(self, **members: Any) -> None:
        self.records.append(self._normal(members))

    def _normal(self, value: Any) -> Any:
        if isinstance(value, str):
            value = value.replace(self.inner + "/", "").replace(self.inner, ".")
            return re.sub(r"#block\d+", "#auto", value)
        if isinstance(value, list):
            return [self._normal(item) for item in value]
        if isinstance(value, dict):
            return {key: "-" if key == "actual-size" else self._normal(item) for key, item in value.items()}
        return value

    # -- steps

    def play(self, steps: list[Record]) -> list[Record]:
        """Play all steps and return the records.

        :raises QemuDiedError: on the way.
        """
        for index, step in enumerate(steps):
            self.step(index, step)
        return self.records

    def step(self, index: int, step: Record) -> None:
        """Play one step.

        :raises QemuDiedError: meanwhile.
        """
        kind = next(name for name in step if name in _STEPS)
        _STEPS[kind](self, index, step)
        if kind != "settle":
            self._guest_asked = kind in {"write", "io"}

    def _shell(self, index: int, step: Record) -> None:
        argv = step["shell"]
        creates = argv[:2] == ["qemu-img", "create"] and "-b" not in argv
        if creates and self._from_template(argv):
            status, output = 0, ""
        else:
            done = subprocess.run(
                self.installation.wrap(self.inner, argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                check=False,
            )
            status, output = done.returncode, done.stdout.decode(errors="replace")
            if creates and status == 0:
                self.installation.templates[_template_key(argv)] = SparseFile(self.outer / argv[-2])
        record: Record = {"step": index, "type": "shell", "argv": argv, "rc": status}
        if argv[:2] != ["qemu-img", "create"]:
            record["output"] = re.sub(r"disk size: .*", "disk size: -", output)
        self._record(**record)

    def _from_template(self, argv: list[str]) -> bool:
        image = self.installation.templates.get(_template_key(argv))
        if image is None:
            return False
        image.write(self.outer / argv[-2])
        return True

    def _start(self, index: int, step: Record) -> None:
        """Start a machine. One in some thousands of QEMU 7.2 greets and then does not answer: it is started again."""
        for attempt in (1, 2):
            before = len(self.records)
            self._launch(step["start"])
            try:
                self._greet(index, negotiate=step["start"].get("negotiate", True))
                return
            except SilentError:
                if attempt == 2:
                    raise
                del self.records[before:]
                self._stop()

    def _greet(self, index: int, *, negotiate: bool) -> None:
        self._channel = self._connect("qmp.sock")
        line = self.line(DEADLINE)
        if line is None:
            raise QemuDiedError(self.post_mortem())
        self._record(step=index, type="greeting", greeting=json.loads(line))
        if negotiate:
            try:
                reply = self.ask({"execute": "qmp_capabilities"}, timeout=5)
            except QemuDiedError as error:
                raise SilentError(str(error)) from None
            if reply != {"return": {}}:
                raise SilentError(f"no negotiation: {reply}")

    def _reconnect(self, index: int, step: Record) -> None:
        assert self._channel is not None
        self._channel.close()
        self._greet(index, negotiate=step.get("negotiate", True))

    def _ask_second(self, index: int, step: Record) -> None:
        """The client of the second monitor asks something; it comes when it has the first question."""
        if self._second is None:
            self._second = self._connect("second.sock")
            assert self._second.line(DEADLINE) is not None
            self._second.send(b'{"execute": "qmp_capabilities"}')
            assert self._second.line(DEADLINE) == b'{"return": {}}'
        self._second.send(json.dumps(step["second"]).encode() + b"\n")
        while (answer := self._read_second(DEADLINE)) is not None:
            if "event" not in answer:
                self.second_records.append(self._normal({"step": index, "type": "reply", "reply": answer}))
                return
        raise QemuDiedError(self.post_mortem())

    def _read_second(self, timeout: float) -> Record | None:
        """The next message of the second monitor; an event is recorded."""
        assert self._second is not None
        line = self._second.line(timeout)
        if line is None:
            return None
        message: Record = json.loads(line)
        if "event" in message:
            del message["timestamp"]
            self.second_records.append(self._normal({"type": "event", **message}))
        return message

    def _qmp(self, index: int, step: Record) -> None:
        reply = self.ask(step["qmp"])
        self._record(step=index, type="reply", reply=reduce_reply(reply, step.get("pick")))

    def _write(self, index: int, step: Record) -> None:
        device, offset, length, pattern = step["write"]
        self._qemu_io(index, device, f"write -q -P {pattern} {offset} {length}")

    def _io(self, index: int, step: Record) -> None:
        self._qemu_io(index, *step["io"])

    def _qemu_io(self, index: int, device: str, command: str) -> None:
        self._take_stdout()
        line = f'qemu-io {device} "{command}"'
        reply = self.ask({"execute": "human-monitor-command", "arguments": {"command-line": line}})
        record: Record = {"step": index, "type": "io", "dev": device, "cmd": command}
        if "return" in reply:
            record["hmp"] = reply["return"].replace("\r\n", "\n")
        else:
            record["reply"] = reply
        record["output"] = self._take_stdout()
        self._record(**record)

    def _take_stdout(self) -> str:
        with open(self.outer / ".stdout", "rb") as stdout:
            stdout.seek(self._printed)
            text = stdout.read()
        self._printed += len(text)
        return text.decode(errors="replace")

    def settle(self, index: int, step: Record) -> None:
        """Wait until two things that a job could change, its progress and events, have not changed for a while."""
        del step
        last: Any = None
        stable = 0
        deadline = time.monotonic() + DEADLINE
        quiet_after = time.monotonic() + MIRROR_LOOKS_EVERY
        while time.monotonic() < deadline:
            before = len(self.records)
            self._drain_events(0.004 if last is not None else 0.0)
            jobs = self.ask({"execute": "query-block-jobs"})["return"]
            seen = jobs, self.ask({"execute": "query-jobs"})["return"]
            stable = stable + 1 if seen == last and len(self.records) == before else 0
            last = seen
            if self._guest_asked and any(map(_looks_for_writes, jobs)) and time.monotonic() < quiet_after:
                continue
            if stable >= self.patience * _looks(jobs):
                while self._second is not None and self._read_second(0) is not None:
                    pass
                self.second_records.append({"type": "settled"})
                self._record(step=index, type="settled")
                return
        raise QemuDiedError(f"does not settle: {last}")

    def _drain_events(self, quiet: float) -> None:
        while (line := self.line(quiet)) is not None:
            message = self._event(json.loads(line))
            assert message is None, message

    def contents(self, names: list[str]) -> dict[str, bytes]:
        """What a guest would read from each of the image files, which nobody must have open."""
        loop = 'for name; do qemu-img convert -U -O raw "$name" "$name.content" || exit 1; done'
        subprocess.run(self.installation.wrap(self.inner, ["sh", "-c", loop, "sh", *names]), check=True)
        return {name: (self.outer / f"{name}.content").read_bytes() for name in names}

    def _raw(self, index: int, step: Record) -> None:
        data = bytes.fromhex(step["raw_hex"]) if "raw_hex" in step else step["raw"].encode("utf-8", "surrogateescape")
        self.send(data)
        count = 0
        while (line := self.line(0.1)) is not None:
            count += 1
            self._record(step=index, type="reply", text=line.decode("utf-8", "replace"))
        self._record(step=index, type="raw-end", replies=count)

    def _quit(self, index: int, step: Record) -> None:
        del step
        self.send(b'{"execute": "quit"}')
        while (line := self.line(DEADLINE)) is not None:
            reply = self._event(json.loads(line))
            if reply is not None:
                self._record(step=index, type="reply", reply=reply)
        self._end(index)

    def _kill(self, index: int, step: Record) -> None:
        assert self.process is not None
        self.process.send_signal(step["kill"])
        self._end(index)

    def _end(self, index: int) -> None:
        assert self.process is not None
        status = self.process.wait(timeout=DEADLINE)
        self._stop()
        self._record(step=index, type="exit", status=status)


def _template_key(argv: list[str]) -> tuple[str, ...]:
    """A `qemu-img create` command without the name of the file."""
    return (*argv[:-2], argv[-1])


def _looks(jobs: list[Record]) -> int:
    """How many looks, 4 ms from each other, must show the same: more if a job could be at work at this moment."""
    if not jobs:
        return 1
    resting = all(job["status"] != "running" or (job["speed"] > 0 and job["offset"] > 0) for job in jobs)
    return 3 if resting else 7


def _looks_for_writes(job: Record) -> bool:
    """Whether it is a mirror, or an active commit, that is ready: what the guest writes is dirty until it looks."""
    return bool(job["ready"])


_STEPS: dict[str, Callable[[RealQemu, int, Record], None]] = {
    "shell": RealQemu._shell,
    "start": RealQemu._start,
    "qmp": RealQemu._qmp,
    "second": RealQemu._ask_second,
    "write": RealQemu._write,
    "io": RealQemu._io,
    "raw": RealQemu._raw,
    "raw_hex": RealQemu._raw,
    "settle": RealQemu.settle,
    "quit": RealQemu._quit,
    "kill": RealQemu._kill,
    "reconnect": RealQemu._reconnect,
}
