"""Whether a faithful machine would have given the replies of a conversation.

The conversation is played on a machine of the same release that is made from it (:class:`.Rebuilt`), and each reply is
compared with the machine's own. A reply is only found wrong if there is no doubt; rules:

1. Of a reply counts whether it is a refusal, the text of a refusal, and of queries what they say of bitmaps and jobs,
   without numbers that depend on the guest or on time (:mod:`.comparing`).
2. A refusal that the host may be the cause of, such as one by a file, is not judged; nor is what is not emulated, or
   what concerns something that the conversation does not tell of, or that went another way once before
   (:class:`.Trust`).
3. What happened between a request and its reply may have happened before the command ran, or after: if either order
   gives the reply, it is right.
4. A release without a profile is not judged, as texts may differ.
"""

from __future__ import annotations

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.jsontypes import Json
from qbitsim.logs.comparing import difference, refusal
from qbitsim.logs.conversation import Conversation
from qbitsim.logs.exchange import Exchange, exchanges
from qbitsim.logs.following import Follower, OthersLast
from qbitsim.logs.judgement import Judgement
from qbitsim.logs.rebuilt import Rebuilt
from qbitsim.logs.trust import Trust, names_in
from qbitsim.machine.machine import Machine
from qbitsim.profiles import DEFAULT_PROFILE, PROFILES


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_JUDGED = _words(
    "block-dirty-bitmap-add block-dirty-bitmap-remove block-dirty-bitmap-clear block-dirty-bitmap-enable"
    " block-dirty-bitmap-disable block-dirty-bitmap-merge transaction blockdev-add blockdev-del blockdev-create"
    " blockdev-backup drive-backup blockdev-mirror drive-mirror block-commit block-stream blockdev-snapshot"
    " blockdev-snapshot-sync job-cancel job-complete job-dismiss job-finalize job-pause job-resume block-job-cancel"
    " block-job-complete block-job-dismiss block-job-finalize block-job-pause block-job-resume block-job-set-speed"
    " nbd-server-start nbd-server-stop nbd-server-add nbd-server-remove block-export-add block-export-del"
    " query-jobs query-block-jobs query-named-block-nodes query-block"
)
"""The commands whose replies are judged."""

_PLAYED = _words(
    "cont stop device_add device_del block_resize blockdev-change-medium blockdev-reopen blockdev-set-active eject"
    " object-add object-del qom-set block-set-write-threshold block-job-change"
)
"""Those that are played for what they do, while their replies are not judged."""

_LAST = _words(
    "migrate migrate-incoming migrate-continue snapshot-save snapshot-load snapshot-delete system_reset quit"
)
"""Those after which the machine is another one."""

_OTHER_THINGS = "about other things than disks, bitmaps and jobs"


def judged(conversation: Conversation) -> Judgement:
    """Compare the replies of a conversation with those of a machine of the same release."""
    version = conversation.version()
    name = f"{version[0]}.{version[1]}" if version is not None else ""
    judgement = Judgement(PROFILES.get(name, DEFAULT_PROFILE))
    policy = OthersLast()
    rebuilt = Rebuilt(conversation, judgement.profile, policy)
    doubt = ""
    if name not in PROFILES:
        doubt = f"as qbitsim does not know QEMU {name}" if name else "as it is not known which QEMU it is"
    elif rebuilt.machine is None:
        doubt = "as it is not known which disks there were"
    judge = _Judge(rebuilt, rebuilt.machine, policy, conversation) if rebuilt.machine is not None else None
    for exchange in exchanges(conversation):
        if exchange.gap:
            doubt = doubt or "behind a message that is cut off in the log"
        if judge is not None and not doubt:
            judge.hear(exchange, judgement)
        else:
            judgement.unjudged[doubt if exchange.command in _JUDGED else _OTHER_THINGS] += 1
        if exchange.command in _LAST and exchange.succeeded:
            doubt = doubt or f"behind {exchange.command}"
    return judgement


class _Judge:
    """One conversation, and a machine to compare it with."""

    def __init__(self, rebuilt: Rebuilt, machine: Machine, policy: OthersLast, conversation: Conversation) -> None:
        self._rebuilt = rebuilt
        self._machine = machine
        self._follower = Follower(machine, policy, conversation)
        self._trust = Trust(rebuilt.known(), rebuilt.unknown, rebuilt.assumed)

    def hear(self, exchange: Exchange, judgement: Judgement) -> None:
        """Play a command, and compare."""
        self._catch_up(exchange.before)
        if exchange.command not in _JUDGED | _PLAYED and not _is_guest_io(exchange):
            self._catch_up(exchange.between)
            judgement.unjudged[_OTHER_THINGS] += 1
            return
        arguments = self._rebuilt.translated(exchange.arguments)
        names = names_in(exchange, arguments)
        self._rebuilt.prepare(exchange.command, arguments, exchange.asked)
        self._follower.expect_jobs(exchange.command, arguments)
        mine = self._answer(exchange, arguments)
        if exchange.command not in _JUDGED:
            judgement.unjudged[_OTHER_THINGS] += 1
        elif self._agree(exchange, mine):
            judgement.agreed += 1
        elif doubt := self._trust.doubt(exchange, names, mine):
            judgement.unjudged[doubt] += 1
        else:
            judgement.expected[exchange.answered] = self._expected(exchange, mine)
            self._trust.distrust(self._rebuilt.below(names))
        if exchange.succeeded:
            if "error" in mine:
                self._trust.distrust(self._rebuilt.below(names))
            self._trust.learn(exchange, names, mine)

    def _catch_up(self, events: list[Json]) -> None:
        """Follow events."""
        for event in events:
            lost = self._follower.follow(self._rebuilt.translated(event))
            self._trust.distrust(self._rebuilt.below(lost))

    def _answer(self, exchange: Exchange, arguments: Json) -> Json:
        """The machine's reply, in that order of the command and the events around it that fits better."""
        if exchange.command.startswith("query-"):
            self._catch_up(exchange.between)
            return self._ask(exchange.command, arguments)
        mine = self._try(exchange, arguments)
        self._catch_up(exchange.between)
        if exchange.between and not self._agree(exchange, mine):
            mine = self._try(exchange, arguments)
        return mine

    def _try(self, exchange: Exchange, arguments: Json) -> Json:
        """The machine's reply; what the other machine has refused is not done on this one either."""
        if exchange.succeeded:
            return self._ask(exchange.command, arguments)
        kept, marks = self._machine.snapshot(), self._follower.marks()
        mine = self._ask(exchange.command, arguments)
        if "return" in mine:
            self._machine.restore(kept)
            self._follower.go_back(marks)
        return mine

    def _ask(self, command: str, arguments: Json) -> Json:
        """What the machine answers; a refusal that is not QEMU's has no class."""
        try:
            return {"return": self._machine.execute(command, arguments)}
        except UnsupportedError as error:
            return {"error": {"class": "", "desc": error.desc}}
        except QmpError as error:
            return {"error": {"class": error.error_class, "desc": error.desc}}

    def _agree(self, exchange: Exchange, mine: Json) -> bool:
        """Whether two replies say the same as far as it counts."""
        if exchange.succeeded and "return" in mine:
            return not self._difference(exchange, mine)
        return not exchange.succeeded and "error" in mine and refusal(exchange.reply) == refusal(mine)

    def _difference(self, exchange: Exchange, mine: Json) -> Json:
        """What the machine says otherwise in a query."""
        values = (reply["return"] for reply in (exchange.reply, mine))
        return difference(exchange.command, *values, known=self._trust.certain, settled=not self._follower.is_ahead())

    def _expected(self, exchange: Exchange, mine: Json) -> Json:
        """The reply that was expected."""
        return {"return": self._difference(exchange, mine)} if exchange.succeeded and "return" in mine else mine


def _is_guest_io(exchange: Exchange) -> bool:
    """Whether somebody writes as the guest would."""
    line = exchange.arguments.get("command-line")
    return exchange.command == "human-monitor-command" and isinstance(line, str) and line.startswith("qemu-io ")
