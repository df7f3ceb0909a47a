"""A history made of messages alone, for conversations whose machine is not there to be looked at.

It has what the messages say of jobs and bitmaps: the status of jobs from events, their progress from queries, the
number of dirty bytes from the replies to ``query-block`` and ``query-named-block-nodes``. Which bits were dirty is not
known, and ``bits`` of the history is false.
"""

from __future__ import annotations

import json

from qbitsim.engine.scheduler import NANOSECONDS
from qbitsim.history.history import is_failure, new_header
from qbitsim.history.words import actions_of, plain, reply_words, request_words
from qbitsim.jsontypes import Json

_ENDS = ("BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED")
_JOBS = ("backup", "mirror", "commit", "stream", "create")
_PROGRESS = (("current-progress", "offset"), ("total-progress", "len"))
_FLAGS = ("busy", "persistent", "inconsistent")


class MessageHistory:
    """Collects messages in the order in which they came.

    :param title: what a report is headed with.
    :ivar notes: what its readers must know.
    :ivar bits: whether the changes say which cells are dirty.
    :ivar lanes: and :ivar moments: as in :class:`.History`.
    """

    def __init__(self, title: str, profile: str = "") -> None:
        self.title = title
        self.profile = profile
        self.notes: list[str] = []
        self.bits = False
        self.lanes: list[Json] = []
        self.moments: list[Json] = []
        self._numbers: dict[tuple[str, ...], int] = {}
        self._states: dict[int, Json] = {}
        self._asked: dict[tuple[str, str], tuple[int, object]] = {}  # by client and id, what is not answered yet
        self._last: dict[str, tuple[str, str]] = {}  # the key of what each client has asked last
        self._disks: dict[str, str] = {}  # what a disk is called, and by what name it is known here
        self._jobs: dict[str, Json] = {}  # what the command that started a job says of it
        self._epoch: int | None = None
        self._now = 0

    def to_json(self) -> Json:
        """The whole history."""
        epoch = self._epoch // NANOSECONDS if self._epoch is not None else None
        header = new_header(self.title, self.profile, epoch, self.notes, bits=self.bits)
        return {**header, "lanes": self.lanes, "moments": self.moments}

    def request(self, request: object, who: str = "", *, machine: str = "") -> None:
        """A client has asked.

        :param machine: of which of several machines this is; its name stands before those of its disks and jobs.
        """
        request = plain(request)
        if isinstance(request, dict):
            for name, data in actions_of(request.get("execute"), request.get("arguments")):
                self._expect_job(name, data, machine)
        self._last[who] = key = _key(who, request)
        self._asked[key] = (len(self.moments), request)
        self._add("request", request_words(request), who, machine, data=request)

    def reply(self, reply: object, who: str = "", *, machine: str = "", expected: Json | None = None) -> None:
        """The server has answered what that client asked last, or the request with the same id.

        :param expected: what a faithful machine would have answered, if that is otherwise.
        """
        reply = plain(reply)
        place, request = self._request_of(reply, who)
        more: Json = {"of": place, "expected": expected}
        if isinstance(reply, dict) and "return" in reply:
            more["changes"] = self._changes_of_reply(request, reply["return"], machine)
        self._add("reply" if "changes" in more else "error", reply_words(reply), who, machine, data=reply, **more)

    def _request_of(self, reply: object, who: str) -> tuple[int | None, object]:
        """The moment of the request that is answered, and the request."""
        key = _key(who, reply)
        if key not in self._asked and not (isinstance(reply, dict) and "id" in reply):
            key = self._last.get(who, key)
        return self._asked.pop(key, (None, None))

    def event(self, event: Json, *, machine: str = "") -> None:
        """An event came."""
        self._follow_stamp(event.get("timestamp"))
        name, data = event.get("event"), event.get("data", {})
        changes: Json = {}
        if isinstance(name, str) and isinstance(data, dict):
            changes = self._changes_of_event(name, data, machine)
        self._add("event", str(name), "", machine, data=event, changes=changes, failed=is_failure(event))

    def remark(self, kind: str, text: str, who: str = "", *, changes: Json | None = None, failed: bool = False) -> None:
        """Something that is no message."""
        self._add(kind, text, who, changes=changes, failed=failed)

    def _add(
        self, kind: str, text: str, who: str = "", machine: str = "", *, failed: bool = False, **more: object
    ) -> None:
        moment: Json = {"at": self._now, "kind": kind, "text": text}
        if who:
            moment["who"] = who
        if machine:
            moment["machine"] = machine
        if failed:
            moment["failed"] = True
        self.moments.append({**moment, **{name: value for name, value in more.items() if value not in (None, {})}})

    def move_clock(self, time_of_day: int) -> None:
        """It is so many nanoseconds after 1970 now; the first call is the beginning."""
        if self._epoch is None:
            self._epoch = time_of_day
        self._now = max(self._now, time_of_day - self._epoch)

    def _follow_stamp(self, stamp: object) -> None:
        if not isinstance(stamp, dict):
            return
        seconds, micros = stamp.get("seconds"), stamp.get("microseconds")
        if isinstance(seconds, int) and isinstance(micros, int):
            self.move_clock((seconds * 1_000_000 + micros) * 1000)

    # -- what changes

    def _change(self, key: tuple[str, ...], lane: Json, state: Json | None) -> Json:
        """The change of one lane, or nothing."""
        number = self._numbers.get(key)
        if number is None:
            if state is None:
                return {}
            number = self._numbers[key] = len(self.lanes)
            self.lanes.append(lane)
        before = self._states.pop(number, None)
        if state is None:
            return {str(number): None} if before is not None else {}
        self._states[number] = {**(before or {}), **state}
        changed = {name: value for name, value in state.items() if before is None or before.get(name) != value}
        return {str(number): changed} if changed else {}

    def _changes_of_event(self, name: str, data: Json, machine: str) -> Json:
        job = data.get("id", data.get("device"))
        if not isinstance(job, str) or not name.startswith(("JOB_", "BLOCK_JOB_")):
            return {}
        job = _called(job, machine)
        lane = {"kind": "job", "name": job, "type": data.get("type", "job"), **self._jobs.get(job, {})}
        if name == "JOB_STATUS_CHANGE":
            status = str(data.get("status"))
            return self._change(("job", job), lane, None if status == "null" else {"status": status})
        if name not in _ENDS:
            return {}
        done = {"done": data.get("offset", 0), "total": data.get("len", 0), "error": data.get("error")}
        return self._change(("job", job), lane, done)

    def _changes_of_reply(self, request: object, value: object, machine: str) -> Json:
        """What a reply changes; one with disks or jobs is known by itself, for transcripts without requests."""
        changes: Json = {}
        for each in value if isinstance(value, list) else []:
            if isinstance(each, dict):
                changes |= self._changes_of_disk(each, machine) | self._changes_of_job(each, machine)
        asked = request if isinstance(request, dict) else {}
        for name, data in actions_of(asked.get("execute"), asked.get("arguments", {})):
            place, bitmap = data.get("node"), data.get("name")
            if isinstance(place, str) and isinstance(bitmap, str):
                changes |= self._changes_of_action(name, _called(place, machine), bitmap, data)
        return changes

    def _changes_of_job(self, job: Json, machine: str) -> Json:
        """What a reply says of a job that events have told of."""
        called = job.get("id", job.get("device"))
        key = ("job", _called(called, machine)) if isinstance(called, str) else ()
        if self._numbers.get(key) not in self._states:
            return {}
        done, total = (job.get(name, job.get(other)) for name, other in _PROGRESS)
        if not isinstance(done, int) or not isinstance(total, int):
            return {}
        failed = {"error": job["error"]} if isinstance(job.get("error"), str) else {}
        return self._change(key, {}, {"done": done, "total": total, **failed})

    def _expect_job(self, command: str, data: Json, machine: str) -> None:
        """Note what is known of a job that a command may start."""
        device = data.get("device")
        identifier = data.get("job-id", device)
        kind = command.removeprefix("blockdev-").removeprefix("drive-").removeprefix("block-")
        if kind in _JOBS and isinstance(identifier, str):
            drive = {"drive": self._disk(_called(device, machine))} if isinstance(device, str) else {}
            self._jobs[_called(identifier, machine)] = {"type": kind, **drive}

    def _disk(self, called: str) -> str:
        """The name by which a disk is known here."""
        return self._disks.setdefault(called, called)

    def _same_disk(self, device: str, node: str) -> str:
        """Learn that a device and a node are one disk; return the name by which it is known here."""
        known = self._disks.get(device) or self._disks.get(node) or device or node
        self._disks.update({each: known for each in (device, node) if each})
        return known

    def _changes_of_action(self, name: str, place: str, bitmap: str, data: Json) -> Json:
        place = self._disk(place)
        key = ("bitmap", place, bitmap)
        if name == "block-dirty-bitmap-add":
            return self._change(key, _bitmap_lane(place, bitmap, 0, data.get("granularity", 65536)), {"count": 0})
        if name == "block-dirty-bitmap-remove":
            return self._change(key, {}, None)
        if name == "block-dirty-bitmap-clear" and key in self._numbers:
            return self._change(key, {}, {"count": 0})
        return {}

    def _changes_of_disk(self, disk: Json, machine: str) -> Json:
        inserted = disk.get("inserted", disk)
        if not isinstance(inserted, dict) or not isinstance(inserted.get("dirty-bitmaps"), list):
            return {}
        image = inserted.get("image")
        size = image.get("virtual-size") if isinstance(image, dict) else None
        size = size if isinstance(size, int) and size > 0 else 0
        device, node = (_called(_text(name), machine) for name in (disk.get("device"), inserted.get("node-name")))
        place = self._same_disk(device, node)
        changes: Json = {}
        for bitmap in inserted["dirty-bitmaps"]:
            if not isinstance(bitmap, dict) or not isinstance(bitmap.get("name"), str):
                continue
            granularity, dirty = bitmap.get("granularity"), bitmap.get("count")
            if isinstance(granularity, int) and isinstance(dirty, int) and granularity > 0:
                flags = [flag for flag in _FLAGS if bitmap.get(flag)]
                flags += ["disabled"] if bitmap.get("recording") is False else []
                lane = _bitmap_lane(place, bitmap["name"], size, granularity)
                state = {"count": dirty // granularity, "flags": flags}
                key = ("bitmap", place, bitmap["name"])
                changes |= self._change(key, lane, state)
                self.lanes[self._numbers[key]].update(size=size, cell=granularity)
        return changes


def _key(who: str, message: object) -> tuple[str, str]:
    """What a request and its reply have in common: the client and the id."""
    return who, json.dumps(message["id"]) if isinstance(message, dict) and "id" in message else ""


def _called(name: str, machine: str) -> str:
    """The name of something of a machine, where there are several machines."""
    return f"{machine} {name}" if machine and name else name


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _bitmap_lane(place: str, name: str, size: int, cell: object) -> Json:
    granularity = cell if isinstance(cell, int) else 65536
    return {"kind": "bitmap", "name": name, "node": place, "drive": place, "size": size, "cell": granularity}
