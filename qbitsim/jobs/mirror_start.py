"""How a mirror is made (mirror_start_job, block/mirror.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.drivers.job_filters import drop_filter, insert_mirror_top
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.jobs.loop import use_intermediate_nodes
from qbitsim.jobs.mirror import ActiveCommitJob, MirrorJob
from qbitsim.jobs.mirror_options import MirrorOptions

if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.drivers.job_filters import MirrorTopNode
    from qbitsim.jobs.job_list import JobList


def create_mirror(jobs: JobList, source: Node, target: Node, options: MirrorOptions) -> MirrorJob:
    """Make a mirror job; it is not started.

    :raises QmpError: in the order of mirror_start_job; graph and jobs are as before then.
    """
    if options.buffer < 0:
        raise QmpError("Invalid parameter 'buf-size'")
    if source.skip_filters() is target.skip_filters():
        raise QmpError("Can't mirror node into itself")
    graph = jobs.graph
    top = insert_mirror_top(graph, source, options.filter_node_name, is_commit=options.is_commit)
    try:
        return _create(jobs, source, target, options, top)
    except QmpError:
        drop_filter(graph, top, source)
        raise


def _create(jobs: JobList, source: Node, target: Node, options: MirrorOptions, top: MirrorTopNode) -> MirrorJob:
    identifier = options.job_id if options.job_id is not None else top.device_name
    read = perms.CONSISTENT_READ
    with jobs.graph.change():
        job = (ActiveCommitJob if options.is_commit else MirrorJob)(jobs, identifier, options, (source, target), top)
        try:
            job.use("main node", top, read | perms.WRITE_UNCHANGED | perms.WRITE, perm=read)
        except QmpError:
            job.early_fail()
            raise
    job.check_speed(options.speed)
    try:
        job.user.insert(target)
        job.user.allows_inactivation = not options.is_commit
        jobs.graph.changing()
        job.use("source", source, read | perms.WRITE_UNCHANGED | perms.WRITE)
        job.use("target", target)
        if options.is_commit and (below := source.filtered or source.backing) is not None:
            use_intermediate_nodes(job, below, target)
            job.freeze(top, target)
    except QmpError:
        job.user.eject()
        job.early_fail()
        raise
    job.make_bitmap()
    top.watcher = job
    return job
