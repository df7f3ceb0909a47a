"""A machine out of a plan, in the order in which QEMU makes its parts (qemu_init, system/vl.c, QEMU 10.0)."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

from qbitsim.commands.context import Context
from qbitsim.commands.devices import device_tree
from qbitsim.commands.drive_interface import check_place
from qbitsim.engine.transaction import Transaction
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.machine.boot import add_default_drive, add_plugged_drive, plug_board_drives, plug_virtio_drive
from qbitsim.migration.addresses import parse_uri
from qbitsim.programs.chardev_options import parse_short
from qbitsim.programs.chardevs import Chardevs, describe
from qbitsim.programs.complaints import EndError, StartError, message
from qbitsim.programs.option_text import OptionText, read_number
from qbitsim.programs.qemu_system.board_defaults import BoardDefaults
from qbitsim.programs.qemu_system.command_line import line
from qbitsim.programs.qemu_system.late_options import unknown_drivers
from qbitsim.programs.qemu_system.machine_types import recorded
from qbitsim.qapi.keyval import is_help
from qbitsim.records import changed, record
from qbitsim.serving.chardev import open_chardev
from qbitsim.serving.process import idle_threads
from qbitsim.serving.qtest import Qtest
from qbitsim.serving.server import Monitor

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qbitsim.block.drive import Drive
    from qbitsim.files.fdsets import FdSets
    from qbitsim.machine.machine import Machine
    from qbitsim.programs.qemu_system.machine_types import MachineType
    from qbitsim.programs.qemu_system.plan import Asked, Plan
    from qbitsim.serving.chardev import OpenChardev

_RAW_WARNING = """\
WARNING: Image format was not specified for '{}' and probing guessed raw.
         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.
         Specify the 'raw' format explicitly to remove the restrictions.
"""


@record
class OpenMonitor:
    """A monitor and what it talks through."""

    device: OpenChardev
    kind: Monitor


class Startup:
    """The making of a machine.

    :ivar machine: what is made.
    :ivar monitors: what clients come to.
    :ivar qtest: from where a test drives the guest.
    """

    def __init__(
        self,
        plan: Plan,
        machine: Machine,
        machine_type: MachineType,
        print_: Callable[[str], None],
        complain: Callable[[str], None],
    ) -> None:
        self._plan = plan
        self.machine = machine
        self._type = machine_type
        self._print = print_
        self._complain = complain
        self._chardevs = Chardevs(
            machine.profile,
            print_,
            lambda text, words, label: complain(line(text, words, label)),
            in_background=plan.daemonize,
        )
        machine.chardevs = self._chardevs
        self._objects: set[str] = set()
        self._drives: list[tuple[Asked, Drive]] = []
        self.monitors: list[OpenMonitor] = []
        self.qtest: Qtest | None = None

    @property
    def starts_paused(self) -> bool:
        """Whether the guest waits for a command before it runs."""
        return self._plan.paused or self._plan.incoming is not None

    def run(self) -> None:
        """Make everything.

        :raises StartError: something is refused.
        :raises EndError: help was asked for.
        """
        plan = self._plan
        plan.check_vga()
        if plan.incoming is not None:
            self.machine.wait_for_migration(autostart=not plan.paused)
        for asked in plan.objects:
            self._blamed(asked, self._add_object)
        for asked in plan.chardevs:
            self._blamed(asked, self._open_chardev)
        for asked in plan.blockdevs:
            self._blamed(asked, self._add_node)
        for asked in plan.drives:
            self._blamed(asked, self._add_drive)
        for asked in plan.networks:
            self._blamed(asked, self._add_network)
        plan.check_board(self._type)
        self._add_defaults()
        self._check_properties()
        plan.choose_accelerator()
        if plan.accelerator == "qtest":
            self.machine.graph.print = lambda _: None  # qtest_enabled()
            self.machine.guest_clock_stands = True
        self._open_qtest()
        for asked in plan.monitors:
            self._blamed(asked, self._add_monitor)
        try:
            self._make_guest()
        except StartError:
            self._greet()
            raise

    def _make_guest(self) -> None:
        plan = self._plan
        self._open_serials()
        plan.check_processor(self._type)
        self._add_processors()
        if self._type.name == "none" and plan.kernel:
            raise StartError("The -kernel parameter is not supported (use the generic 'loader' device instead).")
        self._plug_board_drives()
        self._add_devices()
        for text in unknown_drivers(plan.globals, self.machine.profile) if plan.globals else ():
            self._complain(line(text, label="warning"))
        self._load_snapshot()

    def _greet(self) -> None:
        """Show the banner of a human monitor on standard output, which is there before what failed was tried.

        The prompt comes when the main loop turns, as it does while a disk moves into its I/O thread (measured with 10.0
        and 11.1); 7.2 does not wait for that.
        """
        from qbitsim.qmp.human_session import banner  # noqa: PLC0415 - wanted by failures alone
        from qbitsim.qmp.readline import PROMPT  # noqa: PLC0415

        if any(each.kind is Monitor.HUMAN and each.device.chardev.backend == "stdio" for each in self.monitors):
            devices = self.machine.devices.devices.values() if self.machine.devices is not None else ()
            has_turned = any(each.drive is not None and each.iothread is not None for each in devices)
            prompt = PROMPT if has_turned or self.machine.profile.prompt_waits_for_nothing else ""
            self._print(f"{banner(self.machine.profile)}{prompt}")

    def _blamed(self, asked: Asked, act: Callable[[Asked], object]) -> None:
        told = self.machine.graph.complaining_to(lambda text: self._complain(line(text, asked.given.words)))
        with told, asked.given.blamed():
            act(asked)

    def _check_properties(self) -> None:
        for name in self._plan.machine:
            if name != "type":
                try:
                    self._type.check_property(name)
                except QmpError as error:
                    raise StartError(error.desc) from None

    def _add_processors(self) -> None:
        """Give a PC the processors and the memory that it is to have."""
        if self._type.kind != "none":
            processors = self._plan.processors
            self.machine.processors = changed(processors, thread_ids=idle_threads(processors.count))
            self.machine.memory = self._plan.memory or self.machine.memory

    def _load_snapshot(self) -> None:
        """Go back to a snapshot of the machine before it runs: ``-loadvm``."""
        if self._plan.loaded is None:
            return
        from qbitsim.commands.machine_snapshots import load_snapshot, writable_disks  # noqa: PLC0415 - few have one

        try:
            with Transaction() as transaction:
                context = Context(self.machine, transaction)
                load_snapshot(context, lambda: writable_disks(context), self._plan.loaded)
        except QmpError as error:
            raise StartError(message(error)) from None

    def listen_for_migration(self) -> None:
        """Listen where ``-incoming`` says, unless a client is to say it.

        :raises StartError: that cannot be.
        """
        incoming = self._plan.incoming
        if incoming is not None and incoming.value != "defer":
            try:
                self.machine.await_migration(parse_uri(incoming.value, self.machine.profile))
            except QmpError as error:
                raise StartError(error.desc, incoming.given.words) from None

    # -- objects

    def _add_object(self, asked: Asked) -> None:
        """Make an object, or take one of a type that nothing here depends on; no refusal names the option."""
        tree: dict[str, Any] = asked.value
        identifier = str(tree["id"])
        if identifier in self._objects:
            raise StartError(f"attempt to add duplicate property '{identifier}' to object (type 'container')")
        self._objects.add(identifier)
        try:
            self.machine.execute("object-add", tree)
        except UnsupportedError:
            return
        except QmpError as error:
            raise StartError(message(error)) from None

    def _add_network(self, asked: Asked) -> None:
        from qbitsim.commands.furniture import add_network  # noqa: PLC0415 - few have one

        add_network(self.machine, str(asked.value["id"]), str(asked.value.get("type")))

    # -- disks

    def _add_node(self, asked: Asked) -> None:
        if "node-name" not in asked.value:
            raise QmpError("'node-name' must be specified for the root node")
        self.machine.add_node(asked.value)

    def _add_drive(self, asked: Asked) -> None:
        """Make a drive; it is plugged in later."""
        values: dict[str, str] = asked.value
        if is_help(values.get("format", "")):
            self._print(recorded(self.machine.profile, "formats"))
            raise EndError
        if self._plan.snapshot:
            values = {"snapshot": "on", **values}
        drive = add_plugged_drive(self.machine, values)
        node = drive.root.node if drive.root is not None else None
        if node is not None and node.probed and node.driver == "raw" and not node.read_only:
            self._complain(_RAW_WARNING.format(node.children[0].node.filename))
        self._drives.append((asked, drive))

    def _add_defaults(self) -> None:
        """Give the board the drives and other parts that it has without being asked."""
        if self._type.kind == "none":
            return
        defaults = BoardDefaults(self._plan, self._type.kind, self.machine.profile)
        device_tree(self.machine).parts = defaults.parts()
        for drive in defaults.drives():
            try:
                add_default_drive(self.machine, drive)
            except QmpError as error:  # QEMU itself dies of it
                raise StartError(error.desc) from None

    def _plug_board_drives(self) -> None:
        """Plug in what the board has places for, and refuse the rest (qemu_init_board)."""
        try:
            plug_board_drives(self.machine)
        except QmpError as error:
            raise StartError(message(error)) from None
        orphans = False
        for asked, drive in self._drives:
            assert drive.info is not None
            if drive.info.interface != "virtio":
                try:
                    check_place(drive.info, self.machine.profile, self.machine.machine_type)
                except QmpError as error:
                    self._complain(line(error.desc, asked.given.words))
                    orphans = True
        if orphans:
            raise StartError("")

    def _add_devices(self) -> None:
        """Devices given as texts first, then those of drives, then others (qemu_create_cli_devices)."""
        devices = device_tree(self.machine)
        if self._type.kind == "pc" and self._plan.machine.get("acpi") == "off":
            devices.bus("pci.0").hotplug = False
        for asked in self._plan.devices:
            self._blamed(asked, lambda asked: devices.add(asked.value, from_json=False, hotplug=False))
        for asked, drive in self._drives:
            with asked.given.blamed():
                plug_virtio_drive(self.machine, drive)
        for asked in self._plan.json_devices:
            self._blamed(asked, lambda asked: devices.add(asked.value, from_json=True, hotplug=False))

    # -- character devices and monitors

    def _open_chardev(self, asked: Asked) -> None:
        self._chardevs.open(asked.value, asked.given.words)

    def _add_monitor(self, asked: Asked) -> None:
        values: dict[str, str] = asked.value
        if "chardev" not in values:
            raise QmpError("Parameter 'chardev' is missing")
        mode = values.get("mode", "readline")
        if mode not in ("readline", "control"):
            raise QmpError(f"Parameter 'mode' does not accept value '{mode}'")
        pretty = values.get("pretty") in ("on", "yes", "true", "y")
        refusals = [
            (values["chardev"] not in self._chardevs, f'chardev "{values["chardev"]}" not found'),
            (mode == "readline" and pretty, "'pretty' is not compatible with HMP monitors"),
        ]
        for is_refused, text in reversed(refusals) if self.machine.profile.monitors_are_objects else refusals:
            if is_refused:
                raise QmpError(text)
        kind = Monitor.HUMAN if mode == "readline" else Monitor.PRETTY_QMP if pretty else Monitor.QMP
        device = self._chardevs.take(values["chardev"])
        if self.machine.profile.monitors_are_objects:
            name = values.get("id", f"compat_monitor{len(self.monitors)}")
            self.machine.objects[name] = {
                "qom-type": "monitor-hmp" if kind is Monitor.HUMAN else "monitor-qmp",
                "id": name,
            }
        self.monitors.append(OpenMonitor(device, kind))

    def _open_qtest(self) -> None:
        """What drives the guest's time in QEMU's own tests."""
        if self._plan.qtest is not None:
            given = self._plan.qtest
            with given.blamed():
                name = given.argument.removeprefix("chardev:")
                device = self._chardevs.get(name) if name != given.argument else _opened_short(given.argument)
                if device is None:
                    raise QmpError(f'Failed to initialize device for qtest: "{given.argument}"')
                self.qtest = Qtest(device, self._qtest_log())

    def _qtest_log(self) -> TextIO | None:
        """Where is told what a test does with the guest."""
        path = self._plan.qtest_log
        if path is None:
            return sys.stderr
        try:
            return None if path == "none" else open(path, "w+", encoding="utf-8")
        except OSError:
            return None  # as qtest_server_start has it (system/qtest.c, QEMU 10.0)

    def _open_serials(self) -> None:
        """Serial ports have nobody at the guest's end: what they are connected to is opened, and that is all."""
        for given in self._plan.serials:
            if given.argument in ("none", "null", "mon:stdio") or given.argument.startswith("chardev:"):
                continue
            try:
                parse_short(given.argument)
            except UnsupportedError:
                continue
            except QmpError as error:
                self._complain(line(error.desc, given.words))
                text = f"could not connect {given.name} device to character backend '{given.argument}'"
                raise StartError(text, given.words) from None


def add_descriptor(fdsets: FdSets, values: Mapping[str, str]) -> None:
    """Let a set have a descriptor that the process was started with: ``-add-fd``.

    :raises QmpError: there is no such descriptor, or no set is named.
    """
    descriptor = read_number("fd", values.get("fd", "-1"))
    if descriptor < 0:
        raise QmpError("fd option is required and must be non-negative")
    if descriptor <= 2:
        raise QmpError("fd cannot be a standard I/O stream")
    number = read_number("set", values.get("set", "-1"))
    if number < 0:
        raise QmpError("set option is required and must be non-negative")
    try:
        duplicate = os.dup(descriptor)
    except OSError:
        raise QmpError("fd is not valid or already in use") from None
    fdsets.add(duplicate, number, values.get("opaque"))


def _opened_short(text: str) -> OpenChardev | None:
    described = parse_short(text)
    if described is None:
        return None
    return open_chardev(describe(OptionText("qtest", described.values)), lambda _: None, lambda _: None)
