"""What a command line asks for, read option by option; nothing is made yet (qemu_init, system/vl.c, QEMU 10.0)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NoReturn

from qbitsim.devices.processors import Processors
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.programs.chardev_options import CHARDEV, parse_short
from qbitsim.programs.complaints import EndError, StartError, message
from qbitsim.programs.option_text import OptionHelpError, OptionText, parse_options, read_switch, split_options
from qbitsim.programs.qemu_system import options
from qbitsim.programs.qemu_system.command_line import DISK_IMAGE, Given, line
from qbitsim.programs.qemu_system.help import usage, version
from qbitsim.programs.qemu_system.late_options import OptionGroup, global_of, set_value, split_global
from qbitsim.programs.qemu_system.machine_types import find_machine_type, recorded, recorded_objects
from qbitsim.programs.qemu_system.options import Effect
from qbitsim.programs.qemu_system.processors import read_model, read_topology
from qbitsim.programs.qemu_system.taken_options import check_argument, check_boot, check_network
from qbitsim.qapi.keyval import HelpWantedError, Tree, is_help, parse_keyval
from qbitsim.qmp.parser import parse_command_line_object
from qbitsim.records import record
from qbitsim.sizes import parse_size

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from qbitsim.profiles import Profile
    from qbitsim.programs.option_text import OptionList
    from qbitsim.programs.qemu_system.late_options import GlobalProperty
    from qbitsim.programs.qemu_system.machine_types import MachineType

_UUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_LEGACY_DRIVES = {
    **{f"hd{letter}": ("", index, "media=disk") for index, letter in enumerate("abcd")},
    **{f"fd{letter}": ("floppy", index, "") for index, letter in enumerate("ab")},
    "cdrom": ("", 2, "media=cdrom"),
    "mtdblock": ("mtd", None, ""),
    "sd": ("sd", None, ""),
    "pflash": ("pflash", None, "format=raw"),
}
"""Option -> interface (empty for the machine's own), index and what else it says of the drive."""

_KEYVAL = {
    "audiodev": "driver",
    "boot": "order",
    "compat": None,
    "netdev": "type",
    "nic": "type",
    "net": "type",
    "smp": "cpus",
}
"""The options that are taken and read as trees, with the key that may be left out."""

_JSON_TOO = frozenset({"audiodev", "compat", "netdev"})
_WITH_ID = frozenset({"audiodev", "netdev"})
_ALIASES = {"M": "machine", "S": "paused", "h": "help"}
_DISPLAY_OPTIONS = frozenset({"type", "full-screen", "window-close", "gl"})
_DISPLAYS = frozenset({"none", "gtk", "sdl", "egl-headless", "curses", "spice-app", "dbus", "default"})
_VGA = frozenset({"none", "std", "cirrus", "vmware", "xenfb", "qxl", "tcx", "cg3", "virtio"})
_ACCELERATORS = {
    "tcg": "tcg",
    "qtest": "QTest",
    "xen": "Xen",
    **{name: name.upper() for name in ("kvm", "hax", "hvf", "nvmm", "whpx")},
}
"""What runs the guest -> its own name for itself."""


@record
class Asked:
    """An option with what its argument says.

    :ivar value: an :class:`.OptionText`, a tree, or a text.
    """

    given: Given
    value: Any


class Plan:
    """What is to be made.

    :param print_: prints on standard output; *complain* on standard error.
    :ivar drives: each with texts by name, as *devices*; *json_devices* each with values that have types.
    """

    def __init__(self, profile: Profile, print_: Callable[[str], None], complain: Callable[[str], None]) -> None:
        self.profile = profile
        self._print = print_
        self._complain = complain
        self.machine: Tree = {}
        self.accelerator = ""
        self.guest_name: str | None = None
        self.guest_uuid: str | None = None
        self.paused = self.daemonize = self.snapshot = self.nographic = False
        self.defaults = True
        self.timestamps = False
        self.pid_file: str | None = None
        self.incoming: Asked | None = None
        self.chardevs: list[Asked] = []
        self.monitors: list[Asked] = []
        self.objects: list[Asked] = []
        self.blockdevs: list[Asked] = []
        self.drives: list[Asked] = []
        self.devices: list[Asked] = []
        self.json_devices: list[Asked] = []
        self._helped: tuple[Given, str] | None = None
        self.descriptors: list[Asked] = []
        self.serials: list[Given] = []
        self.globals: list[GlobalProperty] = []
        self.networks: list[Asked] = []
        self.loaded: str | None = None
        self._preconfig: Given | None = None
        self.qtest: Given | None = None
        self.qtest_log: str | None = None
        self.vga: str | None = None
        self.processors = Processors()
        self._topology: Tree = {}
        self._boot: Tree = {}
        self._memory: dict[str, str] = {}
        self._accelerators: list[tuple[str, str]] = []
        self._ids: set[tuple[str, str]] = set()
        self._monitor_count = 0
        self._text: dict[str, str] = {}
        self._given: list[Given] = []

    def arguments(self, *names: str) -> list[str]:
        """The arguments of all options of these names."""
        return [given.argument for given in self._given if given.name in names]

    @property
    def kernel(self) -> bool:
        """Whether the guest is given a kernel."""
        return "kernel" in self._text

    def read(self, everything: list[Given]) -> None:
        """Take all options.

        :raises StartError: one is refused.
        :raises EndError: one asks for help, which was printed.
        """
        self._given = everything
        for given in everything:
            with given.blamed():
                self._read(given)
        self._check_together()
        if self._helped is not None:
            self._print_device_help(*self._helped)

    def _check_together(self) -> None:
        """Refuse what does not go together (qemu_validate_options)."""
        if "kernel" not in self._text:
            for name in ("append", "shim", "initrd"):
                if name in self._text:
                    raise StartError(f"-{name} only allowed with -kernel option")
        if self.loaded is not None and self.incoming is not None:
            raise StartError("'incoming' and 'loadvm' options are mutually exclusive")
        if self._preconfig is not None:
            if self.loaded is not None:
                raise StartError("'preconfig' and 'loadvm' options are mutually exclusive")
            with self._preconfig.blamed():
                raise UnsupportedError("the option '-preconfig'")

    def warn(self, given: Given) -> Callable[[str], None]:
        """What says a warning about an option."""
        return lambda text: self._complain(line(text, given.words, "warning"))

    def _read(self, given: Given) -> None:
        name, effect = given.name, given.option.effect
        if effect is Effect.FOREIGN:
            raise QmpError("Option not supported for this target")
        if effect is Effect.REFUSED:
            raise UnsupportedError(f"the option '-{name}'")
        if given.option is DISK_IMAGE:
            self._add_legacy_drive(given, "", 0, "media=disk")
        elif name in _LEGACY_DRIVES:
            self._add_legacy_drive(given, *_LEGACY_DRIVES[name])
        elif effect is Effect.TAKEN:
            self._take(given)
        else:
            getattr(self, f"_read_{_ALIASES.get(name, name).replace('-', '_')}")(given)

    def _take(self, given: Given) -> None:
        """Check what the table says can be checked."""
        values: dict[str, str] = {}
        if given.option.takes is not None:
            values = self._parse(given, given.option.takes).values
            if given.name == "m":
                self._memory.update(values)
            if given.name == "msg" and "timestamp" in values:
                self.timestamps = read_switch("timestamp", values["timestamp"])
        self._text[given.name] = given.argument
        if is_help(given.argument):
            raise UnsupportedError(f"the help of '-{given.name}'")
        if given.name in _KEYVAL:
            as_object = given.name in _JSON_TOO and given.argument.startswith("{")
            tree = self._json(given) if as_object else self._keyval(given, _KEYVAL[given.name])
            if given.name in _WITH_ID and "id" not in tree and tree.get("driver", tree.get("type")) != "none":
                raise QmpError("Parameter 'id' is missing")
            if given.name == "netdev" and "id" in tree:
                self.networks.append(Asked(given, tree))
            if given.name == "smp":
                self._topology.update(tree)
            if given.name == "boot":
                self._boot.update(tree)
            if given.name in ("net", "netdev", "nic"):
                check_network(tree)
        check_argument(given.name, given.argument, values)

    def _parse(self, given: Given, declared: OptionList) -> OptionText:
        pairs = split_options(given.argument, declared.implied)
        identifier = next((value for name, value, _ in pairs if name == "id"), "")
        if (declared.name, identifier) in self._ids:
            raise QmpError(f"Duplicate ID '{identifier}' for {declared.name}")
        try:
            text = parse_options(given.argument, declared, self.warn(given))
        except OptionHelpError:
            self._print(declared.help())
            raise StartError("") from None
        if text.id:
            self._ids.add((declared.name, text.id))
        return text

    def _keyval(self, given: Given, implied: str | None) -> Tree:
        try:
            return parse_keyval(given.argument, implied)
        except HelpWantedError:
            raise QmpError("Help is not available for this option") from None

    def _json(self, given: Given) -> Tree:
        return parse_command_line_object(given.argument, named=self.profile.json_errors_have_places)

    # -- about the program

    def _read_help(self, given: Given) -> None:
        del given
        self._print(usage(self.profile))
        raise EndError

    def _read_version(self, given: Given) -> None:
        del given
        self._print(version(self.profile))
        raise EndError

    def _read_paused(self, given: Given) -> None:
        del given
        self.paused = True

    def _read_nodefaults(self, given: Given) -> None:
        del given
        self.defaults = False

    def _read_no_user_config(self, given: Given) -> None:
        """There is none."""

    def _read_nographic(self, given: Given) -> None:
        del given
        self.nographic = True

    def _read_daemonize(self, given: Given) -> None:
        del given
        self.daemonize = True

    def _read_snapshot(self, given: Given) -> None:
        del given
        self.snapshot = True

    def _read_pidfile(self, given: Given) -> None:
        self.pid_file = given.argument

    def _read_incoming(self, given: Given) -> None:
        self.incoming = Asked(given, given.argument)

    def _read_preconfig(self, given: Given) -> None:
        self._preconfig = given

    def _read_loadvm(self, given: Given) -> None:
        self.loaded = given.argument

    def _read_set(self, given: Given) -> None:
        groups = {
            "chardev": OptionGroup(CHARDEV, {asked.value.id: asked.value.values for asked in self.chardevs}),
            "device": OptionGroup(options.DEVICE, {asked.value.get("id", ""): asked.value for asked in self.devices}),
            "drive": OptionGroup(options.DRIVE, {asked.value.get("id", ""): asked.value for asked in self.drives}),
        }
        set_value(given.argument, groups, self.profile)

    def _read_global(self, given: Given) -> None:
        short = split_global(given.argument)
        self.globals.append(short or global_of(self._parse(given, options.GLOBAL).values))

    def _read_name(self, given: Given) -> None:
        self.guest_name = self._parse(given, options.NAME).values.get("guest", self.guest_name)

    def _read_uuid(self, given: Given) -> None:
        if not re.fullmatch(_UUID, given.argument):
            raise QmpError("failed to parse UUID string: wrong format")
        self.guest_uuid = given.argument.lower()

    def _read_display(self, given: Given) -> None:
        kind = given.argument.partition(",")[0]
        if is_help(given.argument):
            raise UnsupportedError("the help of '-display'")
        if kind == "vnc":
            raise QmpError("VNC requires a display argument vnc=<display>")
        if kind.startswith("vnc="):
            return
        tree = self._keyval(given, "type")
        if tree.get("type") not in _DISPLAYS:
            raise QmpError(f"Parameter 'type' does not accept value '{tree.get('type')}'")
        unexpected = next((name for name in tree if tree["type"] == "none" and name not in _DISPLAY_OPTIONS), None)
        if unexpected is not None:
            raise QmpError(f"Parameter '{unexpected}' is unexpected")

    def _read_vga(self, given: Given) -> None:
        self.vga = given.argument

    def check_vga(self) -> None:
        """Refuse an unknown graphics card.

        :raises StartError: there is no such card.
        """
        if self.vga is not None and self.vga not in _VGA:
            raise StartError(f"unknown vga type: {self.vga}")

    # -- the machine

    def _read_machine(self, given: Given) -> None:
        try:
            tree = parse_keyval(given.argument, "type")
        except HelpWantedError:
            self._print(recorded(self.profile, "machines"))
            raise EndError from None
        self.machine.update(tree)

    def machine_type(self) -> MachineType:
        """The type of machine, by default the release's own.

        :raises StartError: there is no such type, or it is not emulated.
        """
        try:
            return find_machine_type(self.profile, self.machine.get("type"))
        except QmpError as error:
            raise StartError(message(error)) from None

    def _read_accel(self, given: Given) -> None:
        name = self._parse(given, options.ACCEL).values.get("accel", "help")
        if is_help(name):
            self._print("Accelerators supported in QEMU binary:\ntcg\n")
            raise EndError
        self._accelerators.append((name, given.words))

    def check_board(self, machine: MachineType) -> None:
        """Refuse what has no effect here and is about nothing that the machine has.

        :raises StartError: it is.
        """
        try:
            check_boot(self._boot)
            self.processors = read_topology(self._topology, machine, self.profile)
            if "slots" in self._memory and "maxmem" not in self._memory:
                raise QmpError("slots specified but no max-size")
        except QmpError as error:
            raise StartError(error.desc) from None

    def check_processor(self, machine: MachineType) -> None:
        """Refuse an unknown model of processor or feature, and any on a machine that gives processors no place.

        :raises StartError: there is no such, or no place.
        """
        if "cpu" not in self._text:
            return
        try:
            self.processors = read_model(self._text["cpu"], self.processors, machine, self.profile)
        except QmpError as error:
            raise StartError(error.desc) from None

    @property
    def memory(self) -> int | None:
        """Bytes of memory that are wanted; a number without a unit means MiB."""
        size = self._memory.get("size")
        if size is None:
            return None
        return int(size) << 20 if size.isdigit() else parse_size(size)

    def choose_accelerator(self) -> None:
        """Take the first of the accelerators that are wanted that there is, and complain of those before it.

        :raises StartError: there is none of them.
        """
        wanted = self._accelerators or [(name, "") for name in str(self.machine.get("accel", "tcg")).split(":")]
        for name, words in wanted:
            if name in _ACCELERATORS:
                self.accelerator = name
                break
            self._complain(line(f"invalid accelerator {name}", words))
        if not self.accelerator:
            raise StartError("")
        if self.accelerator != wanted[0][0]:
            self._complain(line(f"falling back to {_ACCELERATORS[self.accelerator]}"))

    def _read_device(self, given: Given) -> None:
        if given.argument.startswith("{"):
            tree = self._json(given)
            self.json_devices.append(Asked(given, tree))
            return
        text = self._parse(given, options.DEVICE)
        driver = text.values.get("driver", "")
        if is_help(driver) or "help" in text.values or "?" in text.values:
            self._helped = self._helped or (given, driver)
            return
        self.devices.append(Asked(given, {**text.values, **({"id": text.id} if text.id else {})}))

    def _print_device_help(self, given: Given, driver: str) -> NoReturn:
        """Print which devices there are, or the properties of one; where there is none, that is a success, too."""
        if is_help(driver):
            self._print(recorded(self.profile, "devices"))
            raise EndError
        from qbitsim.devices.help import device_help  # noqa: PLC0415 - reads what few ask for

        try:
            self._print(device_help(driver, self.profile))
        except QmpError as error:
            status = 1 if isinstance(error, UnsupportedError) else 0
            raise StartError(message(error), given.words, status) from None
        raise EndError

    def _read_object(self, given: Given) -> None:
        if given.argument.startswith("{"):
            tree = self._json(given)
        else:
            text = self._parse(given, options.OBJECT)
            self._check_object_help(text.values)
            tree = {**text.values, **({"id": text.id} if text.id else {})}
        from qbitsim.programs.qemu_system.typed_options import read_object  # noqa: PLC0415 - few have one

        texts = not given.argument.startswith("{")
        self.objects.append(Asked(given, read_object(self.profile, tree, texts=texts)))

    def _check_object_help(self, values: Mapping[str, str]) -> None:
        """Print which kinds of objects there are, or the properties of one, if that is asked for.

        :raises EndError: it is.
        """
        kind = values.get("qom-type", "")
        if not is_help(kind) and "help" not in values and "?" not in values:
            return
        known = recorded_objects(self.profile)
        if not kind:
            raise QmpError("Parameter 'qom-type' is missing")
        if not is_help(kind) and kind not in known:
            raise QmpError(f"Parameter 'qom-type' does not accept value '{kind}'")
        kinds = "List of user creatable objects:\n" + "".join(f"  {each}\n" for each in known)
        self._print(known.get(kind, kinds))
        raise EndError

    def _read_add_fd(self, given: Given) -> None:
        self.descriptors.append(Asked(given, self._parse(given, options.ADD_FD)))

    # -- disks

    def _read_blockdev(self, given: Given) -> None:
        from qbitsim.programs.qemu_system.typed_options import read_node  # noqa: PLC0415 - few have one

        texts = not given.argument.startswith("{")
        tree = self._keyval(given, "driver") if texts else self._json(given)
        self.blockdevs.append(Asked(given, read_node(self.profile, tree, texts=texts)))

    def _read_drive(self, given: Given) -> None:
        text = self._parse(given, options.DRIVE)
        self.drives.append(Asked(given, {**text.values, **({"id": text.id} if text.id else {})}))

    def _add_legacy_drive(self, given: Given, interface: str, index: int | None, more: str) -> None:
        values = dict(part.split("=") for part in more.split(",") if part)
        if interface:
            values["if"] = interface
        if index is not None:
            values["index"] = str(index)
        self.drives.append(Asked(given, {**values, "file": given.argument}))

    # -- character devices and monitors

    def _read_chardev(self, given: Given) -> None:
        text = self._parse(given, CHARDEV)
        if is_help(text.values.get("backend", "")):
            self._print(recorded(self.profile, "chardevs"))
            raise EndError
        self.chardevs.append(Asked(given, text))

    def _read_mon(self, given: Given) -> None:
        is_first = all(asked.given.name != "mon" for asked in self.monitors)
        if self.profile.mon_option_is_deprecated and is_first:
            self.warn(given)("'-mon' is deprecated, use '-object' with 'monitor-hmp' or 'monitor-qmp' types instead")
        text = self._parse(given, options.MON)
        self.monitors.append(Asked(given, {**text.values, **({"id": text.id} if text.id else {})}))

    def _read_monitor(self, given: Given) -> None:
        if not given.argument.startswith("none"):
            self._add_monitor(given, {"mode": "readline"})

    def _read_qmp(self, given: Given) -> None:
        self._add_monitor(given, {"mode": "control"})

    def _read_qmp_pretty(self, given: Given) -> None:
        self._add_monitor(given, {"mode": "control", "pretty": "on"})

    def _add_monitor(self, given: Given, values: dict[str, str]) -> None:
        """The short forms (monitor_parse)."""
        label = given.argument.removeprefix("chardev:")
        if label == given.argument:
            label = f"compat_monitor{self._monitor_count}"
            self.chardevs.append(Asked(given, OptionText(label, self._short_chardev(given).values)))
        if ("mon", label) in self._ids:
            raise QmpError(f"Duplicate ID '{label}' for mon")
        self._ids.add(("mon", label))
        self._monitor_count += 1
        self.monitors.append(Asked(given, {**values, "chardev": label}))

    def _short_chardev(self, given: Given) -> OptionText:
        try:
            text = parse_short(given.argument)
        except UnsupportedError:
            raise
        except QmpError as error:
            self._complain(line(error.desc, given.words))
            text = None
        if text is None:
            raise QmpError(f"parse error: {given.argument}")
        return text

    def _read_serial(self, given: Given) -> None:
        self.serials.append(given)

    _read_parallel = _read_serial

    def _read_qtest(self, given: Given) -> None:
        self.qtest = given

    def _read_qtest_log(self, given: Given) -> None:
        self.qtest_log = given.argument
