"""What stream, commit and mirror have in common: a loop over the disk that sleeps between two pieces.

Each piece is read and written at one instant, and the job is busy until the I/O for it would have ended. Between two
pieces it can be paused, cancelled and slowed down.
From 8.0 on a job that was woken before its time goes back to sleep (block_job_ratelimit_sleep, blockjob.c, QEMU 10.0);
before, a pause and a resume let one more piece through.
"""

from __future__ import annotations

import errno
from contextlib import ExitStack, contextmanager, suppress
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from qbitsim.block.chain import chain
from qbitsim.copying.ratelimit import RateLimit
from qbitsim.errnos import errno_of
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.files.faults import StalledError
from qbitsim.jobs.coroutine import Continuation
from qbitsim.jobs.job import Job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.block.graph import Graph
    from qbitsim.block.node import Node
    from qbitsim.engine.scheduler import Task
    from qbitsim.files.faults import Stall

CHUNK = 512 * 1024
"""Bytes that stream and commit look at in one piece."""


class LoopJob(Job):
    """A job that works piece by piece.

    :ivar limit: the speed limit.
    """

    __slots__ = ("_after_sleep", "_did_io", "_io", "_owed", "_stall", "_timer", "limit")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.limit = RateLimit()
        self._timer: Task | None = None
        self._owed = 0
        self._did_io = False
        self._after_sleep: Continuation | None = None
        self._stall: Stall | None = None
        self._io: Task | None = None

    def check_speed(self, speed: int) -> None:
        """Take over the speed in bytes per second; a negative one ends the job before it began.

        :raises QmpError: ``Parameter 'speed' expects a non-negative value``.
        """
        if speed < 0:
            self.early_fail()
            raise QmpError("Parameter 'speed' expects a non-negative value")
        self.speed = speed
        self.limit.set_speed(speed)

    # -- sleeping

    def _sleep(self, delay: int, then: Continuation) -> None:
        """Go on with ``then`` after ``delay`` nanoseconds, or when entered (job_sleep_ns)."""
        self._after_sleep = then
        delay, self._owed = max(delay, self._owed), 0
        if not self.is_cancelled and not self.pause_count:
            scheduler, label = self.jobs.scheduler, f"{self.id}: next piece"
            if delay:
                self._timer = scheduler.after(delay, self.enter, label)
            elif self._did_io:
                self._timer = scheduler.soon(self.enter, label)
            else:
                self._timer = scheduler.before_io(self.enter, label)
        self._did_io = False
        self._yield(self._slept)

    def _owe(self, source: Node, target: Node, length: int) -> None:
        """Throttled nodes put the next piece off."""
        self._owed += max(source.delay("read", length), target.delay("write", length))

    def wake_if_due(self) -> None:
        """Go on if the sleep is over."""
        if self._timer is not None and self._timer.when <= self.jobs.scheduler.now:
            self.enter()

    def _entered(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        super()._entered()

    def _slept(self) -> None:
        then, self._after_sleep = self._after_sleep, None
        assert then is not None
        then()

    def _wait_for_quota(self, then: Continuation) -> None:
        """Go on with ``then`` once the speed limit allows it."""
        self._after_quota(then, self.limit.delay(self.jobs.scheduler.now))

    def _after_quota(self, then: Continuation, delay: int) -> None:
        if delay and self.jobs.profile.speed_survives_pauses:
            self._sleep(delay, _Again(self, then).check)
        else:
            self._sleep(delay, then)

    def _follow_speed(self) -> None:
        old = self.limit.speed
        self.limit.set_speed(self.speed)
        if self._timer is not None and not 0 < self.speed <= old:
            self.enter()

    # -- requests that wait

    def _after_io(self, then: Continuation) -> None:
        """Go on with ``then`` when the I/O of a piece has ended."""
        self._wait_for_io(then)
        self._io = self.jobs.scheduler.soon(self.wake, f"{self.id}: copied")

    def _wait_at(self, stall: Stall, then: Continuation) -> None:
        """Go on with ``then``, which makes a request again, once that is let go on."""
        self._wait_for_io(then)
        self._stall = stall
        stall.hold(self._released)

    def _released(self) -> None:
        self._stall = None
        self._io = self.jobs.scheduler.soon(self.wake, f"{self.id}: resumed request")

    @property
    def stall(self) -> Stall | None:
        """What its request waits for."""
        return self._stall

    def finish_in_flight(self) -> None:
        """Complete what is in flight.

        :raises StalledError: it waits.
        """
        if self._stall is not None:
            raise StalledError(self._stall)
        self.jobs.scheduler.complete(self._io)

    # -- errors

    def _react(self, policy: str, number: int, *, reading: bool) -> str:
        """Tell the client of an I/O error and return what is done about it (block_job_error_action)."""
        self._did_io = True
        if policy in ("enospc", "auto"):
            policy = "stop" if number == errno.ENOSPC else "report"
        operation = "read" if reading else "write"
        self.jobs.emit("BLOCK_JOB_ERROR", {"device": self.id, "operation": operation, "action": policy})
        if policy == "stop":
            self.stop_for_error(number)
        return policy


def grow(node: Node, length: int) -> int:
    """Make a base as long as what is committed into it, if it is shorter; return 0 or an errno (blk_co_truncate)."""
    try:
        if node.length < length:
            node.truncate(length)
    except OSError as error:
        return errno_of(error)
    except QmpError:
        return errno.ENOTSUP
    return 0


def use_intermediate_nodes(job: Job, top: Node | None, base: Node) -> None:
    """Hold the layers from ``top`` down to, but without, ``base``, which a commit takes away.

    Nobody may read them meanwhile, but for filters of the base itself; writing is shared, for otherwise the job would
    not be allowed to write to the base below (commit_start and mirror_start_job, QEMU 10.0).

    :raises QmpError: somebody reads one of them, or changes its length.
    """
    for layer in takewhile(lambda layer: layer is not base, chain(top)):
        shared = perms.WRITE_UNCHANGED | perms.WRITE
        if layer.skip_filters() is base.skip_filters():
            shared |= perms.CONSISTENT_READ
        job.use("intermediate node", layer, shared)


@contextmanager
def kept_writable(graph: Graph, node: Node) -> Iterator[None]:
    """Let a node be written for a moment, which stores the bitmaps of an image anew (bdrv_reopen_set_read_only).

    :raises QmpError: as :func:`set_writable`.
    """
    if not node.read_only:
        yield
        return
    set_writable(graph, node, writable=True)
    try:
        yield
    finally:
        set_writable(graph, node, writable=False)


def set_writable(graph: Graph, node: Node, *, writable: bool) -> None:
    """Reopen a node, and the file that was opened with it, writable or read-only (bdrv_reopen_set_read_only).

    All that is reopened is flushed before (bdrv_reopen_multiple, block.c, QEMU 10.0), so that what a job has written is
    in the file when it ends.

    :raises QmpError: somebody above, or another user of the file, does not allow it, or something cannot be flushed;
        nothing has changed then, but for bitmaps that were to be read-only (:meth:`.Node.reopen_prepare`).
    """
    nodes, backing_files = _opened_together(node), _backing_files_opened_together(node)
    with ExitStack() as drained:
        for each in nodes:
            drained.enter_context(graph.reopening(each))
        for each in [*nodes, *backing_files]:
            flush_reopened(each)
        graph.changing()
        for each in backing_files:
            if each.read_only:
                each.check_stays_read_only()
        if not writable:
            for each in nodes:
                each.reopen_prepare(each.options, read_only=True)
        before = [each.read_only for each in nodes]
        for each in nodes:
            each.mark_read_only(read_only=not writable)
        try:
            graph.refresh_permissions(node)
        finally:
            for each, read_only in zip(nodes, before, strict=True):
                each.mark_read_only(read_only=read_only)
        for each in reversed(nodes) if writable else nodes:
            each.set_read_only(not writable)
        for below in _inheriting(node):
            for each in _opened_together(below):
                each.set_read_only(True)
    node.options = {**node.options, "read-only": not writable}  # for who reopens it together with its parent


def flush_reopened(node: Node) -> None:
    """Flush a node that is about to be reopened.

    :raises QmpError: with the text of bdrv_reopen_multiple.
    """
    try:
        node.flush()
    except OSError as error:
        raise QmpError(f"Error flushing drive: {error.strerror}") from None


def restore_read_only(graph: Graph, node: Node) -> None:
    """Reopen a node read-only again, unless somebody above has to write to it, of which QEMU takes no notice.

    (stream_clean, block/stream.c, and commit_clean, block/commit.c, QEMU 10.0)
    """
    with suppress(QmpError):
        set_writable(graph, node, writable=False)


def _opened_together(node: Node) -> list[Node]:
    """A node, and what is below it that was opened with it and was not told by itself whether to be read-only.

    (bdrv_reopen_queue_child, block.c, QEMU 10.0)
    """
    found = [node]
    while True:
        edge = node.child("file") or node.child("image")
        if edge is None or edge.node.inherits_from is not node or "read-only" in edge.node.options:
            return found
        node = edge.node
        found.append(node)


def _inheriting(node: Node) -> Iterator[Node]:
    """The backing files opened with a node whose options leave it to the node whether they can be written: they cannot.

    (bdrv_reopen_queue_child, block.c, QEMU 10.0)
    """
    while (below := node.backing) is not None and below.inherits_from is node and "backing" in node.options:
        if not below.read_only and "read-only" not in below.options:
            yield below
        node = below


def _backing_files_opened_together(node: Node) -> list[Node]:
    """The layers below that were opened with it, which are reopened, too, and keep their options."""
    found: list[Node] = []
    below = node.backing
    while below is not None and below.inherits_from is node:
        found.append(below)
        node, below = below, below.backing
    return found


class _Again:
    """Back to sleep until the speed limit is satisfied."""

    __slots__ = ("job", "then")

    def __init__(self, job: LoopJob, then: Continuation) -> None:
        self.job = job
        self.then = then

    def check(self) -> None:
        if self.job.is_cancelled:
            self.then()
        else:
            self.job._wait_for_quota(self.then)  # noqa: SLF001 - a part of the job
