"""The NBD server of a machine and what it exports (block/export/export.c, blockdev-nbd.c and nbd/server.c, QEMU 10.0).

An export uses a node, keeps its bitmaps busy, and goes away with an event. Clients connect to it: over sockets if the
machine is served (see :mod:`qbitsim.serving.nbd_server`), or in the process: with :meth:`.Machine.connect_nbd`, and
other machines on the same image store at the address at which the server listens.

Nothing of the protocol is loaded before the first client comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from qbitsim.block.activation import activate
from qbitsim.block.chain import chain
from qbitsim.block.names import is_well_formed
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.files.network import InetAddress, UnixAddress
from qbitsim.nbd.export import Client, Export, ExportUser, InFlight
from qbitsim.qapi.block import InetSocketAddressLegacy, UnixSocketAddressLegacy
from qbitsim.records import record

if TYPE_CHECKING:
    from qbitsim.block.bitmap import DirtyBitmap
    from qbitsim.block.drive import Drive
    from qbitsim.block.graph import Graph
    from qbitsim.block.node import Node
    from qbitsim.engine.scheduler import Scheduler
    from qbitsim.facts import Profile
    from qbitsim.files.network import Address, Connection
    from qbitsim.nbd.faults import NbdFault, RefusedOption, SlowReads
    from qbitsim.qapi.block import SocketAddressLegacy

MAXIMUM_STRING = 4096
"""Bytes of an export's name or description (NBD_MAX_STRING_SIZE)."""

SECTOR = 512

DEFAULT_CONNECTIONS = 100
"""How many clients there may be at once (NBD_DEFAULT_MAX_CONNECTIONS; measured in 7.2.22, too)."""

DEFAULT_HANDSHAKE = 10
"""Seconds that a client has for its handshake (NBD_DEFAULT_HANDSHAKE_MAX_SECS)."""


@record
class Listening:
    """How the server was started.

    :ivar address: where; None if only clients of this process connect.
    :ivar connections: how many clients there may be at once; 0 for any number.
    :ivar handshake_seconds: that a client of a socket has for its handshake; 0 for any time.
    """

    address: SocketAddressLegacy | None = None
    connections: int = DEFAULT_CONNECTIONS
    handshake_seconds: int = DEFAULT_HANDSHAKE

    @property
    def network_address(self) -> Address | None:
        """Where clients of the same process find it."""
        address = self.address
        if isinstance(address, UnixSocketAddressLegacy):
            return UnixAddress(address.data.path, bool(address.data.abstract), address.data.tight is not False)
        if isinstance(address, InetSocketAddressLegacy):
            return InetAddress(address.data.host, address.data.port)
        return None


class Host(Protocol):
    """What listens on sockets for a machine that is served; see :class:`qbitsim.serving.nbd_server.NbdListener`."""

    def listen(self, listening: Listening) -> None:
        """Listen there, from now on.

        :raises QmpError: the address cannot be had.
        """

    def stop(self) -> None:
        """Listen no more; the clients are the server's to cut off."""

    def client_left(self, client: Client) -> None:
        """A client has gone, so that another one may come."""


class Exports:
    """The NBD server of one machine.

    :param emit: called with the name and the data of each event.
    :param profile: which release the machine is.
    :param accept: connects a client of this process, see :func:`qbitsim.nbd.local.accept`; None if none can come.
    :ivar listening: how the server was started; None if it was not.
    :ivar exports: newest first.
    :ivar connections: the clients.
    :ivar host: what listens on sockets, if anything does.
    :ivar faults: what is to go wrong with answers; ``slow_reads``: with reads before they are answered;
        ``refused_options``: with handshakes.
    """

    __slots__ = (
        *("_accept", "_emit", "connections", "exports", "faults", "graph", "host", "listening", "profile"),
        *("refused_options", "slow_reads"),
    )

    def __init__(
        self,
        graph: Graph,
        emit: Callable[[str, dict[str, Any]], None],
        profile: Profile,
        accept: Callable[[Exports, object], Connection | None] | None = None,
    ) -> None:
        self.graph = graph
        self.profile = profile
        self._emit = emit
        self._accept = accept
        self.listening: Listening | None = None
        self.exports: list[Export] = []
        self.connections: list[Client] = []
        self.host: Host | None = None
        self.faults: list[NbdFault] = []
        self.slow_reads: list[SlowReads] = []
        self.refused_options: list[RefusedOption] = []

    # -- the server

    @property
    def running(self) -> bool:
        """Whether the server was started."""
        return self.listening is not None

    @property
    def scheduler(self) -> Scheduler:
        """The machine's."""
        return self.graph.scheduler

    def start(self, listening: Listening) -> None:
        """Start the server.

        :raises QmpError: it runs already, or nobody can listen there; nothing has changed then.
        """
        if self.listening is not None:
            raise QmpError("NBD server already running")
        self._listen(listening)
        self.listening = listening

    def stop(self) -> None:
        """Stop the server: the clients are cut off, and all exports go, oldest first.

        Since 8.0 the change of the graph by which one goes runs the bottom halves by which the others go, so that the
        newest is the first to tell (blk_exp_delete_bh and bdrv_graph_wrunlock, QEMU 10.0).

        :raises StalledError: a request is stalled; nothing has changed then.
        """
        self._check_not_stalled()
        if self.listening is not None:
            self._stop_listening(self.listening)
        self.listening = None
        self.disconnect_all()
        exports = self.exports[::-1]
        for export in exports:
            export.user.drained_poll()
        if self.profile.exports_go_oldest_first:
            for export in self.exports:
                self.scheduler.bottom_half(partial(self._remove, export))
            self.scheduler.run_bottom_halves()
        else:
            self._remove_all(exports)

    def _listen(self, listening: Listening) -> None:
        """Let clients come: over sockets, or in this process."""
        if self.host is not None:
            self.host.listen(listening)
        if listening.network_address is not None and self._accept is not None:
            self.graph.images.network.listen(listening.network_address, partial(self._accept, self))

    def _stop_listening(self, listening: Listening | None) -> None:
        if self.host is not None:
            self.host.stop()
        if listening is not None and listening.network_address is not None:
            self.graph.images.network.forget(listening.network_address)

    def end(self) -> None:
        """The process has ended: nobody listens, and clients notice."""
        if self.host is None:
            self._stop_listening(self.listening)
        self.disconnect_all()

    def disconnect_all(self) -> None:
        """Hang up on all clients; what they have in flight stays in flight."""
        for session in list(self.connections):
            session.hang_up()

    def take_over(self, before: Exports) -> None:
        """Take the place of another server, whose process has ended or was put back; its clients have gone.

        :raises QmpError: the address at which this one listens cannot be had any more.
        """
        before.disconnect_all()
        self.connections = []
        for export in self.exports:
            export.clients.clear()
        self.host = before.host
        if self.host is None or self.listening != before.listening:
            self._stop_listening(before.listening)
            if self.listening is not None:
                self._listen(self.listening)

    def _check_not_stalled(self) -> None:
        for export in self.exports:
            for request in export.in_flight:
                if request.stalled is not None:
                    raise request.stalled

    # -- clients

    @property
    def accepting(self) -> bool:
        """Whether one more client may come (nbd_update_server_watch, blockdev-nbd.c, QEMU 10.0)."""
        listening = self.listening
        return listening is not None and (not listening.connections or len(self.connections) < listening.connections)

    @property
    def offered(self) -> list[Export]:
        """The exports that are not on their way out, oldest first."""
        return [export for export in reversed(self.exports) if not export.shutting_down]

    def connected(self, session: Client) -> None:
        """A client has come."""
        self.connections.append(session)

    def left(self, session: Client) -> None:
        """A client has gone, and nothing of it is in flight."""
        if session in self.connections:
            self.connections.remove(session)
            export = session.export
            if export is not None and session in export.clients:
                export.clients.remove(session)
                self._go_if_unused(export)
            if self.host is not None:
                self.host.client_left(session)

    def striking(self, request: InFlight) -> NbdFault | None:
        """The fault that strikes the answer to a request, or None; the first that does is the only one counted."""
        from qbitsim.nbd.protocol import command_words  # noqa: PLC0415 - for those who have clients

        name, command = request.export.name, command_words(request.command).replace(" ", "-")
        return next((each for each in self.faults if each.strikes(name, command)), None)

    # -- exports

    def offer(self, /, node: str, name: str | None = None, **options: Any) -> Export:
        """Export a drive or node, without a monitor; start the server for clients of this process if it does not run.

        :param node: the id of a drive, or a node-name; it is the export's id, too.
        :param name: what clients call it; as ``node`` if not given.
        :param options: those of :meth:`add`, such as ``writable=True`` or ``bitmaps=["b0"]``.
        :raises QmpError: as QEMU refuses it.
        """
        if self.listening is None:
            self.start(Listening())
        self.check_new(node)
        return self.add(node, self.graph.lookup(node, node), name=name if name is not None else node, **options)

    def find(self, identifier: str) -> Export:
        """The export of that id.

        :raises QmpError: ``Export 'e0' is not found``.
        """
        for export in self.exports:
            if export.id == identifier:
                return export
        raise QmpError(f"Export '{identifier}' is not found")

    def check_new(self, identifier: str) -> None:
        """Refuse an id that is ill-formed or taken.

        :raises QmpError: with the texts of blk_exp_add.
        """
        if not is_well_formed(identifier):
            raise QmpError("Invalid block export id")
        if any(export.id == identifier for export in self.exports):
            raise QmpError(f"Block export id '{identifier}' is already in use")

    def add(
        self,
        identifier: str,
        node: Node,
        *,
        name: str,
        description: str | None = None,
        writable: bool = False,
        writethrough: bool = False,
        bitmaps: Sequence[str | tuple[str, str]] = (),
        allocation_depth: bool = False,
        allow_inactive: bool = False,
    ) -> Export:
        """Export ``node``; the id has been checked.

        :param allow_inactive: the node is not activated, and may become inactive while clients use it.

        :param bitmaps: names of bitmaps in the node's chain, or (node, name).
        :raises QmpError: in the order of blk_exp_add and nbd_export_create; nothing has changed then.
        """
        if node.read_only and writable:
            raise QmpError("Cannot export read-only node as writable")
        if not allow_inactive:
            activate(self.graph, node)
        user = ExportUser(self.graph, writable=writable)
        user.allows_inactivation = allow_inactive
        user.write_cache = not writethrough
        user.insert(node)
        try:
            self._check_names(name, description or "")
            user.share(perms.ALL & ~perms.RESIZE)
            found = [self._bitmap(node, bitmap, writable=writable) for bitmap in bitmaps]
        except QmpError:
            user.eject()
            raise
        for bitmap in found:
            bitmap.busy = True
        assert self.listening is not None
        multi = self.listening.connections != 1 and (not writable or self.profile.nbd_shares_writable)
        size = node.length // SECTOR * SECTOR
        export = Export(
            identifier, name, description, user, size, writable, multi, found, allocation_depth, self.slow_reads, []
        )
        self.exports.insert(0, export)
        return export

    def _check_names(self, name: str, description: str) -> None:
        if not self.running:
            raise QmpError("NBD server not running")
        if len(name.encode("utf-8", "surrogatepass")) > MAXIMUM_STRING:
            raise QmpError(f"export name '{name}' too long")
        if len(description.encode("utf-8", "surrogatepass")) > MAXIMUM_STRING:
            raise QmpError(f"description '{description}' too long")
        if any(export.name == name for export in self.exports):
            raise QmpError(f"NBD server already has export named '{name}'")

    def _bitmap(self, node: Node, wanted: str | tuple[str, str], *, writable: bool) -> DirtyBitmap:
        if isinstance(wanted, tuple):
            return self._bitmap_of(*wanted)
        for place in chain(node):
            bitmap = place.find_bitmap(wanted)
            if bitmap is not None:
                break
        else:
            raise QmpError(f"Bitmap '{wanted}' is not found")
        if not writable and not place.read_only and not bitmap.disabled:
            raise QmpError(f"Enabled bitmap '{wanted}' incompatible with readonly export")
        bitmap.check(allow_readonly=True)
        return bitmap

    def _bitmap_of(self, owner: str, name: str) -> DirtyBitmap:
        """A bitmap of any node; nobody checks whether it records."""
        bitmap = self.graph.find_bitmap(owner, name)
        bitmap.check(allow_readonly=True)
        return bitmap

    def remove(self, export: Export, *, hard: bool = False) -> None:
        """Give an export up, for a client of the monitor (qmp_block_export_del, block/export/export.c, QEMU 10.0).

        :param hard: even if clients are connected, which are cut off.
        :raises QmpError: it is used, or has been given up; nothing has changed then.
        """
        if export.shutting_down:
            raise QmpError(f"Export '{export.id}' is already shutting down")
        if export.clients and not hard:
            hint = "Use mode='hard' to force client disconnect\n"
            raise QmpError(f"export '{export.id}' still in use", hint=hint)
        self._shut_down(export)

    def _shut_down(self, export: Export) -> None:
        """Cut its clients off and let it go with the last one (blk_exp_request_shutdown)."""
        if not export.shutting_down:
            export.shutting_down = True
            for session in list(export.clients):
                session.cut_off()
            self._go_if_unused(export)

    def _go_if_unused(self, export: Export) -> None:
        if export.shutting_down and not export.clients and export in self.exports:
            self._remove(export)

    def _remove(self, export: Export) -> None:
        """Let it go; its bitmaps are free again."""
        self._give_up(export)
        self._tell_deleted(export)

    def _give_up(self, export: Export, meanwhile: Callable[[], None] | None = None) -> None:
        self.exports.remove(export)
        for bitmap in export.bitmaps:
            bitmap.busy = False
        export.user.eject(meanwhile)

    def _tell_deleted(self, export: Export) -> None:
        self._emit("BLOCK_EXPORT_DELETED", {"id": export.id})

    def _remove_all(self, exports: list[Export]) -> None:
        if exports:
            first, *others = exports
            self._give_up(first, lambda: self._remove_all(others))
            self._tell_deleted(first)

    def medium_removed(self, drive: Drive) -> None:
        """The exports that nbd-server-add made of the drive go with its medium."""
        for export in [export for export in self.exports if export.medium_of is drive]:
            self._shut_down(export)
