"""The human monitor's command line; the expected texts are those of QEMU 7.2 and 10.0."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qbitsim.commands.context import Context
from qbitsim.commands.hmp.declaration import Handler, HmpCommand
from qbitsim.commands.hmp.line import StringError, split_hmp
from qbitsim.commands.hmp.run import human_monitor_command
from qbitsim.engine.transaction import Transaction
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.machine.machine import Machine
from qbitsim.profiles import QEMU_7_2, QEMU_10_0, Profile

DECLARED = {
    "qemu-io": ("qdev:-d,device:B,command:s", "qemu-io"),
    "drive_del": ("id:B", "drive_del"),
    "eject": ("force:-f,device:B", "eject"),
    "info status": ("", "status"),
    "info block": ("nodes:-n,verbose:-v,device:B?", "block"),
    "stop": ("", "stop|s"),
}


def hmp(line: str, handlers: dict[str, Handler], profile: Profile = QEMU_10_0, stdout: list[str] | None = None) -> str:
    """The reply of a machine that has these commands; what it prints on its standard output goes to ``stdout``."""
    commands = {
        name: HmpCommand(
            name=name,
            shown=DECLARED[name][1],
            arguments=DECLARED[name][0],
            params="",
            help="",
            reports=name == "drive_del",
            handler=handler,
        )
        for name, handler in handlers.items()
    }
    machine = Machine(profile)
    try:
        return human_monitor_command(Context(machine, Transaction()), line, commands)
    finally:
        printed = machine.take_stdout()
        if printed and stdout is not None:
            stdout.append(printed)


class Monitor:
    """Handlers that note what they were given and know the device drive0."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.stdout: list[str] = []

    def qemu_io(self, _context: Context, *, qdev: bool, device: str, command: str) -> str:
        if device != "drive0":
            raise QmpError(f"Cannot find device='' nor node-name='{device}'")
        self.calls.append((qdev, device, command))
        return ""

    def drive_del(self, _context: Context, *, id: str) -> str:  # noqa: A002 - QEMU's word
        if id != "drive0":
            raise QmpError(f"Device '{id}' not found", "DeviceNotFound")
        self.calls.append((id,))
        return ""

    def eject(self, context: Context, *, force: bool, device: str) -> str:
        del force
        return self.drive_del(context, id=device)

    def status(self, _context: Context) -> str:
        return "VM status: paused (prelaunch)\n"

    def say(self, line: str) -> str:
        handlers = {
            "qemu-io": self.qemu_io,
            "drive_del": self.drive_del,
            "eject": self.eject,
            "info status": self.status,
            "info block": lambda *_, **__: "",
            "stop": lambda _: "",
        }
        return hmp(line, handlers, stdout=self.stdout)


@pytest.mark.parametrize(
    ("line", "call"),
    [
        ('qemu-io drive0 "write 0 512"', (False, "drive0", "write 0 512")),
        ('  qemu-io\t"drive0"length  ', (False, "drive0", "length")),
        ("qemu-io -d drive0 length", (True, "drive0", "length")),
        ("qemu-io -ddrive0 length", (True, "drive0", "length")),
        ('qemu-io drive0 ""', (False, "drive0", "")),
        (r'qemu-io drive0 "a\"b\\c\nd\re"', (False, "drive0", 'a"b\\c\nd\re')),
        ('qemu-io drive0 len"gth"', (False, "drive0", 'len"gth"')),
        ("drive_del drive0", ("drive0",)),
    ],
)
def test_arguments_reach_the_handler(line: str, call: tuple[object, ...]) -> None:
    monitor = Monitor()
    assert monitor.say(line) == ""
    assert monitor.calls == [call]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("", ""),
        (" \n", ""),
        ("nosuch a", "unknown command: 'nosuch'\r\n"),
        (" nosuch a", "unknown command: ' nosuch'\r\n"),
        ("/", "unknown command: ''\r\n"),
        ("info nosuch x", "unknown command: 'info nosuch'\r\n"),
        ("info/x", "unknown command: 'info'\r\n"),
        ("QEMU-IO drive0 x", "unknown command: 'QEMU-IO'\r\n"),
        ("info  status", "VM status: paused (prelaunch)\r\n"),
        ("qemu-io nodev x", "Error: Cannot find device='' nor node-name='nodev'\r\n"),
        ("qemu-io 'drive0' x", "Error: Cannot find device='' nor node-name=''drive0''\r\n"),
        ("drive_del nodev", "Device 'nodev' not found\r\n"),
        ("eject -f nodev", "Error: Device 'nodev' not found\r\n"),
    ],
)
def test_a_line_is_answered_as_qemu_answers(line: str, reply: str) -> None:
    monitor = Monitor()
    assert monitor.say(line) == reply
    assert monitor.calls == []


@pytest.mark.parametrize(
    ("line", "text", "typed"),
    [
        ("qemu-io", "qemu-io: block device name expected", "qemu-io"),
        ("  qemu-io", "qemu-io: block device name expected", "  qemu-io"),
        ("qemu-io drive0", "qemu-io: string expected", "qemu-io"),
        ("qemu-io drive0 write 0 512", "qemu-io: extraneous characters at the end of line", "qemu-io"),
        ("qemu-io -x drive0 x", "qemu-io: unsupported option -x", "qemu-io"),
        ("qemu-io - drive0 x", "qemu-io: unsupported option - ", "qemu-io"),
        ("drive_del", "drive_del: block device name expected", "drive_del"),
        ("drive_del drive0 extra", "drive_del: extraneous characters at the end of line", "drive_del"),
        ("stop x", "stop|s: extraneous characters at the end of line", "stop"),
        ("s x", "stop|s: extraneous characters at the end of line", "s"),
        ("info  block x y", "block: extraneous characters at the end of line", "info  block"),
    ],
)
def test_wrong_arguments_are_refused_with_a_hint_and_reach_nobody(line: str, text: str, typed: str) -> None:
    monitor = Monitor()
    assert monitor.say(line) == f'{text}\r\nTry "help {typed}" for more information\r\n'
    assert (monitor.calls, monitor.stdout) == ([], [])


@pytest.mark.parametrize(
    ("string", "stdout"),
    [
        ('"length', "unterminated string\n"),
        ('"length\\"', "unterminated string\n"),
        (r'"no\tsuch"', "unsupported escape code: '\\t'\n"),
        ('"abc\\', "unsupported escape code: '\\\0'\n"),
    ],
)
def test_a_malformed_string_is_also_told_on_standard_output(string: str, stdout: str) -> None:
    monitor = Monitor()
    reply = monitor.say(f"qemu-io drive0 {string}")
    assert reply == 'qemu-io: string expected\r\nTry "help qemu-io" for more information\r\n'
    assert (monitor.calls, monitor.stdout) == ([], [stdout])


def test_long_words_are_cut_to_the_monitors_buffer() -> None:
    assert split_hmp(f'{"y" * 1030} "{"z" * 1500}"') == ["y" * 1023, "z" * 1023]


def test_a_command_that_only_qemu_has_is_unsupported() -> None:
    for line in ("migrate tcp:x", "info mtree", "p 1", "?"):
        with pytest.raises(UnsupportedError, match=r"^qbitsim does not emulate HMP command '"):
            Monitor().say(line)


def test_an_unsupported_request_of_a_handler_is_not_made_a_text() -> None:
    def refuse(_context: Context, **_arguments: object) -> str:
        raise UnsupportedError("that")

    with pytest.raises(UnsupportedError):
        hmp("drive_del x", {"drive_del": refuse})


def test_names_belong_to_their_release() -> None:
    assert hmp("singlestep on", {}, profile=QEMU_10_0) == "unknown command: 'singlestep'\r\n"
    assert hmp("info cryptodev", {}, profile=QEMU_7_2) == "unknown command: 'info cryptodev'\r\n"
    with pytest.raises(UnsupportedError):
        hmp("singlestep on", {}, profile=QEMU_7_2)


def test_splitting_stops_at_a_malformed_string() -> None:
    with pytest.raises(StringError, match=r"^unterminated string\n$"):
        split_hmp('drive_del "x')


@given(st.lists(st.text(max_size=20).filter(lambda word: "\0" not in word), max_size=5))
def test_quoted_words_come_back_whole(words: list[str]) -> None:
    quoted = ['"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words]
    assert split_hmp(" ".join(quoted)) == words


@given(st.text(alphabet='qemu-io drv0"\\n\t/', max_size=30))
def test_any_line_is_answered_in_whole_lines(tail: str) -> None:
    monitor = Monitor()
    reply = monitor.say("qemu-io " + tail)
    assert reply == "" or reply.endswith("\r\n")
    assert len(monitor.calls) <= 1
