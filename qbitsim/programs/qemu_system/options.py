"""Which options QEMU's command line has, and what becomes of each here.

Measured by asking 7.2, 10.0 and 11.1 (x86_64, Debian's packages); the names and types of what they take are those of
system/vl.c, 10.0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.enums import StrEnum
from qbitsim.programs.option_text import OptionList, option_list
from qbitsim.records import record

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qbitsim.profiles import Profile


class Effect(StrEnum):
    """What becomes of an option."""

    USED = "used"
    """It does here what it does in QEMU."""

    TAKEN = "taken"
    """It is about nothing that is emulated: it is accepted, checked as far as the table says, and has no effect."""

    REFUSED = "refused"
    """It would matter, and is not emulated."""

    FOREIGN = "foreign"
    """QEMU itself refuses it on a PC."""


@record(kw_only=True)
class Option:
    """An option.

    :param argument: whether it has one.
    :param takes: what the argument may say, if it is checked by this alone.
    :param since: the release that it came with; *until*: the one that has it no more.
    """

    name: str
    effect: Effect
    argument: bool
    takes: OptionList | None = None
    since: str | None = None
    until: str | None = None


MON = option_list("mon", "chardev", string="mode chardev", bool="pretty")
ADD_FD = option_list("add-fd", number="fd set", string="opaque")
NAME = option_list("name", "guest", merged=True, string="guest process", bool="debug_threads")
DRIVE = OptionList(name="drive")
DEVICE = OptionList(name="device", implied="driver")
OBJECT = OptionList(name="object", implied="qom-type")
GLOBAL = option_list("global", string="driver property value")
ACCEL = OptionList(name="accel", implied="accel", merged=True)

_MEMORY = option_list("memory", "size", merged=True, size="size maxmem", number="slots")
_RTC = option_list("rtc", merged=True, string="base clock driftfix")
_ACTION = option_list("action", merged=True, string="shutdown reboot panic watchdog")
_MSG = option_list("msg", merged=True, bool="timestamp guest_name")
_OVERCOMMIT = option_list("overcommit", bool="mem_lock cpu_pm")
_SANDBOX = option_list(
    "sandbox", "enable", merged=True, bool="enable", string="obsolete elevateprivileges spawn resourcecontrol"
)
_ICOUNT = option_list("icount", "shift", merged=True, string="shift rr rrfile rrsnapshot", bool="align sleep")
_TRACE = option_list("trace", "enable", string="enable events file")
_OPTION_ROM = option_list("option-rom", "romfile", string="romfile", number="bootindex")
_FW_CFG = option_list("fw_cfg", "name", string="name file string gen_id")

_ARGUMENTS: Mapping[Effect, str] = {
    Effect.USED: "machine M accel name uuid fda fdb hda hdb hdc hdd cdrom drive blockdev device object chardev mon "
    "monitor qmp qmp-pretty pidfile incoming add-fd serial parallel mtdblock sd pflash qtest display vga "
    "global set loadvm qtest-log",
    Effect.TAKEN: "cpu smp numa boot mem-path k audio audiodev fsdev virtfs iscsi usbdevice spice g vnc acpitable "
    "smbios netdev nic net tpmdev bios kernel shim append initrd dtb compat debugcon gdb d D dfilter seed L "
    "watchdog-action echr plugin",
    Effect.REFUSED: "readconfig dump-vmstate xen-domid chroot runas run-with",
    Effect.FOREIGN: "prom-env semihosting-config",
}
_SWITCHES: Mapping[Effect, str] = {
    Effect.USED: "help h version S nodefaults no-user-config nographic daemonize snapshot preconfig",
    Effect.TAKEN: "mem-prealloc usb full-screen portrait win2k-hack no-fd-bootchk no-acpi no-hpet s enable-kvm "
    "no-reboot no-shutdown only-migratable singlestep async-teardown enable-sync-profile perfmap jitdump",
    Effect.REFUSED: "audio-help",
    Effect.FOREIGN: "semihosting old-param xen-attach xen-domid-restrict",
}
_TAKES: Mapping[str, OptionList] = {
    "m": _MEMORY,
    "rtc": _RTC,
    "action": _ACTION,
    "msg": _MSG,
    "overcommit": _OVERCOMMIT,
    "sandbox": _SANDBOX,
    "icount": _ICOUNT,
    "trace": _TRACE,
    "option-rom": _OPTION_ROM,
    "fw_cfg": _FW_CFG,
}
_UNTIL: Mapping[str, str] = {
    "10.0": "async-teardown audio-help chroot no-acpi no-hpet portrait rotate runas singlestep",
    "11.1": "old-param",
}
"""The options that went with a release."""

_SINCE: Mapping[str, str] = {"10.0": "jitdump perfmap run-with shim"}
"""The options that came with a release, or with one between it and 7.2."""


def _declared() -> dict[str, Option]:
    """The table."""
    until = {name: release for release, names in _UNTIL.items() for name in names.split()}
    since = {name: release for release, names in _SINCE.items() for name in names.split()}
    table: dict[str, Option] = {}

    def add(names: str, effect: Effect, *, argument: bool, takes: OptionList | None = None) -> None:
        for name in names.split():
            table[name] = Option(
                name=name,
                effect=effect,
                argument=argument,
                takes=takes,
                since=since.get(name),
                until=until.get(name),
            )

    for effect, names in _ARGUMENTS.items():
        add(names, effect, argument=True)
    for effect, names in _SWITCHES.items():
        add(names, effect, argument=False)
    for name, takes in _TAKES.items():
        add(name, Effect.TAKEN, argument=True, takes=takes)
    add("rotate", Effect.TAKEN, argument=True)
    return table


OPTIONS: Mapping[str, Option] = _declared()
"""Every option of every release, by its name."""


def find_option(profile: Profile, name: str) -> Option | None:
    """The option of that name, if the release has it."""
    option = OPTIONS.get(name)
    return option if option is not None and profile.offers(option.since, option.until) else None
