"""``blkdebug``: a filter that makes requests fail (block/blkdebug.c, QEMU 10.0)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

from qbitsim.argument_types import OPERATIONS
from qbitsim.block.breakpoints import Breakpoints
from qbitsim.block.limits import Limits
from qbitsim.block.node import Child, Node
from qbitsim.drivers.blkdebug_config import read_config
from qbitsim.drivers.driver import driver
from qbitsim.drivers.filter_driver import FilterDriverNode
from qbitsim.drivers.options import Options, flag, passes_discards
from qbitsim.enums import StrEnum
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files import permissions as perms
from qbitsim.files.faults import Fault, Faults
from qbitsim.qapi.block_graph import BlockPermission
from qbitsim.qapi.blockdev import BlockdevOptions, BlockdevRef
from qbitsim.qapi.schema import REQUIRED, Enumeration, Int32, Int64, UInt64, arg
from qbitsim.qapi.structs import struct
from qbitsim.records import changed, record
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.drivers.opener import Opener


class BlkdebugIOType(StrEnum):
    """The kinds of request that can fail."""

    READ = "read"
    WRITE = "write"
    WRITE_ZEROES = "write-zeroes"
    DISCARD = "discard"
    FLUSH = "flush"
    BLOCK_STATUS = "block-status"


_BLKDEBUG_EVENTS = (
    "l1_update l1_grow_alloc_table l1_grow_write_table l1_grow_activate_table l2_load l2_update l2_update_compressed "
    "l2_alloc_cow_read l2_alloc_write read_aio read_backing_aio read_compressed write_aio write_compressed "
    "vmstate_load vmstate_save cow_read cow_write reftable_load reftable_grow reftable_update refblock_load "
    "refblock_update refblock_update_part refblock_alloc refblock_alloc_hookup refblock_alloc_write "
    "refblock_alloc_write_blocks refblock_alloc_write_table refblock_alloc_switch_table cluster_alloc "
    "cluster_alloc_bytes cluster_free flush_to_os flush_to_disk pwritev_rmw_head pwritev_rmw_after_head "
    "pwritev_rmw_tail pwritev_rmw_after_tail pwritev pwritev_zero pwritev_done empty_image_prepare "
    "l1_shrink_write_table l1_shrink_free_l2_clusters cor_write cluster_alloc_space none"
)
_EVENT_NAMES = _BLKDEBUG_EVENTS.split()
BlkdebugEvent: TypeAlias = Annotated[str, Enumeration(_EVENT_NAMES)]
"""The places where block drivers call blkdebug."""


@struct
class BlkdebugInjectErrorOptions:
    """A rule that makes requests fail; ``sector`` counts 512 bytes."""

    event: BlkdebugEvent
    state: Int64 | None = None
    iotype: BlkdebugIOType | None = None
    errno: Int64 | None = None
    delay_ns: UInt64 | None = arg(since="10.0")
    sector: Int64 | None = None
    once: bool | None = None
    immediately: bool | None = None


@struct
class BlkdebugSetStateOptions:
    """A rule that changes blkdebug's state."""

    event: BlkdebugEvent
    state: Int64 | None = None
    new_state: Int64 = arg(REQUIRED, name="new_state")


@struct
class BlockdevOptionsBlkdebug(BlockdevOptions):
    """A filter that makes requests fail; limits in bytes."""

    image: BlockdevRef
    config: str | None = None
    align: Int64 | None = None
    max_transfer: Int32 | None = None
    opt_write_zero: Int32 | None = None
    max_write_zero: Int32 | None = None
    opt_discard: Int32 | None = None
    max_discard: Int32 | None = None
    inject_error: list[BlkdebugInjectErrorOptions] | None = None
    set_state: list[BlkdebugSetStateOptions] | None = None
    take_child_perms: list[BlockPermission] | None = None
    unshare_child_perms: list[BlockPermission] | None = None


_HAPPENING = frozenset(
    {
        *("none", "read_aio", "write_aio", "read_backing_aio", "write_compressed"),
        *("pwritev", "pwritev_zero", "pwritev_done", "flush_to_os", "flush_to_disk"),
    }
)
"""The events that happen here; those of qcow2's metadata do not."""

_EVENTS = {"read": "read_aio", "write-zeroes": "pwritev_zero"}
"""The event that comes before a request, by its kind."""


@record(frozen=False)
class DebugRule:
    """A rule of ``blkdebug`` (block/blkdebug.c, QEMU 10.0).

    :ivar event: the rule wakes when this event happens; ``none`` is awake from the start.
    :ivar state: only in this state; 0 for any.
    :ivar fault: what to inject; None for a rule that only changes the state.
    :ivar new_state: the state to go to.
    """

    event: str
    state: int
    fault: Fault | None
    new_state: int | None = None


_MAXIMUM_ALIGNMENT = (1 << 31) - 1
_LIMITS = ("max-transfer", "opt-write-zero", "max-write-zero", "opt-discard", "max-discard")


@driver(
    "blkdebug",
    options=BlockdevOptionsBlkdebug,
    protocols=["blkdebug"],
    filename_prefix="blkdebug::",
    children=["image"],
    strong=["config", "inject-error", "set-state", "align"],
    accepts=dict.fromkeys(_LIMITS, ()),
    sizes=["align", *_LIMITS],
    reopens=[],
)
class BlkdebugNode(FilterDriverNode):
    """``blkdebug``, whose child is ``image``: makes requests fail.

    :ivar config: the name of the file with rules that it was opened with; empty for none.
    :ivar alignment: bytes, 0 for that of the child.
    :ivar taken: permissions that it has on its child whoever uses it; :ivar unshared: those that it leaves to nobody.
    """

    __slots__ = ("_breakpoints", "active", "alignment", "config", "rules", "state", "taken", "unshared")

    def __init__(self, graph: Graph, rules: list[DebugRule], *, read_only: bool = False, unmap: bool = False) -> None:
        super().__init__(graph, read_only=read_only, unmap=unmap)
        self.rules = rules
        self.state = 1
        self.config = ""
        self.active = Faults()
        self._breakpoints = Breakpoints(_EVENT_NAMES, _HAPPENING, graph.print)
        self.alignment = self.taken = self.unshared = 0
        self.debug_event("none")

    @classmethod
    def open(cls, opener: Opener, options: Options) -> Node:
        """Its child, ``image``, is opened last."""
        config = options.get("config")
        in_file = read_config(opener.graph.images, config, opener.profile) if config is not None else {}
        cls.check_options(in_file)
        rules = [_injection(rule) for given in (in_file, options) for rule in given.get("inject-error", [])]
        rules += [
            DebugRule(rule["event"], rule.get("state", 0), None, rule["new_state"])
            for given in (in_file, options)
            for rule in given.get("set-state", [])
        ]
        read_only, unmap = flag(options, "read-only"), passes_discards(options)
        node = cls(opener.graph, rules, read_only=read_only, unmap=unmap)
        node.config = config or ""
        node.alignment = options.get("align", 0)
        if node.alignment & (node.alignment - 1) or node.alignment >= _MAXIMUM_ALIGNMENT:
            raise QmpError(f"Cannot meet constraints with align {node.alignment}")
        node.taken = _bits(options.get("take-child-perms", []))
        node.unshared = _bits(options.get("unshare-child-perms", []))
        return opener.open_filter(node, options, "image")

    @property
    def breakpoints(self) -> Breakpoints:
        """Its own."""
        return self._breakpoints

    def child_permissions(self, child: Child, perm: int, shared: int) -> tuple[int, int]:
        """What the parents need and share, and what the options say (blkdebug_child_perm)."""
        perm, shared = super().child_permissions(child, perm, shared)
        return perm | self.taken, shared & ~self.unshared

    def limits_above(self, below: Limits) -> Limits:
        """Those of its child, with the alignment that it was given (blkdebug_refresh_limits)."""
        return changed(below, request=self.alignment) if self.alignment else below

    @classmethod
    def check_options(cls, options: Mapping[str, Any]) -> None:
        """Refuse events that there are not, or that never come, and delays."""
        for rule in [*options.get("inject-error", []), *options.get("set-state", [])]:
            if rule["event"] not in _EVENT_NAMES:  # in a file, which has no schema
                raise QmpError(f"invalid parameter value: {rule['event']}")
            if rule["event"] not in _HAPPENING:
                raise UnsupportedError(f"the event '{rule['event']}' of blkdebug")
            if rule.get("delay-ns"):
                raise UnsupportedError("'delay-ns' of blkdebug")

    @classmethod
    def take_filename(cls, name: str, options: Options) -> Mapping[str, str]:
        """``blkdebug:CONFIG:FILE``, or what is below it alone (blkdebug_parse_filename)."""
        prefix = "blkdebug:"
        if not name.startswith(prefix):
            return {"image": name}
        config, colon, below = name.removeprefix(prefix).partition(":")
        if not colon:
            raise QmpError("blkdebug requires both config file and image path")
        if config:
            options["config"] = config
        return {"image": below}

    @property
    def filename(self) -> str:
        """``blkdebug:CONFIG:FILE`` (blkdebug_refresh_filename)."""
        child = self.filtered
        return f"blkdebug:{self.config}:{child.filename}" if child is not None else ""

    def allocated_file_size(self) -> None:
        """None: the driver does not tell."""

    def fails_without_io(self, operation: str, offset: int, length: int) -> bool:
        """Whether a rule that is awake, or is woken by the request, strikes (rule_check yields to a bottom half)."""
        faults = self._faults(self._woken(_EVENTS.get(operation, ""))) or self.active.rules
        return any(fault.concerns(operation, offset, length) for fault in faults)

    def _woken(self, event: str) -> list[DebugRule]:
        return [rule for rule in self.rules if rule.event == event and rule.state in (0, self.state)]

    @staticmethod
    def _faults(woken: list[DebugRule]) -> list[Fault]:
        return [rule.fault for rule in woken if rule.fault is not None and rule.fault.times != 0]

    def debug_event(self, event: str) -> None:
        """Wake the rules that wait for ``event``; the first of them puts all others to sleep (process_event).

        :raises StalledError: the request has to wait at a breakpoint.
        """
        self._breakpoints.reach(event)  # before the rules: a request that waits is made again
        woken = self._woken(event)
        faults = self._faults(woken)
        if faults:
            self.active.rules[:] = faults
        for rule in reversed(woken):
            # QEMU walks the rules newest first; the one that it comes to last wins.
            if rule.new_state is not None:
                self.state = rule.new_state

    def _read(self, offset: int, length: int) -> bytes:
        self.active.check("read", offset, length)
        return super()._read(offset, length)

    def _write(self, offset: int, data: bytes, *, compressed: bool) -> None:
        self.debug_event("pwritev")
        try:
            self.active.check("write", offset, len(data))
            super()._write(offset, data, compressed=compressed)
        finally:
            self.debug_event("pwritev_done")

    def _write_zeroes(self, offset: int, length: int, *, unmap: bool) -> None:
        self.debug_event("pwritev_zero")
        try:
            self.active.check("write-zeroes", offset, length)
            super()._write_zeroes(offset, length, unmap=unmap)
        finally:
            self.debug_event("pwritev_done")

    def _discard(self, offset: int, length: int) -> None:
        self.active.check("discard", offset, length)
        super()._discard(offset, length)

    def _flush(self) -> None:
        if self.unflushed and not self.cache_options.get("no-flush"):  # as for any driver (bdrv_co_flush, block/io.c)
            self.active.check("flush", 0, 0)
        super()._flush()

    def _format_request(self, operation: str, offset: int, length: int) -> None:
        if operation == "write":
            self.debug_event("pwritev")
        try:
            self.active.check(operation, offset, length)
            super()._format_request(operation, offset, length)
        finally:
            if operation == "write":
                self.debug_event("pwritev_done")


def _injection(rule: Options) -> DebugRule:
    """One ``inject-error``; without a sector it strikes everywhere."""
    iotype, sector = rule.get("iotype"), rule.get("sector")
    fault = Fault(
        operations=frozenset([iotype] if iotype else OPERATIONS),
        errno=rule.get("errno", 5),
        offset=None if sector is None or sector < 0 else sector * SECTOR,
        length=1,
        times=1 if rule.get("once") else None,
    )
    return DebugRule(rule["event"], rule.get("state", 0), fault if fault.errno else None)  # 0: it lets them pass


def _bits(names: list[str]) -> int:
    """Permissions by the names that options have for them."""
    by_name = {name.replace(" ", "-"): bit for bit, name in perms.NAMES.items()}
    return sum(by_name[name] for name in set(names) if name in by_name)
