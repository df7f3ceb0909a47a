"""``blockdev-reopen``: other options for nodes that exist (bdrv_reopen_multiple, block.c, QEMU 10.0).

Theory of operation
===================

1. The options given are all options: one that is missing goes back to its default, if its driver can do that.
2. Children that were opened together with the node (inline; :attr:`.Node.inherits_from`) are reopened with it;
   children by name are not.
3. Every node is prepared first: it says which of the options it takes over. Any other must be as it was. Then the
   permissions of all are worked out anew. Only when all of that has succeeded does anything change.

One thing changes before: a qcow2 node that is to be read-only stores its bitmaps and makes them readonly, and they stay
so when the permissions then refuse it, as in QEMU (:meth:`.Qcow2Node.reopen_prepare`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from qbitsim.block.drive import Drive
from qbitsim.block.permissions import ReadOnlyNodeError, kept_permissions
from qbitsim.commands.context import Context
from qbitsim.drivers.driver import DRIVERS
from qbitsim.drivers.file import image_below
from qbitsim.drivers.options import Options, check_detect_zeroes
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.jobs.loop import flush_reopened
from qbitsim.jobs.mirror import MirrorJob
from qbitsim.qapi.blockdev import BlockdevOptions
from qbitsim.qapi.hashorder import qdict_order
from qbitsim.qapi.registry import command
from qbitsim.qapi.structs import struct
from qbitsim.qapi.values import to_json
from qbitsim.records import record

if TYPE_CHECKING:
    from qbitsim.block.graph import Graph
    from qbitsim.block.node import Node
    from qbitsim.jobs.job_list import JobList
    from qbitsim.profiles import Profile


_COMMON = frozenset(
    {"auto-read-only", "cache.direct", "cache.no-flush", "detect-zeroes", "discard", "force-share", "read-only"}
)
"""Options of every node that may go back to their defaults (bdrv_reset_options_allowed)."""

_TAKEN_OVER = (_COMMON - {"force-share"}) | {"active"}


@struct
class BlockdevReopen:
    """Arguments of blockdev-reopen."""

    options: list[BlockdevOptions]


@command("blockdev-reopen", BlockdevReopen, since="6.1")
def blockdev_reopen(context: Context, args: BlockdevReopen) -> None:
    """Give nodes other options."""
    if not args.options:
        raise UnsupportedError("blockdev-reopen of no node: real QEMU crashes")
    graph = context.graph
    bases = _bases_of_mirrors(context.jobs)
    queue = _Queue(graph, backwards=context.profile.reopening_refreshes_backwards, bases=bases)
    for options in args.options:
        name = options.node_name
        if name is None:
            raise QmpError("node-name not specified")
        node = graph.nodes.get(name)
        if node is None:
            raise QmpError(f"Failed to find node with node-name='{name}'")
        queue.add(node, to_json(options), read_only=False)
    queue.run()


def _bases_of_mirrors(jobs: JobList) -> set[Node]:
    """What mirrors are going to give their targets as backing files; they have no reference to it."""
    mirrors = [job for job in jobs.jobs if isinstance(job, MirrorJob) and not job.completed]
    return {job.options.new_backing for job in mirrors if job.options.new_backing is not None}


def reopen_with(graph: Graph, node: Node, given: Options, profile: Profile) -> None:
    """Give a node, and those that were opened with it, some other options; all others stay (bdrv_reopen).

    :raises QmpError: nothing has changed then.
    """
    queue = _Queue(graph, backwards=profile.reopening_refreshes_backwards)
    queue.add(node, {"read-only": node.read_only, **given}, read_only=node.read_only, keeps_options=True)
    queue.run()


class _Change:
    """One node that is being reopened.

    :ivar given: the node's own options; :ivar flat: the same with dotted names, without those of children.
    :ivar inactive: it becomes so, though nothing is written down (update_flags_from_options, block.c, QEMU 10.0).
    :ivar keeps_options: what is not said stays as it is, also what was said of children that are gone.
    :ivar says_backing: whether the options say something of the backing file, or may leave it as it is.
    :ivar children: child name -> the node it shall lead to, None for none.
    """

    def __init__(self, node: Node, given: Options, *, read_only: bool, inactive: bool = False) -> None:
        self.node = node
        self.given = dict(given)
        self.keeps_options = False
        self.says_backing = "backing" in given
        self.flat: Options = dict(_flatten(given))
        self.read_only = bool(given.get("read-only", read_only))
        self.inactive = inactive or given.get("active") is False
        self.children: dict[str, Node | None] = {}
        self.replaced: list[tuple[str, Drive]] = []
        self.was_read_only = node.read_only
        # What is not said of discards stays as it is.
        self.unmap = given["discard"] == "unmap" if "discard" in given else node.unmap

    def take_inline_child(self, name: str) -> None:
        """The options of a child that is reopened with the node are no options of the node's own."""
        self.flat = {key: value for key, value in self.flat.items() if not key.startswith(f"{name}.")}

    def prepare(self, graph: Graph) -> None:
        """Check the options and look up the children (bdrv_reopen_prepare, in its order)."""
        node, driver = self.node, DRIVERS.get(self.node.driver)
        if self.read_only and node.copy_on_read:
            raise QmpError(f"Can't set node '{node.device_or_node_name}' to r/o with copy-on-read enabled")
        check_detect_zeroes({**self.given, "discard": "unmap" if self.unmap else "ignore"})
        if driver is None or driver.reopens is None:
            name = node.device_or_node_name
            raise QmpError(f"Block format '{node.driver}' used by node '{name}' does not support reopening files")
        self._check_reset(driver.resets)
        node.reopen_prepare(self.given, read_only=self.read_only)
        self._find_children(graph)
        self._check_same(driver.reopens)
        driver.check(self.given)

    def _check_reset(self, resets: frozenset[str]) -> None:
        inline = self._names_of_children
        for key in qdict_order(list(old := dict(_flatten(self.node.options)))):
            known = key in _COMMON or key in resets or key.split(".")[0] in inline or key == "node-name"
            is_left_out = not known and key not in self.flat and old[key] is not None
            if is_left_out or key == "active":  # which is taken out before this is looked at
                raise QmpError(f"Option '{key}' cannot be reset to its default value")

    @property
    def _names_of_children(self) -> set[str]:
        """Also of one that is gone; their options are none of the node's own."""
        return {"backing", *(child.name for child in self.node.children)}

    def _find_children(self, graph: Graph) -> None:
        node = self.node
        if not self.says_backing and (node.backing or node.header_backing):
            raise QmpError(f"backing is missing for '{node.name}'")
        for name in ("backing", "file"):
            child = node.child(name)
            if name not in self.flat or not (child is not None or name == "backing"):
                continue
            value = self.flat.pop(name)
            new = None if value is None else graph.lookup(None, value)
            old = child.node if child is not None else None
            if new is not old and (old is None or old.skip_implicit_filters() is not new):
                self._check_child(name, old, new)
                self.children[name] = new

    def _check_child(self, name: str, old: Node | None, new: Node | None) -> None:
        node = self.node
        if new is not None and new.leads_to(node):
            raise QmpError(f"Making '{new.name}' a {name} child of '{node.name}' would create a cycle")
        if old is not None and old.implicit:
            raise QmpError(f"Cannot replace implicit {name} child of {node.name}")
        edge = node.child(name)
        if edge is not None and edge.frozen:
            raise QmpError(f"Cannot change frozen '{name}' link from '{node.name}' to '{edge.node.name}'")
        if old is not None and len(old.parents) == 1 and any(below.frozen for below in old.children):
            # The filter of a commit would go before the job (bdrv_replace_child_noperm, seen with 7.2 and 10.0).
            raise UnsupportedError(f"taking '{old.name}' from the job that needs it: real QEMU crashes")
        if name == "backing" and not node.supports_backing:
            raise QmpError(f"Driver '{node.driver}' of node '{node.name}' does not support backing files")

    def check_keeps(self, bases: Collection[Node]) -> None:
        """Nodes that mirrors need are not closed.

        :raises UnsupportedError: one would be: mirror_exit_common (block/mirror.c, QEMU 10.0) uses it after it is freed
            (seen with 7.2 and 10.0).
        """
        for name in self.children:
            edge = self.node.child(name)
            old = edge.node if edge is not None else None
            if old is not None and old in bases and len(old.parents) == 1 and not old.monitor_owned:
                raise UnsupportedError(f"taking '{old.name}' from the mirror that needs it: real QEMU crashes")

    def check_same_file(self) -> None:
        """A format's tables are of one file, however it is reached.

        :raises UnsupportedError: it would lead to another one, to which QEMU applies the tables that it has in memory.
        """
        node, file = self.node, self.node.child("file")
        if "file" in self.children and file is not None and node.image not in {None, image_below(file.node)}:
            raise UnsupportedError(f"another file for the {node.driver} node '{node.name}'")

    def _check_same(self, own: frozenset[str]) -> None:
        inline = set() if self.keeps_options else self._names_of_children
        old = {key: value for key, value in _flatten(self.node.options) if key.split(".")[0] not in inline}
        free = _TAKEN_OVER | own
        for key in qdict_order(list(self.flat)):
            child = self.node.child(key)
            if child is not None and self.flat[key] == child.node.name:
                continue
            if key not in free and (key not in old or old[key] != self.flat[key]):
                raise QmpError(f"Cannot change the option '{key}'")

    def finish(self) -> None:
        """Take over the options (bdrv_reopen_commit)."""
        node = self.node
        node.options = _without_references(node, self.given)
        taken_over = node.inherits_from.cache_options if node.inherits_from is not None else {}
        node.cache_options = {**taken_over, **self.given.get("cache", {})}
        node.unmap = self.unmap
        node.detect_zeroes = self.given.get("detect-zeroes", "off")
        node.reopen_commit(self.given)
        if node.graph.reopen_asks_for_length:
            node.ask_for_length()
        node.inactive |= self.inactive
        node.mark_read_only(self.was_read_only)
        node.set_read_only(self.read_only)


def _without_references(node: Node, options: Options) -> Options:
    """The options of a node without those that name a node as its child.

    Which nodes the children are is forgotten once they are there: they may be others when options are kept (the end of
    bdrv_open_inherit, block.c, QEMU 10.0).
    """
    return {
        name: value
        for name, value in options.items()
        if not (isinstance(value, str) and (name == "backing" or node.child(name) is not None))
    }


@record
class _Queued:
    """A node that is to be reopened.

    :ivar is_child: because of its parent, with which it was opened.
    :ivar keeps_options: what is not said stays as it is (keep_old_opts of bdrv_reopen_queue_child).
    """

    node: Node
    given: Options
    read_only: bool
    is_child: bool = False
    keeps_options: bool = False
    inactive: bool = False

    def all_options(self) -> Options:
        """The node's options from then on."""
        if self.keeps_options and self.given is not self.node.options:
            kept = _without_references(self.node, self.node.options)
            if kept.get("backing", "") is None:
                del kept["backing"]  # which says how it was opened, and no more (bdrv_open_inherit)
            return _merged(kept, self.given)
        return self.given


class _Queue:
    """All nodes that are being reopened, in QEMU's order: parents before their children, of which the newest is first.

    :ivar backwards: permissions are worked out beginning with the last one.
    :ivar bases: nodes that jobs need and do not hold.
    """

    def __init__(self, graph: Graph, *, backwards: bool, bases: Collection[Node] = ()) -> None:
        self.graph = graph
        self.backwards = backwards
        self.bases = bases
        self.changes: dict[str, _Change] = {}

    def add(self, node: Node, given: Options, *, read_only: bool, keeps_options: bool = False) -> None:
        """Add a node, and those below it that were opened with it (bdrv_reopen_queue_child)."""
        pending = [_Queued(node, given, read_only, keeps_options=keeps_options)]
        while pending:
            pending += reversed(list(self._add_one(pending.pop())))

    def _add_one(self, queued: _Queued) -> Iterator[_Queued]:
        """Add a node alone, and tell which of its children come with it."""
        node, given, is_child = queued.node, queued.all_options(), queued.is_child
        change = self.changes[node.name] = _Change(node, given, read_only=queued.read_only, inactive=queued.inactive)
        change.says_backing |= queued.keeps_options
        change.keeps_options = queued.keeps_options
        for edge in reversed(node.children):
            if edge.node.inherits_from is not node:
                continue
            wanted: str | Options | None = given.get(edge.name, {})
            if isinstance(wanted, str | None) and wanted != edge.node.name:
                continue
            change.take_inline_child(edge.name)
            said = wanted if not queued.keeps_options else queued.given.get(edge.name)
            below = said if isinstance(said, dict) and said and given is not node.options else edge.node.options
            change.given[edge.name] = below
            # A child follows what its parent's options say; what they leave to the default stays, if it is named.
            stays = isinstance(wanted, str) and edge.node.read_only
            inherited = change.read_only if is_child or "read-only" in given else stays
            keeps = queued.keeps_options or isinstance(wanted, str)
            read_only = inherited or edge.name == "backing"
            yield _Queued(edge.node, below, read_only, is_child=True, keeps_options=keeps, inactive=change.inactive)

    def run(self) -> None:
        """Drain all, flush all, prepare all, then change all.

        :raises QmpError: nothing has changed then.
        """
        with ExitStack() as drained:
            for change in self.changes.values():
                drained.enter_context(self.graph.reopening(change.node))
            self._run()

    def _run(self) -> None:
        changes = list(self.changes.values())
        for change in changes:
            flush_reopened(change.node)
        self.graph.changing()
        for change in changes:
            change.prepare(self.graph)
            change.check_keeps(self.bases)
        inherited = [(node, node.inherits_from) for node in self.graph.nodes.values()]
        restore_permissions = kept_permissions(self.graph.nodes.values())
        try:
            for change in changes:
                self._replace_children(change)
                change.node.mark_read_only(change.read_only)
            self._refresh(changes)
            for change in changes:
                change.check_same_file()
        except QmpError:
            for change in reversed(changes):
                change.node.mark_read_only(change.was_read_only)
                self._restore_children(change)
            for node, parent in inherited:
                node.inherits_from = parent
            self._refresh(changes)
            self._release_former(changes)
            restore_permissions()
            raise
        for change in changes:
            change.finish()
        for change in reversed(changes):
            change.node.refresh_limits()
        self._release_former(changes)

    def _replace_children(self, change: _Change) -> None:
        """Let the children lead elsewhere; an anonymous user keeps the former one open until all is settled."""
        for name, new in change.children.items():
            former, edge = Drive(self.graph, ""), change.node.child(name)
            if edge is not None:
                former.insert(edge.node)
            change.replaced.append((name, former))
            self.graph.set_child(change.node, name, new)

    def _restore_children(self, change: _Change) -> None:
        for name, former in reversed(change.replaced):
            self.graph.set_child(change.node, name, former.root.node if former.root is not None else None)

    def _refresh(self, changes: list[_Change]) -> None:
        roots: list[Node] = []
        for change in changes:
            former = [user.root.node for _name, user in change.replaced if user.root is not None]
            roots += [change.node, *former]
        try:
            self.graph.refresh_permissions(*(reversed(roots) if self.backwards else roots))
        except ReadOnlyNodeError as error:
            if any(change.node is error.node and not change.was_read_only for change in changes):
                text = f"Read-only block node '{error.node.name}' cannot support read-write users"
                raise QmpError(text) from None
            raise

    @staticmethod
    def _release_former(changes: list[_Change]) -> None:
        for change in changes:
            for _name, user in change.replaced:
                user.eject()


def _merged(old: Options, new: Options) -> Options:
    """Options, some of which are others now; those of children by member."""
    merged = dict(old)
    for name, value in new.items():
        before = merged.get(name)
        merged[name] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return merged


def _flatten(options: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names, as QEMU keeps nested options."""
    for key, value in options.items():
        if isinstance(value, list):
            value = {str(index): item for index, item in enumerate(value)}  # noqa: PLW2901
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
