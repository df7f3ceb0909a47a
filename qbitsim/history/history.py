"""Watches a machine and writes down each moment, with what was different after it.

Rules:

1. A moment is something that a person would point at: a request, its reply, an event, a guest's write, what an NBD
   client asks, a fault, a step of a job. Whatever is different from the moment before stands with it, as
   :class:`.Lanes` finds it, so that the state at every moment can be put together: it is what the machine had then. A
   step, or what a client asks, comes before what it causes.
2. Watching changes nothing but the time that it takes. (A watched machine copies each cluster in a step of its own
   where it otherwise might do many at once; nobody can tell the difference but a watcher.)
3. Steps that only move the progress of a job are left out if they are many; the progress is part of the next moment.
4. One history may follow several machines one after the other, such as QEMU before and after a restart.

The members of lanes and moments are described in :mod:`qbitsim.history.file`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from qbitsim.argument_types import Size
from qbitsim.engine.scheduler import NANOSECONDS
from qbitsim.history.lanes import Lanes
from qbitsim.history.why import Why, why
from qbitsim.history.words import guest_words, plain, reply_words, request_words
from qbitsim.jsontypes import Json
from qbitsim.qmp.journal import Journal

if TYPE_CHECKING:
    from qbitsim.block.drive import Drive
    from qbitsim.commands.parts import MachineLike
    from qbitsim.copying.block_copy import BlockCopyState
    from qbitsim.engine.events import EventLog


KIND = "qbitsim-history"
FORMAT = 1
_MANY = 5_000
"""From so many moments on, steps that change little are left out."""
_BY_NBD = "NBD "
"""How the labels of requests of NBD clients begin."""
_FAILURES = ("BLOCK_JOB_ERROR", "BLOCK_IO_ERROR", "BLOCK_IMAGE_CORRUPTED")


class History(Journal):
    """A journal that keeps everything, and the state at each moment.

    :param title: what a report is headed with.
    :ivar moments: oldest first.
    :ivar notes: what its readers must know.
    :ivar listener: called after each new moment, if there is one.
    :ivar generation: how often :meth:`restart` was called.
    """

    __slots__ = (
        *("_asked", "_lanes", "_machine", "_step", "_step_is_added"),
        *("generation", "listener", "moments", "notes", "title"),
    )

    def __init__(self, title: str = "") -> None:
        super().__init__()
        self.title = title
        self.moments: list[Json] = []
        self.notes: list[str] = []
        self.listener: Callable[[], None] | None = None
        self.generation = 0
        self._lanes = Lanes()
        self._machine: MachineLike | None = None
        self._asked: dict[str, int] = {}
        self._step = ""
        self._step_is_added = True

    def watch(self, machine: MachineLike) -> None:
        """Follow this machine from now on, and no other."""
        if self._machine is not None and self._machine.scheduler.observer is self:
            self.look()
            self._machine.scheduler.observer = None
        self._lanes.forget()
        self._machine = machine
        machine.scheduler.observer = self
        machine.journal = self
        drives = ", ".join(machine.graph.drives) or "no drives"
        self._add_moment("start", f"QEMU {machine.profile.name} with {drives}")

    def look(self) -> None:
        """Write down what was changed by other means than those that are noted, such as ``add_disk``."""
        known = len(self.lanes)
        changes = self._changes()
        if changes:
            new = [f"{lane['kind']} {lane['name']}" for lane in self.lanes[known:] if lane["name"] is not None]
            text = f"there is now: {', '.join(new)}" if new else "the machine was changed"
            self._append({"at": self._now(), "kind": "look", "text": text, "changes": changes})

    def restart(self) -> None:
        """Forget the moments and begin with the machine as it is now."""
        assert self._machine is not None
        self.moments.clear()
        self._asked.clear()
        self._lanes = Lanes()
        self.generation += 1
        self._add_moment("start", "what was before is forgotten")

    @property
    def lanes(self) -> list[Json]:
        """The lanes, in the order in which they appeared."""
        return self._lanes.lanes

    def header(self) -> Json:
        """All but the lanes and the moments."""
        machine = self._machine
        if machine is None:
            return new_header(self.title, "", 0, self.notes)
        epoch = (machine.clock.time_of_day() - machine.scheduler.now) // NANOSECONDS
        return new_header(self.title, machine.profile.name, epoch, self.notes)

    def to_json(self) -> Json:
        """The whole history, with what was done since the last moment."""
        if self._machine is not None:
            self.look()
        return {**self.header(), "lanes": list(self.lanes), "moments": list(self.moments)}

    def why(self, bitmap: str, offset: Size, *, node: str | None = None, moment: int | None = None) -> Why:
        """Why a granule is dirty, or clean: what set it, what cleared it before, which backup copied it last.

        ``print(history.why("bitmap0", "1M"))`` tells it in words.

        :param offset: any byte of the granule, as a number or such as ``"64k"``.
        :param node: the node, or the drive, that the bitmap is on, if several have one of that name.
        :param moment: the number of the moment after which it is asked; the last one if not given.
        :raises ValueError: there is no such bitmap then, or no such byte.
        """
        return why(self.to_json(), bitmap, offset, node=node, moment=moment)

    # -- as a journal

    def note(self, log: EventLog, who: str, arrow: str, what: object) -> None:
        """Add a request or a reply."""
        super().note(log, who, arrow, what)
        what = plain(what)
        if arrow == "->":
            self.look()
            self._add_moment("request", request_words(what), who, data=what)
            self._asked[who] = len(self.moments) - 1
            return
        failed = not (isinstance(what, dict) and "return" in what)
        asked = self._asked.pop(who, None)
        more: Json = {} if asked is None else {"of": asked}
        self._add_moment("error" if failed else "reply", reply_words(what), who, data=what, **more)

    # -- as an observer

    def emitted(self, event: Json) -> None:
        """Add an event."""
        self._add_moment("event", event["event"], data=event, failed=is_failure(event))

    def stepping(self, label: str) -> None:
        """Remember what runs now: if something comes of it, the step is added before."""
        self._step, self._step_is_added = label, False

    def stepped(self) -> None:
        """Add the step, if it was of consequence; or what is left of it, if it was added before."""
        added, self._step_is_added = self._step_is_added, True
        few = len(self.moments) < _MANY
        changes = self._changes(fine=added or few)
        asked = not added and few and self._step.startswith(_BY_NBD)
        if changes or asked:
            moment: Json = {
                "at": self._now(),
                "kind": self._kind,
                "text": f"{self._step}: done" if added else self._step,
            }
            self._append({**moment, "changes": changes} if changes else moment)

    def requested(self, operation: str, drive: Drive, offset: int, length: int, error: OSError | None) -> None:
        """Add what the guest has done."""
        assert self._machine is not None
        name = self._lanes.touched(self._machine, drive, operation, offset, length if error is None else 0)
        data = {"operation": operation, "drive": name, "offset": offset, "length": length}
        self._add_moment(
            "write", guest_words(operation, drive, offset, length, error), data=data, failed=error is not None
        )

    def copied(self, copy: BlockCopyState, offset: int, length: int) -> None:
        """Let the next moment tell what a backup has copied."""
        self._lanes.copied(copy, offset, length)

    def noted(self, kind: str, text: str) -> None:
        """Add what else was done to the machine."""
        if kind == "look":
            self._lanes.forget()
        self._add_moment(kind, text)

    # -- moments

    @property
    def _kind(self) -> str:
        """What the task that runs now, or ran last, is of."""
        return "nbd" if self._step.startswith(_BY_NBD) else "step"

    def _now(self) -> int:
        return self._machine.scheduler.now if self._machine is not None else 0

    def _changes(self, *, fine: bool = True) -> Json:
        return self._lanes.look(self._machine, fine=fine) if self._machine is not None else {}

    def _add_moment(
        self, kind: str, text: str, who: str = "", *, data: object = None, failed: bool = False, **more: object
    ) -> None:
        moment: Json = {"at": self._now(), "kind": kind, "text": text, **more}
        if who:
            moment["who"] = who
        if data is not None:
            moment["data"] = data
        if failed:
            moment["failed"] = True
        changes = self._changes()
        if changes:
            moment["changes"] = changes
        self._append(moment)

    def _append(self, moment: Json) -> None:
        if not self._step_is_added:
            self._step_is_added = True
            self._append({"at": moment["at"], "kind": self._kind, "text": self._step})
        self.moments.append(moment)
        if self.listener is not None:
            self.listener()


def history_of(machine: MachineLike, title: str = "") -> History:
    """The history that watches the machine; from now on if none has done so."""
    observer = machine.scheduler.observer
    if isinstance(observer, History):
        return observer
    history = History(title)
    history.watch(machine)
    return history


def new_header(title: str, profile: str, epoch: int | None, notes: Iterable[str], *, bits: bool = True) -> Json:
    """All of a history but the lanes and the moments; see :mod:`qbitsim.history.file`."""
    return {
        "kind": KIND,
        "format": FORMAT,
        "title": title,
        "profile": profile,
        "epoch": epoch,
        "notes": list(notes),
        "bits": bits,
    }


def is_failure(event: Json) -> bool:
    """Whether an event tells that something failed."""
    name, data = event.get("event"), event.get("data")
    return name in _FAILURES or (name == "BLOCK_JOB_COMPLETED" and isinstance(data, dict) and "error" in data)
