"""The stream job: what the backing files hold is copied into the node above them, until they are not needed any more.

Theory of operation (block/stream.c, QEMU 10.0)
===============================================

1. A ``copy-on-read`` filter above the node copies what guests read of the layers that go; the job reads everything
   else.
2. What is copied does not change the disk: no bitmap of the node is marked.
3. When the job is finalised, the node gets a new backing file, which its header then names, or none.
"""

from __future__ import annotations

from functools import partial
from itertools import takewhile
from typing import TYPE_CHECKING

from qbitsim.block.chain import chain, missing_above
from qbitsim.block.drive import Drive
from qbitsim.drivers.job_filters import drop_filter, insert_copy_on_read
from qbitsim.errnos import errno_of
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.files.faults import StalledError
from qbitsim.jobs.loop import CHUNK, LoopJob, restore_read_only, set_writable
from qbitsim.records import record

if TYPE_CHECKING:
    from collections.abc import Callable

    from qbitsim.block.node import Child, Node
    from qbitsim.drivers.copy_on_read import CopyOnReadNode
    from qbitsim.jobs.job_list import JobList


@record(kw_only=True)
class StreamOptions:
    """What a client may choose.

    :ivar overlay: the lowest node that is streamed: the one above the base, or the node itself.
    :ivar above_base: the node right above the base, which is a filter if the base was named below some.
    :ivar backing_name: what the node's header shall say of its backing file; None for the base's own name.
    :ivar base_name: the base's own name as queries show it, None without a base.
    :ivar shown_filename: tells that of the base that there is at the end.
    :ivar speed: bytes per second, 0 for no limit; :ivar on_error: as for a backup.
    :ivar filter_node_name: None for a hidden one.
    """

    job_id: str | None
    overlay: Node
    above_base: Node
    backing_name: str | None
    base_name: str | None
    shown_filename: Callable[[Node], str]
    speed: int
    on_error: str
    auto_finalize: bool
    auto_dismiss: bool
    filter_node_name: str | None


class StreamJob(LoopJob):
    """Copies backing files up.

    :ivar user: what reads the node through the filter, and through whatever takes the filter's place.
    """

    kind = "stream"

    __slots__ = ("_failure", "_offset", "filter", "node", "options", "user", "was_read_only")

    def __init__(
        self,
        jobs: JobList,
        identifier: str,
        options: StreamOptions,
        node: Node,
        top: CopyOnReadNode,
        *,
        was_read_only: bool,
    ) -> None:
        super().__init__(jobs, identifier, auto_finalize=options.auto_finalize, auto_dismiss=options.auto_dismiss)
        self.options = options
        self.node = node
        self.filter: CopyOnReadNode | None = top
        self.user = Drive(jobs.graph, "", perm=perms.CONSISTENT_READ, shared=READING | perms.WRITE)
        self.was_read_only = was_read_only
        self._offset = 0
        self._failure = 0

    # -- the work

    def _run(self) -> None:
        if self.node.skip_filters() is self.options.overlay:
            self._finish(0)
            return
        self.progress.set_remaining(self.node.length)
        self._wait_for_quota(self._piece)

    def _base(self) -> Node | None:
        return self.options.above_base.filter_or_cow

    def _piece(self) -> None:
        if self.is_cancelled:
            self._finish(self._failure)
            return
        offset, node, waits = self._offset, self.node, False
        length = min(CHUNK, node.length - offset)
        try:
            length, copied = missing_above(node, self.options.overlay, offset, length)
            if copied:
                below = node.backing_chain_next
                assert below is not None
                waits = below.waits_for_io("read") or node.waits_for_io("write")
                node.copy_up(offset, length)
                self._owe(below, node, length)
        except OSError as error:
            self._failed(errno_of(error), length)
            return
        except StalledError as error:
            self._wait_at(error.stall, self._piece)
            return
        if waits:
            self._after_io(partial(self._progress, length, copied=copied))
        else:
            self._progress(length, copied=copied)

    def _progress(self, length: int, *, copied: bool) -> None:
        self._offset += length
        self.progress.done(length)
        now = self.jobs.scheduler.now
        delay = self.limit.delay(now, length) if copied else 0
        if self._offset >= self.node.length:
            self._finish(self._failure)
        elif self.jobs.profile.speed_survives_pauses:
            self._wait_for_quota(self._piece)
        else:
            self._sleep(delay, self._piece)

    def _failed(self, number: int, length: int) -> None:
        policy = self._react(self.options.on_error, number, reading=True)
        if policy == "stop":
            self._wait_for_quota(self._piece)
            return
        self._failure = self._failure or number
        if policy == "report":
            self._finish(self._failure)
        else:
            self._progress(length, copied=True)

    # -- the end

    def prepare(self) -> int:
        """Take the filter out and give the node its new backing file (stream_prepare)."""
        graph, node = self.jobs.graph, self.node.skip_filters()
        self._drop_filter()
        edge = node.child("backing")
        with graph.drained_with_below(self.options.above_base if graph.drains_subtrees else node) as changing_below:
            base = self._base()
            if edge is None:
                return 0
            with graph.kept(edge.node):
                changing_below(node, partial(self._set_backing, edge, base))
            try:
                if base is None:
                    node.change_backing_file(None, None)
                else:
                    shown = base.skip_filters()
                    node.change_backing_file(self.options.backing_name or self._name_of(shown), shown.driver)
            except OSError as error:
                return errno_of(error)
        return 0

    def _name_of(self, base: Node) -> str | None:
        """The name of the base; a filter that was dropped and has nothing below it has the one that it had."""
        dropped = base.is_filter and not base.children
        return self.options.base_name if dropped else self.options.shown_filename(base)

    def _set_backing(self, edge: Child, base: Node | None) -> None:
        graph, node = self.jobs.graph, self.node.skip_filters()
        comes_from_node = base is not None and base.comes_from(node)
        graph.detach(edge, keeps_permissions=True)
        if base is not None:
            graph.attach(node, "backing", base, is_part=True)
            base.inherits_from = node if comes_from_node else base.inherits_from
        node.refresh_limits()

    def _drop_filter(self) -> None:
        if self.filter is not None:
            filter_, self.filter = self.filter, None
            filter_.detached = self.jobs.profile.dropped_filter_detached
            drop_filter(self.jobs.graph, filter_, filter_.children[0].node)
            self.jobs.graph.refresh_permissions(filter_)

    def _clean(self) -> None:
        """All nodes, the filter too, stay in use until the job is dismissed (stream_clean, block_job_free)."""
        self.unfreeze()
        self._drop_filter()
        self.user.eject()
        if self.was_read_only:
            restore_read_only(self.jobs.graph, self.node)


def create_stream(jobs: JobList, node: Node, options: StreamOptions) -> StreamJob:
    """Make a stream job; it is not started.

    :raises QmpError: in the order of stream_start; graph and jobs are as before then.
    """
    graph = jobs.graph
    StreamJob.check_can_freeze(node, options.above_base)
    was_read_only = node.read_only
    if was_read_only:
        set_writable(graph, node, writable=True)
    try:
        try:
            top = insert_copy_on_read(graph, node, options.filter_node_name, options.overlay)
        except QmpError as error:
            raise QmpError(f"Could not create node: {error.desc}") from None
        try:
            return _create_job(jobs, node, top, options, was_read_only=was_read_only)
        except QmpError:
            drop_filter(graph, top, node)
            raise
    except QmpError:
        if was_read_only:
            restore_read_only(graph, node)
        raise


READING = perms.CONSISTENT_READ | perms.WRITE_UNCHANGED
"""What a stream lets others do with the layers that it reads."""


def _create_job(
    jobs: JobList, node: Node, top: CopyOnReadNode, options: StreamOptions, *, was_read_only: bool
) -> StreamJob:
    identifier = options.job_id if options.job_id is not None else top.device_name
    with jobs.graph.change():
        job = StreamJob(jobs, identifier, options, node, top, was_read_only=was_read_only)
        job.use_main_node(top)
    job.check_speed(options.speed)
    try:
        job.user.insert(top)
        jobs.graph.changing()
        job.use("active node", node, READING | perms.WRITE)
        base = options.above_base.filter_or_cow
        for layer in takewhile(lambda layer: layer is not base, chain(node.filter_or_cow)):
            job.use("intermediate node", layer, READING)
        job.freeze(node, options.overlay)
    except QmpError:
        job.early_fail()  # QEMU forgets what it was to read with, which goes on using the node (stream_start, 10.0)
        raise
    return job
