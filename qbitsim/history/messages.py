"""A history made of messages alone, for conversations whose machine is not there to be looked at.

It has what the messages say of jobs and bitmaps: the status of jobs from events, the number of dirty bytes from the
replies to ``query-block`` and ``query-named-block-nodes``. Which bits were dirty is not known, and ``bits`` of the
history is false.
"""

from __future__ import annotations

from qbitsim.engine.scheduler import NANOSECONDS
from qbitsim.history.history import is_failure, new_header
from qbitsim.history.words import actions_of, plain, reply_words, request_words
from qbitsim.jsontypes import Json

_ENDS = ("BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED")
_JOBS = ("backup", "mirror", "commit", "stream")
_FLAGS = ("busy", "persistent", "inconsistent")


class MessageHistory:
    """Collects messages in the order in which they came.

    :param title: what a report is headed with.
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
        self._asked: dict[str, tuple[int, object]] = {}
        self._disks: dict[str, str] = {}  # what a disk is called, and by what name it is known here
        self._jobs: dict[str, Json] = {}  # what the command that started a job says of it
        self._epoch: int | None = None
        self._now = 0

    def to_json(self) -> Json:
        """The whole history."""
        epoch = self._epoch // NANOSECONDS if self._epoch is not None else None
        header = new_header(self.title, self.profile, epoch, self.notes, bits=self.bits)
        return {**header, "lanes": self.lanes, "moments": self.moments}

    def request(self, request: object, who: str = "") -> None:
        """A client has asked."""
        request = plain(request)
        if isinstance(request, dict):
            for name, data in actions_of(request.get("execute"), request.get("arguments")):
                self._expect_job(name, data)
        self._asked[who] = (len(self.moments), request)
        self._add("request", request_words(request), who, data=request)

    def reply(self, reply: object, who: str = "") -> None:
        """The server has answered what that client asked last."""
        reply = plain(reply)
        place, request = self._asked.pop(who, (None, None))
        more: Json = {} if place is None else {"of": place}
        if isinstance(reply, dict) and "return" in reply:
            more["changes"] = self._changes_of_reply(request, reply["return"])
        self._add("reply" if "changes" in more else "error", reply_words(reply), who, data=reply, **more)

    def event(self, event: Json) -> None:
        """An event came."""
        self._follow_stamp(event.get("timestamp"))
        name, data = event.get("event"), event.get("data", {})
        changes = self._changes_of_event(name, data) if isinstance(name, str) and isinstance(data, dict) else {}
        self._add("event", str(name), data=event, changes=changes, failed=is_failure(event))

    def remark(self, kind: str, text: str, changes: Json | None = None) -> None:
        """Something that is no message."""
        self._add(kind, text, changes=changes)

    def _add(self, kind: str, text: str, who: str = "", *, failed: bool = False, **more: object) -> None:
        moment: Json = {"at": self._now, "kind": kind, "text": text}
        if who:
            moment["who"] = who
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

    def _changes_of_event(self, name: str, data: Json) -> Json:
        job = data.get("id", data.get("device"))
        if not isinstance(job, str) or not name.startswith(("JOB_", "BLOCK_JOB_")):
            return {}
        lane = {"kind": "job", "name": job, "type": data.get("type", "job"), **self._jobs.get(job, {})}
        if name == "JOB_STATUS_CHANGE":
            status = str(data.get("status"))
            return self._change(("job", job), lane, None if status == "null" else {"status": status})
        if name not in _ENDS:
            return {}
        done = {"done": data.get("offset", 0), "total": data.get("len", 0), "error": data.get("error")}
        return self._change(("job", job), lane, done)

    def _changes_of_reply(self, request: object, value: object) -> Json:
        """What a reply changes; one with disks is known by itself, for transcripts without requests."""
        changes: Json = {}
        for disk in value if isinstance(value, list) else []:
            changes |= self._changes_of_disk(disk) if isinstance(disk, dict) else {}
        asked = request if isinstance(request, dict) else {}
        for name, data in actions_of(asked.get("execute"), asked.get("arguments", {})):
            place, bitmap = data.get("node"), data.get("name")
            if isinstance(place, str) and isinstance(bitmap, str):
                changes |= self._changes_of_action(name, place, bitmap, data)
        return changes

    def _expect_job(self, command: str, data: Json) -> None:
        """Note what is known of a job that a command may start."""
        device = data.get("device")
        identifier = data.get("job-id", device)
        kind = command.removeprefix("blockdev-").removeprefix("drive-").removeprefix("block-")
        if kind in _JOBS and isinstance(device, str) and isinstance(identifier, str):
            self._jobs[identifier] = {"type": kind, "drive": self._disk(device)}

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

    def _changes_of_disk(self, disk: Json) -> Json:
        inserted = disk.get("inserted", disk)
        if not isinstance(inserted, dict) or not isinstance(inserted.get("dirty-bitmaps"), list):
            return {}
        image = inserted.get("image")
        size = image.get("virtual-size") if isinstance(image, dict) else None
        size = size if isinstance(size, int) and size > 0 else 0
        place = self._same_disk(_text(disk.get("device")), _text(inserted.get("node-name")))
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


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _bitmap_lane(place: str, name: str, size: int, cell: object) -> Json:
    granularity = cell if isinstance(cell, int) else 65536
    return {"kind": "bitmap", "name": name, "node": place, "drive": place, "size": size, "cell": granularity}
