"""The commit job for layers below the active one: what they hold is written into the base, and they are dropped.

Theory of operation (block/commit.c, QEMU 10.0)
===============================================

1. A ``commit_top`` filter above the top lets the base be written although readers above do not share that.
2. Copying is writing: the base's bitmaps are marked.
3. When the job is finalised, whatever was above the top gets the base as its backing file.

The active layer is committed by a mirror, see :mod:`qbitsim.jobs.mirror`.
"""

from __future__ import annotations

import errno
from functools import partial
from typing import TYPE_CHECKING

from qbitsim.block.chain import status_above
from qbitsim.block.drive import Drive
from qbitsim.drivers.job_filters import drop_filter, insert_commit_top
from qbitsim.errnos import errno_of
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.files.faults import StalledError
from qbitsim.jobs.loop import (
    CHUNK,
    LoopJob,
    grow,
    kept_writable,
    restore_read_only,
    set_writable,
    use_intermediate_nodes,
)
from qbitsim.records import record

if TYPE_CHECKING:
    from collections.abc import Callable

    from qbitsim.block.node import Node
    from qbitsim.jobs.job_list import JobList


@record(kw_only=True)
class CommitOptions:
    """What a client may choose.

    :ivar backing_name: what the header above shall say; None for the name of the base.
    :ivar shown_filename: tells the name that the base has at the end.
    :ivar speed: bytes per second, 0 for no limit; :ivar on_error: as for a backup.
    :ivar filter_node_name: None for a hidden one.
    """

    job_id: str | None
    backing_name: str | None
    shown_filename: Callable[[Node], str]
    speed: int
    on_error: str
    auto_finalize: bool
    auto_dismiss: bool
    filter_node_name: str | None


class CommitJob(LoopJob):
    """Writes what the layers from ``top`` down to, but without, ``base`` hold into ``base``.

    :ivar writer: what writes to the base, and makes it longer if it is shorter than the top.
    :ivar reader: what reads the top.
    """

    kind = "commit"

    __slots__ = ("_offset", "base", "base_was_read_only", "filter", "options", "reader", "top", "writer")

    def __init__(self, jobs: JobList, identifier: str, options: CommitOptions, top: Node, base: Node) -> None:
        super().__init__(jobs, identifier, auto_finalize=options.auto_finalize, auto_dismiss=options.auto_dismiss)
        self.options = options
        self.top = top
        self.base = base
        self.filter: Node | None = None
        self.base_was_read_only = base.read_only
        needed = perms.CONSISTENT_READ | perms.WRITE | (perms.RESIZE if base.length < top.length else 0)
        self.writer = Drive(jobs.graph, "", perm=needed, shared=perms.CONSISTENT_READ | perms.WRITE_UNCHANGED)
        self.reader = Drive(jobs.graph, "", perm=0, shared=perms.ALL)
        self._offset = 0

    def take(self) -> None:
        """Put the filter in, hold all layers, and the base for writing.

        :raises QmpError: about the filter's name, or if somebody else does not allow it.
        """
        graph, base, top = self.jobs.graph, self.base, self.top
        if base.read_only:
            set_writable(graph, base, writable=True)
        self.filter = insert_commit_top(graph, top, self.options.filter_node_name)
        graph.changing()
        use_intermediate_nodes(self, top, base)
        self.use("base", base)
        self.freeze(self.filter, base)
        self.writer.insert(base)
        self.reader.insert(top)

    # -- the work

    def _run(self) -> None:
        self.progress.set_remaining(self.top.length)
        failure = grow(self.base, self.top.length)
        if failure or not self.top.length:
            self._finish(failure)
        else:
            self._wait_for_quota(self._piece)

    def _piece(self) -> None:
        if self.is_cancelled:
            self._finish(0)
            return
        offset, reading, waits = self._offset, True, False
        try:
            status = status_above(self.top, self.base, offset, CHUNK)
            if status.allocated:
                if status.zero and self.jobs.profile.commit_keeps_zeroes:
                    reading = False
                    waits = self.base.zeroing_waits_for_io(offset, status.length)
                    self.base.write_zeroes(offset, status.length, unmap=True)
                else:
                    waits = self.top.waits_for_io("read") or self.base.waits_for_io("write")
                    data = self.top.read(offset, status.length)
                    reading = False
                    self.base.write(offset, data)
                self._owe(self.top, self.base, status.length)
        except OSError as error:
            if self._react(self.options.on_error, errno_of(error), reading=reading) == "report":
                self._finish(errno_of(error))
            else:
                self._wait_for_quota(self._piece)
            return
        except StalledError as error:
            self._wait_at(error.stall, self._piece)
            return
        if waits:
            self._after_io(partial(self._progress, status.length, copied=True))
        else:
            self._progress(status.length, copied=status.allocated)

    def _progress(self, length: int, *, copied: bool) -> None:
        self._offset += length
        self.progress.done(length)
        delay = self.limit.delay(self.jobs.scheduler.now, length) if copied else 0
        if self._offset >= self.top.length:
            self._finish(0)
        elif self.jobs.profile.speed_survives_pauses:
            self._wait_for_quota(self._piece)
        else:
            self._sleep(delay, self._piece)

    # -- the end

    def prepare(self) -> int:
        """Let what is above the top use the base (commit_prepare, bdrv_drop_intermediate)."""
        graph, filter_ = self.jobs.graph, self.filter
        assert filter_ is not None
        overlays = [node for node in filter_.parent_nodes if node.supports_backing]
        name = self.options.backing_name or self.options.shown_filename(self.base)
        self.writer.eject()
        top = filter_.skip_implicit_filters()
        comes_from_top = self.base.comes_from(top)
        with graph.kept(self.base):
            drop_filter(graph, filter_, self.base)
        self.filter = None
        if comes_from_top:
            self.base.inherits_from = top.inherits_from
        try:
            for overlay in overlays:
                with kept_writable(graph, overlay):
                    overlay.change_backing_file(name, self.base.driver)
        except OSError as error:
            return errno_of(error)
        except QmpError:
            return errno.EPERM
        return 0

    def give_up(self) -> None:
        """Undo :meth:`take`, or what it came to, in the order of commit_start."""
        graph = self.jobs.graph
        with graph.kept(self.top):
            self.writer.eject()
            self._clean()
            self.early_fail()
            if self.filter is not None:
                drop_filter(graph, self.filter, self.top)

    def _abort(self) -> None:
        """Take the filter out, once no blocker is left that it needs (commit_abort)."""
        graph = self.jobs.graph
        self.writer.eject()
        with graph.kept(self.top):
            self.detach_all()
            if self.filter is not None:
                drop_filter(graph, self.filter, self.top)

    def _clean(self) -> None:
        """The layers stay in use until the job is dismissed (commit_clean, block_job_free)."""
        self.unfreeze()
        if self.base_was_read_only:
            restore_read_only(self.jobs.graph, self.base)
        self.reader.eject()


def create_commit(jobs: JobList, root: Node, top: Node, base: Node, options: CommitOptions) -> CommitJob:
    """Make a commit job; it is not started.

    :param root: the active layer, whose drive gives the job its id unless one is given.
    :raises QmpError: in the order of commit_start; graph and jobs are as before then.
    """
    if top.skip_filters() is base.skip_filters():
        raise QmpError("Invalid files for merge: top and base are the same")
    identifier = options.job_id if options.job_id is not None else root.device_name
    with jobs.graph.change():
        job = CommitJob(jobs, identifier, options, top, base)
        job.use_main_node(root)
    job.check_speed(options.speed)
    try:
        job.take()
    except QmpError:
        job.give_up()
        raise
    return job
