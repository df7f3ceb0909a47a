"""The debug log of libvirt (libvirtd.log, virtqemud.log, or the same lines in a journal).

With ``log_filters="1:qemu"`` each message is there as ``QEMU_MONITOR_SEND_MSG``, ``QEMU_MONITOR_RECV_REPLY`` or
``QEMU_MONITOR_RECV_EVENT`` with the address of the monitor (qemuMonitorSend, qemuMonitorJSONIOProcessLine, libvirt
11.3). An address is one connection up to ``QEMU_MONITOR_CLOSE``, and may be another's later; each begins with
``qmp_capabilities``. The name of its domain stands where libvirt enters the monitor
(qemuDomainObjEnterMonitorInternal) and in the path of the monitor's socket. A greeting has no address, but the thread
of the monitor's other messages.

An entry begins with a time of day, and goes on in lines that have none; a message may be wrapped or cut off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from qbitsim.jsontypes import Json
from qbitsim.logs.conversation import Conversation, Kind, Log, Said, named
from qbitsim.logs.messages import message_in
from qbitsim.logs.stamps import stamp_of

_PROBE = re.compile(r"QEMU_MONITOR_([A-Z_]+): mon=(0x[0-9a-f]+)(?: (?:msg|reply|event)=)?")
_HEAD = re.compile(r"(?:^|: )\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}[+-]\d{4}: (\d+): (debug|info|warning|error) : ")
_ENTERED = re.compile(r"[Ee]nter(?:ing|ed) monitor \(mon=(0x[0-9a-f]+) vm=0x[0-9a-f]+ name=([^)\s]+)\)")
_SOCKET = re.compile(r"/domain-\d+-([^/\"]+)/monitor\.sock")
_GREETING = re.compile(r'Line \[(?=\{"QMP")')
_KINDS: dict[str, Kind] = {"SEND_MSG": "request", "RECV_REPLY": "reply", "RECV_EVENT": "event"}
_SEARCHED = 400
"""Characters of an entry in which its marks are looked for: what comes behind them may be long."""


def is_libvirt(text: str) -> bool:
    """Whether it is a log of libvirt with messages of monitors."""
    return (
        re.search(r"^.{0,400}?QEMU_MONITOR_(?:SEND_MSG|RECV_REPLY|RECV_EVENT): mon=0x", text, re.MULTILINE) is not None
    )


def is_deaf_libvirt(text: str) -> bool:
    """Whether it is a log of libvirt, be it one in which no monitor is heard."""
    return (
        _HEAD.match(text) is not None or re.search(r"^.{0,100}libvirt version: ", text[:4000], re.MULTILINE) is not None
    )


def read_libvirt(text: str) -> Log:
    """What the log has, whatever else is in it."""
    reader = _Reader()
    for entry in _entries(text):
        reader.read(entry)
    return reader.log()


def _entries(text: str) -> Iterator[str]:
    """The entries without the ends of their lines."""
    lines: list[str] = []
    for line in text.split("\n"):
        if lines and (_HEAD.search(line, 0, _SEARCHED) or _PROBE.search(line, 0, _SEARCHED)):
            yield "".join(lines)
            lines = []
        lines.append(line.rstrip("\r"))
    yield "".join(lines)


class _Reader:
    """Sorts the entries of a log by monitor."""

    def __init__(self) -> None:
        self._conversations: list[Conversation] = []
        self._open: dict[str, Conversation] = {}  # by the address of the monitor
        self._spoke: dict[str, Conversation] = {}  # by the thread that spoke there last
        self._greeted: dict[str, Said] = {}  # by the thread that has read a greeting
        self._place = 0
        self._cut = 0

    def log(self) -> Log:
        """What was read."""
        heard = [each for each in self._conversations if each.said]
        named(heard)
        log = Log("libvirt", heard)
        log.note_damage(self._cut)
        return log

    def read(self, entry: str) -> None:
        """Take up one entry."""
        self._place += 1
        head = _HEAD.search(entry, 0, _SEARCHED)
        thread, level = (head[1], head[2]) if head is not None else ("", "")
        probe = _PROBE.search(entry, 0, _SEARCHED)
        if probe is not None:
            self._hear(entry, probe, thread)
        elif level == "error" and thread in self._spoke:
            assert head is not None
            self._add(self._spoke[thread], entry, "remark", f"libvirt: {_words(entry[head.end() :])}")
        elif (greeting := _GREETING.search(entry, 0, _SEARCHED)) is not None:
            message = message_in(entry, greeting.end())
            if message is not None:
                self._greeted[thread] = Said(self._place, _time(entry), "greeting", message)
        elif (entered := _ENTERED.search(entry, 0, _SEARCHED)) is not None:
            conversation = self._at(entered[1])
            conversation.domain = entered[2]
            self._spoke[thread] = conversation

    def _hear(self, entry: str, probe: re.Match[str], thread: str) -> None:
        what, address = probe.groups()
        if what in ("NEW", "CLOSE"):
            self._open.pop(address, None)
            return
        message = message_in(entry, probe.end())
        if message is not None and message.get("execute") == "qmp_capabilities" and self._at(address).said:
            del self._open[address]
        conversation = self._spoke[thread] = self._at(address)
        if thread in self._greeted:
            conversation.said.insert(0, self._greeted.pop(thread))
        if what not in _KINDS:
            return
        self._cut += message is None
        if not conversation.domain and (place := _SOCKET.search(entry)) is not None:
            conversation.domain = place[1]
        self._add(conversation, entry, _KINDS[what], message or entry[probe.end() :][:_SEARCHED])

    def _at(self, address: str) -> Conversation:
        """The conversation with the monitor at that address."""
        conversation = self._open.get(address)
        if conversation is None:
            conversation = self._open[address] = Conversation(f"monitor-{address}")
            self._conversations.append(conversation)
        return conversation

    def _add(self, conversation: Conversation, entry: str, kind: Kind, message: Json | str) -> None:
        conversation.said.append(Said(self._place, _time(entry), kind, message))


def _time(entry: str) -> int | None:
    stamp = stamp_of(entry)
    return stamp[0] if stamp is not None else None


def _words(text: str) -> str:
    """What an entry says, without the function and the number of the line that says it."""
    return re.sub(r"^\w+:\d+ : ", "", text)
