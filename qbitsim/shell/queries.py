"""Drives, bitmaps and jobs from the queries that any QMP server answers, as rows of a picture.

QMP says how much of a bitmap is dirty and not where, so there are no cells: the rows say how much.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from qbitsim.jsontypes import Json
from qbitsim.terminal.picture import Row, Style, bitmap_note, human, row_of_job

Query = Callable[[str], list[Json]]
"""The reply to a query without arguments; empty if the server does not have it."""


def rows_of_queries(query: Query, style: Style, *, drives: Collection[str] | None = None) -> list[Row]:
    """The drives with their bitmaps, the bitmaps of other nodes, and the jobs.

    :param drives: only these; all if not given.
    """
    rows: list[Row] = []
    shown: set[str] = set()
    for block in query("query-block"):
        inserted = block.get("inserted", {})
        name = block["device"] or block.get("qdev") or "(no id)"
        if drives is None or name in drives:
            size = inserted.get("image", {}).get("virtual-size", 0)
            rows.append(Row(name, "", human(size) if inserted else "no medium"))
            rows += _bitmaps(inserted.get("dirty-bitmaps", block.get("dirty-bitmaps", [])))
        shown.add(inserted.get("node-name", ""))
    if drives is None:
        for node in query("query-named-block-nodes"):
            bitmaps = list(_bitmaps(node.get("dirty-bitmaps", [])))
            if node["node-name"] not in shown and bitmaps:
                rows += [Row(node["node-name"], "", ""), *bitmaps]
    return rows + [row_of_job(job, style) for job in jobs_of_queries(query)]


def _bitmaps(bitmaps: list[Json]) -> Iterator[Row]:
    for bitmap in reversed(bitmaps):
        if not bitmap.get("name"):
            continue  # what a job records for itself
        flags = [flag for flag in ("busy", "persistent", "inconsistent") if bitmap.get(flag)]
        if bitmap.get("status", "active") != "active":  # QEMU before 4.2
            flags.append("busy" if bitmap["status"] in ("frozen", "locked") else bitmap["status"])
        elif bitmap.get("recording") is False and not bitmap.get("busy"):
            flags.append("disabled")
        yield Row(f" {bitmap['name']}", "", bitmap_note(bitmap["count"], flags))


def jobs_of_queries(query: Query) -> list[Json]:
    """The jobs, as :func:`qbitsim.machine.state.describe` has them."""
    jobs = [
        {"id": job["id"], "status": job["status"], "error": job.get("error"), "type": job["type"]}
        | {"progress": [job["current-progress"], job["total-progress"]]}
        for job in query("query-jobs")
    ]
    known = {job["id"] for job in jobs}
    for job in query("query-block-jobs"):  # QEMU before 2.12 has no others
        if job["device"] not in known:
            status = "paused" if job["paused"] else "ready" if job.get("ready") else "running"
            error = None if job.get("io-status", "ok") == "ok" else job["io-status"]
            jobs.append({"id": job["device"], "status": status, "error": error, "type": job["type"]})
            jobs[-1]["progress"] = [job["offset"], job["len"]]
    return jobs
