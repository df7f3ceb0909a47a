"""What a client may choose for a mirror, or for the commit of an active layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.records import record

if TYPE_CHECKING:
    from qbitsim.block.node import Node


@record(kw_only=True)
class MirrorOptions:
    """What a client may choose.

    :ivar is_commit: it is the commit of an active layer; :ivar restore_read_only: its base was read-only.
    :ivar base: what is in this node of the source's chain, or below, is not copied at first; None copies all.
    :ivar copy_nothing: only new writes are copied (sync=none).
    :ivar zero_target: the target may hold anything and must become equal.
    :ivar target_is_zero: the client says that the target reads as zeroes.
    :ivar replaces: the name of the node that the target replaces in the end; None for the source.
    :ivar new_backing: the target gets this backing file when the job completes; None leaves it alone.
    :ivar opens_backing: the target gets the backing file that its own header names when the job completes.
    :ivar granularity: bytes, 0 for the target's default; :ivar buffer: bytes, 0 for 10 MiB.
    :ivar speed: bytes per second, 0 for no limit.
    :ivar on_source_error: as for a backup; :ivar on_target_error: likewise.
    :ivar filter_node_name: None for a hidden filter.
    :ivar copy_mode: ``background`` or ``write-blocking``.
    """

    job_id: str | None
    is_commit: bool = False
    restore_read_only: bool = False
    base: Node | None
    copy_nothing: bool = False
    zero_target: bool = False
    target_is_zero: bool = False
    replaces: str | None = None
    new_backing: Node | None = None
    opens_backing: bool = False
    granularity: int = 0
    buffer: int = 0
    speed: int
    on_source_error: str
    on_target_error: str
    unmap: bool = True
    auto_finalize: bool
    auto_dismiss: bool
    filter_node_name: str | None
    copy_mode: str = "background"
