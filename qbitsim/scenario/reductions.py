"""Smaller forms of replies and records, for comparing them."""

from __future__ import annotations

from typing import Any

from qbitsim.jsontypes import Json

_RESUMED = {"paused": "running", "standby": "ready"}
"""Status of a job that is held -> the one in which it goes on."""


def _bitmaps_of(entry: Json) -> Json:
    out: Json = {key: entry[key] for key in ("device", "qdev") if key in entry}
    inside = entry.get("inserted", entry if "node-name" in entry else None)
    if inside is not None:
        out["node-name"] = inside.get("node-name")
        out["drv"] = inside.get("drv")
    if "inserted" in entry and "dirty-bitmaps" in entry:
        out["dirty-bitmaps@blockinfo"] = entry["dirty-bitmaps"]
    if inside is not None and "dirty-bitmaps" in inside:
        out["dirty-bitmaps"] = inside["dirty-bitmaps"]
    return out


def _node_of(entry: Json) -> Json:
    out = _bitmaps_of(entry)
    inside = entry.get("inserted", entry)
    if inside and "image" in inside:
        out["virtual-size"] = inside["image"].get("virtual-size")
        out |= {key: inside.get(key) for key in ("ro", "file", "backing_file")}
    return out


def reduce_reply(reply: Json, pick: str | None) -> Json:
    """What a record keeps of a reply.

    :param pick: ``bitmaps``, ``named-bitmaps`` (without generated node-names), ``nodes``, ``ok``, ``count``, or
        None for everything. Errors are always kept whole.
    :raises ValueError: for another word.
    """
    if "return" not in reply or not pick:
        return reply
    value = reply["return"]
    if pick == "bitmaps":
        reduced: Any = [_bitmaps_of(entry) for entry in value]
    elif pick == "named-bitmaps":
        reduced = [_bitmaps_of(entry) for entry in value if not str(entry.get("node-name", "")).startswith("#")]
    elif pick == "nodes":
        reduced = [_node_of(entry) for entry in value]
    elif pick == "ok":
        reduced = "..."
    elif pick == "count":
        reduced = len(value)
    else:
        raise ValueError(f"unknown pick {pick!r}")
    return {**reply, "return": reduced}


def _status(record: Json) -> tuple[str, str] | None:
    if record.get("type") == "event" and record.get("event") == "JOB_STATUS_CHANGE":
        return record["data"]["id"], record["data"]["status"]
    return None


def _is_about(record: Json, job: str) -> bool:
    data = record.get("data") or {}
    return job in (data.get("device"), data.get("id"))


def _end_of_blip(records: list[Json], start: int, job: str, resumed: str) -> int | None:
    """Where the pause that begins at ``start`` ends, if nothing happens to the job in between."""
    for index in range(start + 1, len(records)):
        record = records[index]
        if record.get("type") != "event":
            return None
        status = _status(record)
        if status is not None and status[0] == job:
            return index if status[1] == resumed else None
        if status is None and _is_about(record, job):
            return None
    return None


def fold_blips(records: list[Json]) -> list[Json]:
    """The records without the pairs of paused and running, standby and ready, that QEMU's own drained sections cause.

    How many such pairs there are differs between QEMU versions and is no part of any promise.
    """
    out = list(records)
    index = 0
    while index < len(out):
        status = _status(out[index])
        resumed = _RESUMED.get(status[1]) if status is not None else None
        end = _end_of_blip(out, index, status[0], resumed) if status is not None and resumed is not None else None
        if end is not None:
            del out[end], out[index]
        else:
            index += 1
    return out


def by_step(records: list[Json]) -> list[Json]:
    """One item per step that answered, with the events around its answer in one ordered list.

    Whether the end of a short job comes before or after the reply depends, on real QEMU, on whether the job did
    real I/O. Blips are folded first.
    """
    out: list[Json] = []
    pending: list[Json] = []
    for record in fold_blips(records):
        kind = record.get("type")
        if kind == "event":
            pending.append({key: value for key, value in record.items() if key != "type"})
        elif kind in ("settled", "raw-end"):
            if out:
                out[-1]["events"] += pending
                pending = []
            if kind == "raw-end":
                out.append({**record, "events": []})
        else:
            out.append({**record, "events": pending})
            pending = []
    if pending and out:
        out[-1]["events"] += pending
    return out
