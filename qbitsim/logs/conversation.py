"""What a client and one QEMU said to each other, as a log has it.

A conversation is one connection to one monitor: it begins with a greeting, if the log has that. A domain is the QEMU
that is spoken to, by the name that the client has for it; it may have several conversations, one after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from qbitsim.jsontypes import Json

Kind = Literal["greeting", "request", "reply", "event", "remark"]


@dataclass(frozen=True, slots=True)
class Said:
    """One thing that was said.

    :ivar place: it came before all of the log that have higher ones.
    :ivar at: nanoseconds since 1970 by the clock of the log; None if the log does not say.
    :ivar kind: ``remark`` is what the client says of itself, such as an error that it reports.
    :ivar message: as JSON; or a text, of a remark, or of a message that is cut off.
    """

    place: int
    at: int | None
    kind: Kind
    message: Json | str


@dataclass(slots=True)
class Conversation:
    """One connection.

    :ivar name: what tells it from the others of the log.
    :ivar domain: the name of the QEMU; empty if it is not known.
    :ivar said: in the order of the log.
    """

    name: str
    domain: str = ""
    said: list[Said] = field(default_factory=list)

    def version(self) -> tuple[int, int, int] | None:
        """Which QEMU it is, from its greeting or from its reply to ``query-version``."""
        for each in self.said:
            if each.kind in ("greeting", "reply") and isinstance(each.message, dict):
                about = each.message.get("QMP", each.message.get("return"))
                found = _version(about.get("version", about)) if isinstance(about, dict) else None
                if found is not None:
                    return found
        return None

    def is_probe(self) -> bool:
        """Whether it only asks a QEMU without a guest what it can do, as libvirt does with each new emulator."""
        asked = {each.message.get("execute") for each in self.said if isinstance(each.message, dict)}
        return not self.domain and not asked.isdisjoint(_PROBES)


_PROBES = ("query-qmp-schema", "qom-list-types", "query-machines")


def _version(value: object) -> tuple[int, int, int] | None:
    qemu = value.get("qemu") if isinstance(value, dict) else None
    if not isinstance(qemu, dict):
        return None
    major, minor, micro = (qemu.get(name) for name in ("major", "minor", "micro"))
    if isinstance(major, int) and isinstance(minor, int) and isinstance(micro, int):
        return major, minor, micro
    return None


@dataclass(slots=True)
class Log:
    """A whole log.

    :ivar program: who has written it: ``libvirt`` or ``qemu.qmp``.
    :ivar conversations: in the order in which they begin; each has at least one message.
    :ivar notes: what a reader must know of the log, such as damage.
    """

    program: str
    conversations: list[Conversation]
    notes: list[str] = field(default_factory=list)

    def note_damage(self, count: int) -> None:
        """Note that so many messages are not whole."""
        if count:
            what = "1 message is" if count == 1 else f"{count} messages are"
            self.notes.append(f"{what} cut off in the log; only {'its' if count == 1 else 'their'} beginning is shown.")

    def chosen(self, names: Sequence[str]) -> list[Conversation]:
        """The conversations of these names, or of domains of these names; without names all but those that only probe.

        :raises KeyError: there is none of one of the names.
        """
        if names:
            for name in names:
                if not any(name in (each.name, each.domain) for each in self.conversations):
                    raise KeyError(name)
            return [each for each in self.conversations if each.name in names or each.domain in names]
        return [each for each in self.conversations if not each.is_probe()] or self.conversations


def named(conversations: Iterable[Conversation]) -> None:
    """Give names: that of the domain where there is only one of it, and numbers where there are more."""
    groups: dict[str, list[Conversation]] = {}
    for each in conversations:
        groups.setdefault(each.domain or each.name, []).append(each)
    for name, group in groups.items():
        for number, each in enumerate(group, 1):
            each.name = name if len(group) == 1 else f"{name}/{number}"
