"""Whether a faithful machine would have given the replies of a conversation.

The conversation is played on a machine of the same release that is made from it (:class:`.Rebuilt`), and each reply is
compared with the machine's own. A reply is only found wrong if there is no doubt; rules:

1. Of a reply counts whether it is a refusal, the text of a refusal, and of queries what they say of bitmaps and jobs,
   without numbers that depend on the guest or on time.
2. A refusal that the host may be the cause of, such as one by a file, is not judged; nor is what is not emulated.
3. What concerns something that the machine does not know, or that went another way once before, is not judged.
4. What happened between a request and its reply may have happened before the command ran, or after: if either order
   gives the reply, it is right.
5. A release without a profile is not judged, as texts may differ.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from errno import errorcode
from typing import Any

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.jsontypes import Json
from qbitsim.logs.comparing import reduced, refusal
from qbitsim.logs.conversation import Conversation
from qbitsim.logs.following import Follower, OthersLast
from qbitsim.logs.rebuilt import Rebuilt
from qbitsim.profiles import DEFAULT_PROFILE, PROFILES, Profile

_JUDGED = frozenset(
    "block-dirty-bitmap-add block-dirty-bitmap-remove block-dirty-bitmap-clear block-dirty-bitmap-enable"
    " block-dirty-bitmap-disable block-dirty-bitmap-merge transaction blockdev-add blockdev-del blockdev-create"
    " blockdev-backup drive-backup blockdev-mirror drive-mirror block-commit block-stream blockdev-snapshot"
    " blockdev-snapshot-sync job-cancel job-complete job-dismiss job-finalize job-pause job-resume block-job-cancel"
    " block-job-complete block-job-dismiss block-job-finalize block-job-pause block-job-resume block-job-set-speed"
    " nbd-server-start nbd-server-stop nbd-server-add nbd-server-remove block-export-add block-export-del"
    " query-jobs query-block-jobs query-named-block-nodes query-block".split()
)
"""The commands whose replies are judged."""

_PLAYED = frozenset(
    "cont stop device_add device_del block_resize blockdev-change-medium blockdev-reopen blockdev-set-active eject"
    " object-add object-del qom-set block-set-write-threshold block-job-change".split()
)
"""Those that are played for what they do, while their replies are not judged."""

_LOSE = frozenset(
    "migrate migrate-incoming migrate-continue snapshot-save snapshot-load snapshot-delete system_reset quit".split()
)
"""Those after which the machine is another one."""

_NAMING = frozenset(
    "node name device job-id id target node-name file bitmap export filename top-node base-node overlay".split()
)
_HOSTS = re.compile(
    "|".join(map(re.escape, sorted(os.strerror(number) for number in errorcode)))
    + "|lock|Could not (?:open|create|read)|Failed to (?:connect|bind|get|find|unlink)|corrupt|[Tt]imed out"
)
"""Texts of refusals that the host may be the cause of."""


@dataclass(slots=True)
class Judgement:
    """What was found.

    :ivar profile: of the machine that it was compared with.
    :ivar expected: the replies that were expected instead of those that came, by their places in the conversation.
    :ivar agreed: how many replies were as expected.
    :ivar unjudged: how many were not judged, by the reason.
    """

    profile: Profile
    expected: dict[int, Json] = field(default_factory=dict)
    agreed: int = 0
    unjudged: Counter[str] = field(default_factory=Counter)

    def notes(self, name: str = "") -> Iterator[str]:
        """What a reader must know, in sentences.

        :param name: of the conversation, if there are several.
        """
        begin = f"{name}: " if name else ""
        wrong = len(self.expected)
        if wrong:
            yield f"{begin}{_counted(wrong, 'reply')} not what QEMU {self.profile.name} answers."
        yield (
            f"{begin}{_counted(self.agreed, 'reply')} what QEMU {self.profile.name} answers;"
            f" {_counted(self.unjudged.total(), 'reply')} not judged{_reasons(self.unjudged)}."
        )


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun} is" if count == 1 else f"{count} {noun[:-1]}ies are"


def _reasons(reasons: Counter[str]) -> str:
    return f" ({', '.join(f'{count} {why}' for why, count in reasons.most_common())})" if reasons else ""


def judged(conversation: Conversation) -> Judgement:
    """Compare the replies of a conversation with those of a machine of the same release."""
    version = conversation.version()
    name = f"{version[0]}.{version[1]}" if version is not None else ""
    judgement = Judgement(PROFILES.get(name, DEFAULT_PROFILE))
    _Judge(conversation, judgement, known=name in PROFILES).run()
    return judgement


class _Judge:
    """One conversation in front of a judge."""

    def __init__(self, conversation: Conversation, judgement: Judgement, *, known: bool) -> None:
        self._said = conversation.said
        self._judgement = judgement
        self._doubt = "" if known else f"by a release that qbitsim does not know: only {', '.join(PROFILES)}"
        policy = OthersLast()
        self._rebuilt = Rebuilt(conversation, judgement.profile, policy)
        self._suspect = set(self._rebuilt.unknown)  # names of which nothing is certain
        self._machine = self._rebuilt.machine
        if self._machine is None:
            self._doubt = self._doubt or "as it is not known what disks there were"
        else:
            self._follower = Follower(self._machine, policy, _ends(conversation))
        self._events: list[Json] = []
        self._asked: dict[str, tuple[int, Json, int]] = {}

    def run(self) -> None:
        """Look at all that was said."""
        for place, said in enumerate(self._said):
            message = said.message
            if not isinstance(message, dict):
                if said.kind in ("request", "reply"):
                    self._doubt = self._doubt or "behind a message that is cut off in the log"
            elif said.kind == "event":
                self._events.append(message)
            elif said.kind == "request":
                self._asked[repr(message.get("id"))] = (place, message, len(self._events))
            elif said.kind == "reply":
                asked = self._asked.pop(repr(message.get("id")), None)
                self._hear(place, message, asked)

    def _hear(self, place: int, reply: Json, asked: tuple[int, Json, int] | None) -> None:
        """Take up a reply."""
        command = asked[1].get("execute") if asked is not None else None
        if asked is None or not isinstance(command, str):
            self._judgement.unjudged["without a request"] += 1
            return
        when, request, before = asked
        why = self._doubt
        if command not in _JUDGED:
            why = "about other things than disks, bitmaps and jobs"
        if self._machine is None or self._doubt:
            self._judgement.unjudged[why] += 1
        else:
            earlier, self._events = self._events, []
            self._catch_up(earlier[:before])
            self._play(place, reply, command, request.get("arguments", {}), earlier[before:], when)
        if command in _LOSE and "return" in reply:
            self._doubt = self._doubt or f"behind {command}"

    def _catch_up(self, events: list[Json]) -> None:
        for event in events:
            self._follower.follow(self._rebuilt.translated(event))

    def _play(self, place: int, reply: Json, command: str, arguments: Any, between: list[Json], when: int) -> None:
        """Let the machine answer, too, and compare."""
        if command not in _JUDGED | _PLAYED and not _is_guest_io(command, arguments):
            self._catch_up(between)
            self._judgement.unjudged["about other things than disks, bitmaps and jobs"] += 1
            return
        arguments = self._rebuilt.translated(arguments)
        self._rebuilt.prepare(command, arguments, when)
        self._follower.expect_jobs(command, arguments)
        mine = self._answer(command, arguments, reply, between)
        names = set(_names_in(arguments))
        doubt = self._doubt_of(command, reply, mine, names)
        if doubt is None and self._agree(command, reply, mine):
            self._judgement.agreed += 1
        elif doubt is None and command in _JUDGED:
            self._judgement.expected[place] = mine
        else:
            self._judgement.unjudged[doubt or "about other things than disks, bitmaps and jobs"] += 1
        if "return" in reply and "error" in mine:
            self._suspect |= names
        elif "return" in reply and command in ("blockdev-del", "job-dismiss"):
            self._suspect -= names
            self._follower.lost -= names

    def _answer(self, command: str, arguments: Any, reply: Json, between: list[Json]) -> Json:
        """The machine's reply, in that order of the command and the events around it that fits better."""
        assert self._machine is not None
        query = command.startswith("query-")
        if query:
            self._catch_up(between)
            return self._ask(command, arguments)
        unsure = bool(between) and self._follower.has_jobs()
        kept = self._machine.snapshot() if unsure or "error" in reply else None
        marks = self._follower.marks()
        mine = self._ask(command, arguments)
        if kept is not None and not self._agree(command, reply, mine):
            self._machine.restore(kept)
            self._follower.go_back(marks)
            if unsure:
                self._catch_up(between)
                between = []
                kept = self._machine.snapshot() if "error" in reply else None
                marks = self._follower.marks()
                mine = self._ask(command, arguments)
                if kept is not None and "return" in mine:
                    self._machine.restore(kept)
                    self._follower.go_back(marks)
        self._catch_up(between)
        return mine

    def _ask(self, command: str, arguments: Any) -> Json:
        assert self._machine is not None
        try:
            return {"return": self._machine.execute(command, arguments)}
        except UnsupportedError as error:
            return {"error": {"class": "", "desc": error.desc}}
        except QmpError as error:
            return {"error": {"class": error.error_class, "desc": error.desc}}

    def _doubt_of(self, command: str, reply: Json, mine: Json, names: set[str]) -> str | None:
        """Why the reply is not judged, or None."""
        for each in (reply, mine):
            error = each.get("error")
            if error is None:
                continue
            if not isinstance(error, dict) or error.get("class") == "":
                return "as it is not emulated"
            if _HOSTS.search(str(error.get("desc"))) is not None:
                return "that the host's files may have caused"
        if names & (self._suspect | self._follower.lost):
            return "about what went another way before"
        if names & self._rebuilt.assumed and "error" in {**reply, **mine}:
            return "about files that are not known"
        return None

    def _agree(self, command: str, reply: Json, mine: Json) -> bool:
        """Whether two replies say the same as far as it counts."""
        if ("error" in reply) != ("error" in mine):
            return False
        if "error" in reply:
            return refusal(reply) == refusal(mine)
        untold = self._suspect | self._follower.lost
        settled = not self._follower.is_ahead()
        one, other = (reduced(command, each["return"], untold, settled=settled) for each in (reply, mine))
        return bool(one == other)


def _ends(conversation: Conversation) -> dict[str, list[str]]:
    """For each job the errors with which it ended, in order."""
    ends: dict[str, list[str]] = {}
    for said in conversation.said:
        message = said.message
        if said.kind != "event" or not isinstance(message, dict) or message.get("event") != "BLOCK_JOB_COMPLETED":
            continue
        data = message.get("data")
        if isinstance(data, dict) and isinstance(data.get("device"), str) and isinstance(data.get("error"), str):
            ends.setdefault(data["device"], []).append(data["error"])
    return ends


def _is_guest_io(command: str, arguments: Any) -> bool:
    """Whether somebody writes as the guest would."""
    line = arguments.get("command-line") if isinstance(arguments, dict) else None
    return command == "human-monitor-command" and isinstance(line, str) and line.startswith("qemu-io ")


def _names_in(value: Any, key: str = "") -> Iterator[str]:
    """All names that a request has."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield from _names_in(each, name)
    elif isinstance(value, list):
        for each in value:
            yield from _names_in(each, key if key in ("bitmaps",) else "")
    elif isinstance(value, str) and (key in _NAMING or key == "bitmaps"):
        yield value
