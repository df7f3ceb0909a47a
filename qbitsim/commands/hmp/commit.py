"""``commit`` of the human monitor: at once, without a job (bdrv_commit, block/commit.c, QEMU 10.0)."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from qbitsim.commands.hmp.declaration import error_text, hmp
from qbitsim.drivers.job_filters import commit_top_below
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files import permissions as perms
from qbitsim.files.failures import io_error
from qbitsim.jobs.loop import set_writable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.block.drive import Drive
    from qbitsim.block.graph import Graph
    from qbitsim.block.node import Node
    from qbitsim.commands.context import Context

_CHUNK = 1 << 20
"""Bytes that are copied at once (COMMIT_BUF_SIZE)."""


@hmp(
    "commit",
    "device:B",
    params="device|all",
    help="commit changes to the disk images (if -snapshot is used) or backing files",
    reports=True,
)
def commit(context: Context, *, device: str) -> str:
    """Write what the topmost layer of a drive, or of all drives, holds into its backing file, and empty the layer."""
    quiet = context.graph.drain_all_begin() if context.profile.hmp_commit_is_drained else []
    try:
        layers = _all_layers(context) if device == "all" else [_layer(context, device)]
        return _commit_layers(context, layers, device)
    finally:
        for node in quiet:
            node.drained_end()


def _commit_layers(context: Context, layers: list[Node], name: str) -> str:
    """Commit one layer after the other until one fails; return what is printed."""
    try:
        for layer in layers:
            _commit(context, layer)
    except OSError as error:
        raise QmpError(f"'commit' error for '{name}': {error.strerror}") from None
    except UnsupportedError:
        raise
    except QmpError as error:
        why = QmpError(f"'commit' error for '{name}': {os.strerror(errno.EPERM)}")
        return f"{error.desc}\n{error.hint}" + error_text(context, why, reports=True)
    return ""


def _layer(context: Context, device: str) -> Node:
    drive = context.graph.drives.get(device) if device else None
    if drive is None:
        raise QmpError(f"Device '{device}' not found")
    if drive.root is None:
        raise QmpError(f"Device '{device}' has no medium")
    return drive.root.node.skip_implicit_filters()


def _all_layers(context: Context) -> list[Node]:
    """The layers of all drives that have a backing file, below any filters (blk_commit_all)."""
    tops = [drive.root.node.skip_filters() for drive in context.graph.drives.values() if drive.root is not None]
    return [node for node in tops if node.backing is not None]


def _commit(context: Context, node: Node) -> None:
    """Commit one layer.

    :raises OSError: with the errno of bdrv_commit; what was copied stays.
    :raises QmpError: another user does not allow it.
    """
    backing = node.backing
    if backing is None:
        raise io_error(errno.ENOTSUP)
    if node.blockers or backing.blockers:
        raise io_error(errno.EBUSY)
    with _written_to(context.graph, backing), _held(context, node, backing) as target:
        if node.length > backing.length:
            backing.truncate(node.length)
        _copy(node, target)
        node.make_empty()
        node.flush()
        backing.flush()


@contextmanager
def _written_to(graph: Graph, backing: Node) -> Iterator[None]:
    """Let a backing file be writable for a while."""
    was_read_only = backing.read_only
    if was_read_only:
        _pause_users(graph, backing)
        try:
            set_writable(graph, backing, writable=True)
        except QmpError:
            raise io_error(errno.EACCES) from None
    try:
        yield
    finally:
        if was_read_only:
            _pause_users(graph, backing)
            set_writable(graph, backing, writable=False)


def _pause_users(graph: Graph, node: Node) -> None:
    """Users above a backing file pause once more for it, whether changes of the graph drain or not (measured)."""
    graph.drain(node)
    node.drained_end()


@contextmanager
def _held(context: Context, node: Node, backing: Node) -> Iterator[Drive]:
    """Hold both; a filter keeps what is above from minding that the backing file changes."""
    source = context.machine.anonymous_drive(perm=perms.CONSISTENT_READ | perms.WRITE_UNCHANGED)
    target = context.machine.anonymous_drive(perm=perms.WRITE | perms.RESIZE)
    source.insert(node)
    try:
        with commit_top_below(context.graph, node, backing):
            target.insert(backing)
            try:
                yield target
            finally:
                target.eject()
    finally:
        source.eject()


def _copy(node: Node, target: Drive) -> None:
    offset, end = 0, node.length
    while offset < end:
        status = node.layer_status(offset, min(_CHUNK, end - offset))
        if status.allocated:
            target.node.write(offset, node.read(offset, status.length))
        offset += status.length
