"""How the target of a mirror takes the place of its source (mirror_exit_common, block/mirror.c, QEMU 10.0)."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING

from qbitsim.drivers.opener import Opener
from qbitsim.errors import QmpError
from qbitsim.jobs.loop import set_writable

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.block.node import Node
    from qbitsim.jobs.job_list import JobList
    from qbitsim.jobs.mirror_options import MirrorOptions


def pivot(graph: Graph, source: Node, replaced: Node, target: Node) -> bool:
    """Let all users of ``replaced`` use the target; return whether it went well, and complain if it did not.

    :param replaced: the source, or a node that reads like it.
    """
    if target.read_only != replaced.read_only:
        with suppress(QmpError):  # QEMU does not look whether it worked
            set_writable(graph, target, writable=not replaced.read_only)
    try:
        with graph.drained(replaced):
            if not source.can_replace(replaced):
                raise QmpError(
                    f"Can no longer replace '{replaced.name}' by '{target.name}', because it can no longer be "
                    "guaranteed that doing so would not lead to an abrupt change of visible data"
                )
            graph.insert_above(replaced, target)
    except QmpError as error:
        graph.complain(error.desc)
        return False
    return True


def give_backing(jobs: JobList, target: Node, options: MirrorOptions) -> int:
    """Give the target, which has none, its backing file: a node of this graph, or what its header names.

    :return: 0 or an errno; the target takes the source's place in either case.
    """
    node = target.skip_filters()
    backing = options.new_backing
    if backing is not None and node.supports_backing and node.backing is None:
        jobs.graph.attach(node, "backing", backing)
        node.refresh_limits()
    if options.opens_backing:
        try:
            Opener(jobs.graph, jobs.profile).open_backing(node)
        except QmpError as error:
            jobs.graph.complain(error.desc)
            return errno.EINVAL
    return 0
