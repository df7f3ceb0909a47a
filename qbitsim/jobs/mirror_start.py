"""How a mirror is made (mirror_start_job, block/mirror.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.chain import chain
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
    is_backing = target in chain(source)
    top = insert_mirror_top(graph, source, options.filter_node_name, target_is_backing=is_backing)
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
        job.use_main_node(top, read | perms.WRITE_UNCHANGED | perms.WRITE, perm=read)
    job.check_speed(options.speed)
    try:
        if not top.target_is_backing and target.skip_filters() in chain(source):
            raise QmpError("Cannot mirror to a filter on top of a node in the source's backing chain")
        job.user.insert(target)
        job.user.allows_inactivation = not options.is_commit
        jobs.graph.changing()
        job.use("source", source, read | perms.WRITE_UNCHANGED | perms.WRITE)
        job.use("target", target)
        if top.target_is_backing:
            use_intermediate_nodes(job, source.filter_or_cow, target)
            job.freeze(top, target)
    except QmpError:
        job.user.eject()
        job.early_fail()
        raise
    job.make_bitmap()
    top.watcher = job
    return job
