"""What has an id among the control commands, in plain words: where it strikes, what, and how often yet."""

from __future__ import annotations

import errno as numbers
from typing import Any

from qbitsim.engine.scheduler import NANOSECONDS
from qbitsim.files.faults import Delay, Fault, Stall
from qbitsim.injection.guest import GuestActivity
from qbitsim.injection.refusal import Refusal
from qbitsim.jobs.foreign import ForeignJob
from qbitsim.qmp.monitor_faults import DroppedMonitor, HalfReply, HeldReply

_Rule = Fault | Delay | Stall
_OfMonitor = HeldReply | HalfReply | DroppedMonitor

_REQUESTS = {
    frozenset(("read",)): "reads",
    frozenset(("write", "write-zeroes")): "writes",
    frozenset(("write-zeroes",)): "writes of zeroes",
    frozenset(("discard",)): "discards",
    frozenset(("flush",)): "flushes",
}


def text_of(handle: Any) -> str:
    """A fault, a guest or a job of another client: ``drive0: reads that touch 0+65536 fail with EIO, once``."""
    match handle:
        case Fault() | Delay() | Stall():
            return f"{handle.where}: {_of_rule(handle)}{_often(handle.times, handle.after)}"
        case HeldReply() | HalfReply() | DroppedMonitor():
            return f"{_of_monitor(handle)}{_often(handle.times, handle.after)}"
        case Refusal():
            return f"{handle.command} is refused{_often(handle.times)}: {handle.error.desc}"
        case GuestActivity():
            return f"{handle.drive}: the guest has made {handle.done} of {handle.most} writes"
    assert isinstance(handle, ForeignJob)
    return f"a {handle.kind} job of another client, {handle.status}"


def _of_rule(rule: _Rule) -> str:
    place = "" if rule.offset is None else f" that touch {rule.offset}+{rule.length}"
    requests = _REQUESTS[rule.operations] + place
    match rule:
        case Fault():
            chance = f" with probability {rule.probability:g}" if rule.probability < 1 else ""
            return f"{requests} fail with {numbers.errorcode[rule.errno]}{chance}"
        case Delay():
            return f"{requests} of jobs take {rule.nanoseconds / NANOSECONDS:g} s"
        case Stall():
            return f"{requests} of jobs wait"


def _of_monitor(fault: _OfMonitor) -> str:
    match fault:
        case HeldReply():
            reply = f"the reply to {fault.command}"
            late = None if fault.nanoseconds is None else fault.nanoseconds / NANOSECONDS
            return f"{reply} is held back" if late is None else f"{reply} comes {late:g} s later"
        case HalfReply():
            return f"the monitor hangs up in the middle of the reply to {fault.command}"
        case DroppedMonitor():
            when = "before" if fault.before_command or fault.before_reply else "behind"
            return f"the monitor hangs up {when} {'' if fault.before_command else 'the reply to '}{fault.command}"


def _often(times: int | None, after: int = 0) -> str:
    if times == 0:
        return ", no more"
    often = "" if times is None else ", once" if times == 1 else f", {times} times"
    return f"{often} after {after} that do not" if after else often
