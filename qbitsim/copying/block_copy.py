"""Copying what is still to be copied from a source node to a target node.

Theory of operation (block/block-copy.c, QEMU 10.0)
===================================================

1. :class:`BlockCopyState` belongs to a copy-before-write filter. Its *copy bitmap* says, in clusters,
   what is still to be copied. Two parties take from it: the job's background :class:`BlockCopyCall`
   and, before a guest write, :meth:`BlockCopyState.copy_now`. Both count as progress.
2. A *task* is one chunk. Its bits are reset when it is made and set again if it fails.
3. A call keeps up to ``max_workers`` tasks in flight. Each completes as a task of the scheduler, so that
   writes and other jobs fall between any two of them. A guest write to a chunk in flight waits for it.
4. Clusters that read as zeroes are not read but zeroed in the target; a chunk is of one allocation status.
5. The speed limit applies to calls, not to the copies before guest writes.
"""

from __future__ import annotations

import errno
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from qbitsim.block.chain import status_above
from qbitsim.block.status import Status
from qbitsim.copying.ratelimit import RateLimit
from qbitsim.errnos import errno_of
from qbitsim.files.failures import io_error
from qbitsim.files.faults import Stall, StalledError
from qbitsim.records import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.block.node import Child, Node
    from qbitsim.copying.copy_call import BlockCopyCall
    from qbitsim.engine.scheduler import Scheduler, Task
    from qbitsim.files.faults import Faults

MINIMUM_CLUSTER = 65536
MAXIMUM_CHUNK = 1 << 20
MAXIMUM_COPY_RANGE = 16 << 20
"""Bytes of a chunk once the host has shown that it copies by itself (BLOCK_COPY_MAX_COPY_RANGE)."""

MAXIMUM_WORKERS = 64


class Progress:
    """How far a job is, in bytes (util/progress_meter.c)."""

    __slots__ = ("current", "total")

    def __init__(self) -> None:
        self.current = 0
        self.total = 0

    def done(self, length: int) -> None:
        """``length`` more bytes are done."""
        self.current += length

    def set_remaining(self, length: int) -> None:
        """``length`` bytes remain beyond those that are done."""
        self.total = self.current + length


@record
class CopyFailure:
    """Why a chunk was not copied.

    :ivar number: errno.
    :ivar reading: whether the source has failed, and not the target.
    """

    number: int
    reading: bool


class ServerAwayError(Exception):
    """A chunk has to be copied again, as a server went away meanwhile.

    :ivar outage: nanoseconds that it has to come back.
    """

    def __init__(self, outage: int) -> None:
        self.outage = outage
        super().__init__(outage)


class CopyTask:
    """One chunk on its way.

    :ivar offset: bytes; a multiple of the cluster size.
    :ivar length: bytes; whole clusters, so that it may reach past the end of the disk.
    :ivar awaited: somebody waits for it, so that its requests have to come to their end.
    """

    __slots__ = ("awaited", "call", "event", "label", "length", "offset", "stall", "state", "zeroes")

    zeroes: bool

    def __init__(self, state: BlockCopyState, call: BlockCopyCall | None, offset: int, length: int) -> None:
        self.state = state
        self.call = call
        self.offset = offset
        self.length = length
        self.awaited = False
        self.event: Task | None = None
        self.stall: Stall | None = None
        self.label = ""

    def __repr__(self) -> str:
        return f"<CopyTask {self.offset}+{self.length}>"

    @property
    def end(self) -> int:
        """Bytes: just behind the chunk."""
        return self.offset + self.length

    @property
    def bytes(self) -> int:
        """How many of its bytes the disk has."""
        return min(self.end, self.state.length) - self.offset

    def run(self) -> None:
        """Complete: copy, account for it and tell the call; wait at a breakpoint, or for a server, to begin anew."""
        assert self.call is not None
        graph = self.state.source.graph
        graph.caller_waits = not self.awaited
        try:
            failure = self.state.copy_chunk(self)
        except StalledError as error:
            self.stall = error.stall
            error.stall.hold(self.make_due)
            return
        except ServerAwayError as error:
            self.event = self.state.scheduler.after(error.outage, self.run, self.label)
            return
        finally:
            graph.caller_waits = False
        self.call.completed(failure)

    def make_due(self) -> None:
        """Let it complete when its turn comes, which throttled nodes may put off."""
        self.stall = None
        scheduler, delay = self.state.scheduler, self.state.delay(self)
        self.event = scheduler.after(delay, self.run, self.label) if delay else scheduler.soon(self.run, self.label)

    def hurry(self) -> None:
        """Complete in the next turn instead of when its time has come."""
        if self.event is not None and self.event.pending:
            self.event.cancel()
            self.event = self.state.scheduler.soon(self.run, self.label)

    def run_now(self) -> None:
        """Complete before its turn, because somebody waits for it, or let one complete that keeps it from starting.

        :raises StalledError: it is stalled.
        """
        if self.stall is not None:
            raise StalledError(self.stall)
        if self.event is not None:
            self.awaited = True
            self.state.scheduler.run(self.event)
        else:
            assert self.call is not None
            self.call.free_slot()


class BlockCopyState:
    """What is still to be copied from ``source`` to ``target``, and how.

    :param owner: the node that carries the copy bitmap.
    :param source: the edge to what is copied, :param target: to where.
    :param cluster_size: bytes, a power of two of at least 64 KiB.
    :ivar copy_bitmap: clusters still to be copied, without those in flight.
    :ivar skip_unallocated: leave out what the source's topmost layer does not have (sync=top).
    :ivar compress: write compressed; this goes one cluster at a time.
    :ivar discard_source: discard in the source what has been copied.
    :ivar copy_range: the host is to copy by itself: ``"small"`` for a try, ``"full"`` once it did, None if not.
    :ivar single_clusters: make no chunk larger than a cluster.
    """

    __slots__ = (
        "_in_flight_bytes",
        "_source",
        "_target",
        "cluster_size",
        "compress",
        "copy_bitmap",
        "copy_range",
        "discard_source",
        "in_flight",
        "length",
        "progress",
        "rate_limit",
        "scheduler",
        "single_clusters",
        "skip_unallocated",
    )

    def __init__(
        self,
        scheduler: Scheduler,
        owner: Node,
        source: Child,
        target: Child,
        cluster_size: int,
        *,
        compress: bool,
        discard_source: bool,
    ) -> None:
        self.scheduler = scheduler
        self._source = source
        self._target = target
        self.length = source.node.length
        self.cluster_size = cluster_size
        self.compress = compress
        self.discard_source = discard_source
        self.single_clusters = compress
        self.copy_range: str | None = None
        self.copy_bitmap = owner.create_bitmap(None, cluster_size)
        self.copy_bitmap.disabled = True
        self.copy_bitmap.bits.set_all()
        self.skip_unallocated = False
        self.progress: Progress | None = None
        self.rate_limit = RateLimit()
        self.in_flight: list[CopyTask] = []
        self._in_flight_bytes = 0

    @property
    def source(self) -> Node:
        """What is copied: the node right below the filter, which another job's filter may be."""
        return self._source.node

    @property
    def target(self) -> Node:
        """Where it is copied to."""
        return self._target.node

    def close(self) -> None:
        """Drop the copy bitmap; nothing may be in flight."""
        assert not self.in_flight
        self.copy_bitmap.node.release_bitmap(self.copy_bitmap)

    @property
    def chunk_size(self) -> int:
        """Bytes: the largest chunk (block_copy_chunk_size)."""
        if self.single_clusters:
            return self.cluster_size
        return max(self.cluster_size, MAXIMUM_COPY_RANGE if self.copy_range == "full" else MAXIMUM_CHUNK)

    def remaining(self) -> int:
        """Bytes still to be copied, with those in flight."""
        return self.copy_bitmap.count + self._in_flight_bytes

    def position(self) -> int:
        """Bytes: everything before this place is copied."""
        first = self.copy_bitmap.next_area(0, self.length, self.cluster_size)
        places = [task.offset for task in self.in_flight] + ([first[0]] if first is not None else [])
        return min(places, default=self.length)

    def start_task(self, call: BlockCopyCall | None, offset: int, end: int, max_chunk: int) -> CopyTask | None:
        """Take the next chunk in [offset, end) out of the bitmap; None if nothing there is left to copy."""
        limit = min(self.chunk_size, max_chunk) if max_chunk else self.chunk_size
        while (area := self.copy_bitmap.next_area(offset, end, limit)) is not None:
            start, length = area
            task = CopyTask(self, call, start, -(-length // self.cluster_size) * self.cluster_size)
            self.copy_bitmap.reset(start, length)
            self.in_flight.append(task)
            self._in_flight_bytes += task.length
            status = self._status(start, task.length)
            if status.length < task.length:
                self._shrink(task, status.length)
            if status.allocated or not self.skip_unallocated:
                task.zeroes = status.zero
                return task
            self.end_task(task, failed=False)
            offset = task.end
        return None

    def _shrink(self, task: CopyTask, length: int) -> None:
        self.copy_bitmap.mark(task.offset + length, task.bytes - length)
        self._in_flight_bytes -= task.length - length
        task.length = length

    def _status(self, offset: int, length: int) -> Status:
        """The status of whole clusters from ``offset`` (block_copy_block_status)."""
        base = self.source.backing_chain_next if self.skip_unallocated else None
        try:
            status = status_above(self.source, base, offset, length)
        except OSError:
            return Status(self.cluster_size, data=True)  # what cannot be told is copied, and that may fail
        if status.length < self.cluster_size:
            # A cluster of mixed status is copied as data, and so is a cut one at the end if it is looked at alone.
            return Status(self.cluster_size, data=True)
        if offset + status.length == self.length:
            status.length = -(-status.length // self.cluster_size) * self.cluster_size
        else:
            status.length -= status.length % self.cluster_size
        return status

    @property
    def needs_no_io(self) -> bool:
        """Whether both nodes do without, so that all chunks are copied as soon as the work begins."""
        return not (self.source.waits_for_io("read") or self.target.waits_for_io("write"))

    def copy_rest(self) -> None:
        """Copy all that remains, by reference, as one; nothing if somebody could tell it from chunk by chunk."""
        if self.rate_limit.speed or self.skip_unallocated or self.compress or self.discard_source:
            return
        if self.target.take_clusters(self.source, self.copy_bitmap.bits, self.cluster_size):
            copied = self.copy_bitmap.count
            self.copy_bitmap.bits.clear_all()
            if self.progress is not None:
                self.progress.done(copied)

    def reset(self, offset: int, length: int) -> None:
        """Leave out what nobody wants to have copied any more (block_copy_reset)."""
        self.copy_bitmap.reset(offset, length)
        if self.progress is not None:
            self.progress.set_remaining(self.remaining())

    def delay(self, task: CopyTask) -> int:
        """Nanoseconds that throttled nodes put the chunk off."""
        return max(node.delay(operation, task.length) for node, operation in self._requests(task))

    def end_task(self, task: CopyTask, *, failed: bool) -> None:
        """The chunk is no longer in flight; if it failed it is to be copied again."""
        self.in_flight.remove(task)
        self._in_flight_bytes -= task.length
        if failed:
            self.copy_bitmap.mark(task.offset, task.bytes)
        if self.progress is not None:
            self.progress.set_remaining(self.remaining())

    @property
    def stall(self) -> Stall | None:
        """What a chunk in flight is stalled by, if one is."""
        return next((task.stall for task in self.in_flight if task.stall is not None), None)

    def cancel_in_flight(self) -> None:
        """Let what waits for a server that has gone fail."""
        if self.target.cancel_in_flight():
            for task in self.in_flight:
                task.hurry()

    def launch(self, task: CopyTask) -> None:
        """Let the chunk complete in its turn: at once, after what delays say, or when a stall is released."""
        offset, length = task.offset, task.bytes
        requests = self._requests(task)
        for faults, operation in _with_faults(requests):
            stall = faults.stall(operation, offset, length)
            if stall is not None:
                task.stall = stall
                stall.hold(task.make_due)
                return
        delay = self._outage(task) + self._fault_delay(task)
        if delay:
            task.event = self.scheduler.after(delay, task.run, task.label)
        elif requests[0][0].fails_without_io(requests[0][1], offset, length):
            task.event = self.scheduler.at_once(task.run, task.label)
        else:
            task.make_due()

    def _requests(self, task: CopyTask) -> list[tuple[Node, str]]:
        """What the chunk asks of which node."""
        return [(self.target, "write-zeroes")] if task.zeroes else [(self.source, "read"), (self.target, "write")]

    def _outage(self, task: CopyTask) -> int:
        """Nanoseconds that the chunk has to wait because a server is away."""
        return max(node.outage for node, _operation in self._requests(task))

    def _fault_delay(self, task: CopyTask) -> int:
        """Nanoseconds that faults add to the chunk."""
        offset, length = task.offset, task.bytes
        return sum(faults.delay(operation, offset, length) for faults, operation in _with_faults(self._requests(task)))

    def completes_at_once(self, task: CopyTask) -> bool:
        """Whether copying the chunk needs no I/O."""
        if task.zeroes:
            return not self.target.zeroing_waits_for_io(task.offset, task.bytes)
        return self.needs_no_io

    def _check_target_has(self, offset: int, length: int) -> None:
        """Fail what is behind the end of a target that is too short, of which QEMU dies (bdrv_co_write_req_prepare).

        :raises OSError: EIO.
        """
        if offset + length > self.target.length:
            raise io_error(errno.EIO)

    def copy_chunk(self, task: CopyTask) -> CopyFailure | None:
        """Move the bytes of one chunk; return why that failed, if it did.

        :raises StalledError: one of the requests waits at a breakpoint; the chunk is in flight as before.
        :raises ServerAwayError: likewise, where the caller waits for a server.
        """
        offset, length = task.offset, task.bytes
        reading = False
        try:
            if task.zeroes:
                self._check_target_has(offset, length)
                self.target.write_zeroes(offset, length, unmap=False)
            else:
                reading = True
                data = self.source.read(offset, length)
                reading = False
                self._check_target_has(offset, length)
                self.target.write(offset, data, compressed=self.compress)
        except OSError as error:
            if self.source.graph.caller_waits and (outage := self._outage(task)):
                raise ServerAwayError(outage) from None
            self.end_task(task, failed=True)
            return CopyFailure(errno_of(error), reading)
        if self.copy_range is not None and not task.zeroes:
            able = self.source.copies_ranges and self.target.copies_ranges
            self.copy_range = "full" if able else None
        if self.progress is not None:
            self.progress.done(task.length)
        self.end_task(task, failed=False)
        if self.scheduler.observer is not None:
            self.scheduler.observer.copied(self, offset, length)
        if self.discard_source:
            self._discard(offset, length)
        return None

    def _discard(self, offset: int, length: int) -> None:
        """Discard what has been copied; QEMU does not look whether that works (block_copy_task_entry)."""
        with suppress(OSError):
            self.source.discard(offset, length)

    def copy_now(self, start: int, stop: int, timeout: int) -> None:
        """Copy what is still to be copied of the whole clusters [start, stop), before a guest write.

        A guest's write takes no time here, so that nobody waits for what throttled nodes or faults put off; but whether
        that would have been too long is known.

        :param timeout: the longest wait in nanoseconds, 0 for any.
        :raises OSError: if the copy fails; the clusters stay to be copied. ETIMEDOUT if it would have had to wait too
            long: it goes on all the same, and the clusters are copied (block_copy, block/block-copy.c, QEMU 10.0).
        :raises StalledError: as :meth:`copy_chunk`; the clusters stay to be copied.
        """
        waits = [0]
        while True:
            if failure := self._copy_together(start, stop, waits if timeout else None):
                raise OSError(failure.number, "copy-before-write")
            conflicts = [task for task in self.in_flight if task.offset < stop and start < task.end]
            if not conflicts:
                break
            conflicts[0].run_now()
        if timeout and max(waits) > timeout:
            raise OSError(errno.ETIMEDOUT, "copy-before-write")

    def _copy_together(self, start: int, stop: int, waits: list[int] | None) -> CopyFailure | None:
        """Copy what of [start, stop) nobody copies yet; return the first failure.

        :param waits: gets how many nanoseconds each chunk should have waited; None if that is of no interest.

        Chunks that need I/O are in flight together, so that those made before a failure is known are copied too.
        """
        failure: CopyFailure | None = None
        waiting = deque[CopyTask]()
        try:
            while not failure and (task := self.start_task(None, start, stop, 0)) is not None:
                waiting.append(task)
                if waits is not None:
                    waits.append(self.delay(task) + self._fault_delay(task))
                if self.completes_at_once(task):
                    failure = self._copy_next(waiting, -1)
                elif len(waiting) > MAXIMUM_WORKERS:
                    failure = self._copy_next(waiting, 0)
                    if failure:
                        self.end_task(waiting.pop(), failed=True)
            while waiting:
                late = self._copy_next(waiting, 0)
                failure = failure or late
        except StalledError:
            for task in waiting:
                self.end_task(task, failed=True)
            raise
        return failure

    def _copy_next(self, waiting: deque[CopyTask], place: int) -> CopyFailure | None:
        """Copy one of the chunks that wait, and take it out; return its failure."""
        failure = self.copy_chunk(waiting[place])
        del waiting[place]
        return failure

    @property
    def status_needs_io(self) -> bool:
        """Whether the source has to read its file before it knows what is allocated."""
        return self.source.skip_filters().waits_for_io("status")

    def reset_unallocated(self, offset: int) -> int:
        """Leave out the clusters from ``offset``, where one begins, if the topmost layer does not have them.

        Partial clusters count as allocated (block_copy_is_cluster_allocated).

        :return: where to go on.
        :raises OSError: the layer cannot tell.
        """
        position, allocated = offset, False
        while position < self.length and not allocated:
            status = self.source.skip_filters().status(position, self.length - position)
            allocated = status.allocated
            position += status.length
            if not allocated and position - offset >= self.cluster_size:
                position -= position % self.cluster_size
                break
        end = -(-position // self.cluster_size) * self.cluster_size
        if not allocated:
            self.reset(offset, end - offset)
        return end


def _with_faults(requests: list[tuple[Node, str]]) -> Iterator[tuple[Faults, str]]:
    """The requests whose node has rules that make them fail or wait."""
    for node, operation in requests:
        owner = node.fault_owner
        if owner is not None and owner.faults is not None:
            yield owner.faults, operation
