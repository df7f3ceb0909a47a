"""What the options ask for, made in the order in which they stand on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.block.names import ID_HINT, is_well_formed
from qbitsim.enums import StrEnum
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.programs.chardev_options import CHARDEV
from qbitsim.programs.chardevs import Chardevs
from qbitsim.programs.complaints import EndError, StartError, blaming
from qbitsim.programs.getopt import NO_OPTION
from qbitsim.programs.option_text import OptionHelpError, parse_options
from qbitsim.programs.storage_daemon.command_line import TRACE, line
from qbitsim.programs.storage_daemon.daemon import check_kind
from qbitsim.programs.storage_daemon.recorded_answers import answers
from qbitsim.qapi.block import BlockExportOptions
from qbitsim.qapi.blockdev import BlockdevOptions
from qbitsim.qapi.keyval import HelpWantedError, Tree, as_json, is_help, parse_keyval
from qbitsim.qapi.migration import SocketAddress
from qbitsim.qapi.objects import ObjectOptions
from qbitsim.qapi.schema import UInt32, arg, moved_last
from qbitsim.qapi.structs import struct
from qbitsim.qapi.values import to_json
from qbitsim.qmp.parser import parse_command_line_object
from qbitsim.serving.chardev import SILENT
from qbitsim.serving.server import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable

    from qbitsim.machine.machine import Machine
    from qbitsim.programs.option_text import OptionList, OptionText
    from qbitsim.programs.storage_daemon.command_line import Given
    from qbitsim.serving.chardev import OpenChardev


_NEEDED = ("tls-", "monitor-")
"""What the kinds of objects begin with that are refused, as others depend on them."""


_GUESTS_CHARDEVS = frozenset({"braille", "msmouse", "testdev", "vc", "wctablet", *SILENT})
"""Character devices that only a machine with a guest has (qemu-storage-daemon --chardev help)."""


class MonitorMode(StrEnum):
    """How a monitor talks."""

    READLINE = "readline"
    CONTROL = "control"


@struct
class MonitorOptions:
    """The argument of ``--monitor`` (qapi/control.json)."""

    id: str | None = None
    mode: MonitorMode | None = None
    pretty: bool | None = None
    chardev: str


@moved_last("addr", since="10.0")
@struct
class NbdServerOptions:
    """The argument of ``--nbd-server`` (qapi/block-export.json)."""

    addr: SocketAddress
    handshake_max_seconds: UInt32 | None = arg(since="10.0")
    tls_creds: str | None = None
    tls_authz: str | None = None
    max_connections: UInt32 | None = None


class Startup:
    """The making of a daemon.

    :ivar monitors: what clients come to, and how it talks.
    """

    def __init__(
        self, machine: Machine, print_: Callable[[str], object], complain: Callable[[str], None], *, in_background: bool
    ) -> None:
        self._machine = machine
        self._print = print_
        self._complain = complain
        self._chardevs = Chardevs(
            machine.profile,
            print_,
            lambda text, words, label: complain(line(text, words, label)),
            in_background=in_background,
            lacks=_GUESTS_CHARDEVS,
        )
        machine.chardevs = self._chardevs
        self.monitors: list[tuple[OpenChardev, Monitor]] = []

    def obey(self, given: Given) -> None:
        """Do what an option asks for.

        :raises StartError: it is refused.
        :raises EndError: it asks for help, which was printed.
        """
        if given.name == NO_OPTION:
            raise StartError("Unexpected argument", given.words)
        obeying: dict[str, Callable[[Given], None]] = {
            "blockdev": self._add_node,
            "chardev": self._open_chardev,
            "export": self._add_export,
            "monitor": self._add_monitor,
            "nbd-server": self._start_nbd_server,
            "object": self._add_object,
            "trace": self._take_trace,
        }
        with blaming(given.words):
            obeying[given.name](given)

    # -- arguments

    def _tree(self, given: Given, implied: str | None, cls: type) -> Tree:
        """The argument as JSON that declares an instance of a class."""
        if given.argument.startswith("{"):
            named = self._machine.profile.json_errors_have_places
            return parse_command_line_object(given.argument, named=named)
        try:
            tree = parse_keyval(given.argument, implied)
        except HelpWantedError as wanted:
            if cls is not ObjectOptions:
                raise QmpError("Help is not available for this option") from None
            self._print_object_help(wanted.tree.get("qom-type"))
            raise EndError from None
        read: Tree = as_json(self._machine.registry.shapes.of(cls), tree)
        return read

    def _text(self, given: Given, declared: OptionList) -> OptionText:
        try:
            return parse_options(
                given.argument, declared, lambda text: self._complain(line(text, given.words, "warning"))
            )
        except OptionHelpError:
            self._print(declared.help())
            raise StartError("") from None

    # -- what they ask for

    def _add_node(self, given: Given) -> None:
        self._machine.execute("blockdev-add", self._tree(given, "driver", BlockdevOptions))

    def _open_chardev(self, given: Given) -> None:
        text = self._text(given, CHARDEV)
        if is_help(text.values.get("backend", "")):
            self._print(answers(self._machine.profile)["chardevs"])
            raise EndError
        self._chardevs.open(text, given.words)

    def _add_export(self, given: Given) -> None:
        self._machine.execute("block-export-add", self._tree(given, "type", BlockExportOptions))

    def _add_monitor(self, given: Given) -> None:
        tree = self._tree(given, "chardev", MonitorOptions)
        options: MonitorOptions = self._machine.registry.decode_as(MonitorOptions, tree)
        if self._machine.profile.monitors_are_objects:
            self._check_mode(options)
            self._add_monitor_object(options.id)
        if options.chardev not in self._chardevs:
            raise QmpError(f'chardev "{options.chardev}" not found')
        self._check_mode(options)
        device = self._chardevs.take(options.chardev)
        self.monitors.append((device, Monitor.PRETTY_QMP if options.pretty else Monitor.QMP))

    def _check_mode(self, options: MonitorOptions) -> None:
        if options.mode is MonitorMode.READLINE:
            raise QmpError("Only QMP is supported")

    def _add_monitor_object(self, identifier: str | None) -> None:
        """Give a monitor its place among the objects (monitor_init, monitor/monitor.c, QEMU 11.1)."""
        name = f"compat_monitor{len(self.monitors)}" if identifier is None else identifier
        if not is_well_formed(name):
            raise QmpError("Parameter 'id' expects an identifier", hint=ID_HINT)
        if name in self._machine.objects:
            raise QmpError(f"attempt to add duplicate property '{name}' to object (type 'container')")
        self._machine.objects[name] = {"qom-type": "monitor-qmp", "id": name}

    def _start_nbd_server(self, given: Given) -> None:
        tree = self._tree(given, None, NbdServerOptions)
        options: Tree = to_json(self._machine.registry.decode_as(NbdServerOptions, tree))
        kind = options["addr"].pop("type")
        if kind == "fd":
            raise UnsupportedError("an NBD server on an inherited descriptor")
        self._machine.execute("nbd-server-start", {**options, "addr": {"type": kind, "data": options["addr"]}})

    def _add_object(self, given: Given) -> None:
        """Make an object, or take one of a kind that nothing here depends on."""
        tree = self._tree(given, "qom-type", ObjectOptions)
        try:
            self._machine.execute("object-add", tree)
        except UnsupportedError:
            kind = str(tree["qom-type"])
            check_kind(self._machine.profile, kind)
            if kind.startswith(_NEEDED):
                raise

    def _print_object_help(self, kind: object) -> None:
        """Print what can be said of an object of a kind, or which kinds there are."""
        known = answers(self._machine.profile)["objects"]
        kinds = "List of user creatable objects:\n" + "".join(f"  {each}\n" for each in known)
        self._print(known[kind] if isinstance(kind, str) and kind in known else kinds)

    def _take_trace(self, given: Given) -> None:
        """There is nothing that could be traced."""
        text = self._text(given, TRACE)
        if is_help(text.values.get("enable", "")):
            raise UnsupportedError("the list of events that can be traced")
