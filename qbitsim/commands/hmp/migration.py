"""The human monitor's commands about migrations (migration/migration-hmp-cmds.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.commands import migration
from qbitsim.commands.hmp.declaration import execute, hmp
from qbitsim.commands.migration import Migrate, MigrateContinue, MigrateIncoming
from qbitsim.errors import QmpError
from qbitsim.migration.addresses import describe
from qbitsim.qapi.events import MigrationStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.commands.context import Context
    from qbitsim.jsontypes import Json

_GLOBALS = """\
globals:
store-global-state: on
only-migratable: off
send-configuration: on
send-section-footer: on
{}: on
clear-bitmap-shift: 18
"""

_FIRST = """
announce-initial announce-max announce-rounds announce-step compress-level compress-threads compress-wait-thread
decompress-threads throttle-trigger-threshold cpu-throttle-initial cpu-throttle-increment cpu-throttle-tailslow
max-cpu-throttle tls-creds tls-hostname
"""
_LAST = (
    "block-bitmap-mapping x-vcpu-dirty-limit-period vcpu-dirty-limit mode direct-io x-rdma-chunk-size cpr-exec-command"
)
_PARAMETERS = f"""
{_FIRST} max-bandwidth avail-switchover-bandwidth downtime-limit x-checkpoint-delay block-incremental multifd-channels
multifd-compression zero-page-detection xbzrle-cache-size max-postcopy-bandwidth tls-authz {_LAST}
"""
"""What ``info migrate_parameters`` shows, in its order."""

_PARAMETERS_IN_SHORT = f"""
{_FIRST} tls-authz max-bandwidth avail-switchover-bandwidth max-postcopy-bandwidth downtime-limit x-checkpoint-delay
multifd-channels multifd-compression zero-page-detection xbzrle-cache-size {_LAST}
"""
"""The same since 11.1."""

_UNITS = {
    **dict.fromkeys(("max-bandwidth", "avail-switchover-bandwidth"), " bytes/second"),
    **dict.fromkeys(("announce-initial", "announce-max", "announce-step", "downtime-limit"), " ms"),
    **dict.fromkeys(("x-checkpoint-delay", "x-vcpu-dirty-limit-period"), " ms"),
    **dict.fromkeys(("xbzrle-cache-size", "x-rdma-chunk-size"), " bytes"),
    "vcpu-dirty-limit": " MB/s",
}


@hmp(
    "migrate",
    "detach:-d,resume:-r,uri:s",
    params="[-d] [-r] uri",
    help="migrate to URI (using -d to not wait for completion)",
)
def migrate(context: Context, *, detach: bool, resume: bool, uri: str) -> None:
    """Begin to migrate; nobody waits here for the end, with or without ``-d``."""
    del detach
    execute(context, migration.migrate, Migrate(uri=uri, resume=resume))


@hmp("migrate_cancel", help="cancel the current VM migration")
def migrate_cancel(context: Context) -> None:
    """Give the migration up."""
    execute(context, migration.migrate_cancel)


@hmp("migrate_continue", "state:s", params="state", help="Continue migration from the given paused state")
def migrate_continue(context: Context, *, state: str) -> None:
    """Let a migration go on."""
    if state not in set(MigrationStatus):
        raise QmpError(f"invalid parameter value: {state}")
    execute(context, migration.migrate_continue, MigrateContinue(state=MigrationStatus(state)))


@hmp(
    "migrate_incoming",
    "uri:s",
    params="uri",
    help="Continue an incoming migration from an -incoming defer",
)
def migrate_incoming(context: Context, *, uri: str) -> None:
    """Listen for the guest."""
    execute(context, migration.migrate_incoming, MigrateIncoming(uri=uri))


@hmp(
    "migrate_start_postcopy",
    help="Followup to a migration command to switch the migration to postcopy mode. "
    "The postcopy-ram capability must be set on both source and destination before the original migration command .",
)
def migrate_start_postcopy(context: Context) -> None:
    """Let the guest run at the destination before all bitmaps are there."""
    execute(context, migration.migrate_start_postcopy)


@hmp("info migrate_capabilities", help="show current migration capabilities")
def info_migrate_capabilities(context: Context) -> str:
    """What a migration is able to do."""
    shown = execute(context, migration.query_migrate_capabilities)
    return "".join(f"{each['capability']}: {'on' if each['state'] else 'off'}\n" for each in shown)


@hmp("info migrate_parameters", help="show current migration parameters")
def info_migrate_parameters(context: Context) -> str:
    """The parameters that a release shows, with their units."""
    values = execute(context, migration.query_migrate_parameters)
    order = _PARAMETERS_IN_SHORT if context.profile.migration_shown_in_short else _PARAMETERS
    return "".join(_parameter(name, values[name], context) for name in order.split() if name in values)


def _parameter(name: str, value: object, context: Context) -> str:
    if name == "block-bitmap-mapping":
        return "block-bitmap-mapping:\n" + "".join(_mapped(context.machine.migration.bitmap_mapping or {}))
    if name == "cpr-exec-command":
        assert isinstance(value, list)
        return f"{' '.join(['cpr-exec-command:', *value])}\n"
    if name.startswith("tls-"):
        return f"{name}: '{value}'\n"
    unit = _UNITS.get(name, "")
    if name == "max-postcopy-bandwidth" and context.profile.migration_shown_in_short:
        unit = " bytes/second"
    return f"{name}: {('on' if value else 'off') if isinstance(value, bool) else value}{unit}\n"


def _mapped(mapping: dict[str, Json]) -> Iterator[str]:
    for node, entry in mapping.items():
        yield f"  '{node}' -> '{entry['alias']}'\n"
        yield from (f"    '{each['name']}' -> '{each['alias']}'\n" for each in entry["bitmaps"])


@hmp("info migrate", help="show migration status")
def info_migrate(context: Context) -> str:
    """How far the migration has come."""
    info = execute(context, migration.query_migrate)
    last = "send-switchover-start" if context.profile.migration_shows_setup else "decompress-error-check"
    return _GLOBALS.format(last) + "".join(_long(info))


@hmp(
    "info migrate",
    "all:-a",
    params="[-a]",
    help="show migration status (-a: all, dump all status)",
    fact="migration_shown_in_short",
)
def info_migrate_in_short(context: Context, *, all: bool) -> str:  # noqa: A002 - its name in QEMU's table
    """How far the migration has come, in few lines, and what does not change behind it."""
    info = execute(context, migration.query_migrate)
    shown = "".join(_short(info))
    if not all:
        return shown
    first, *settings = _GLOBALS.format("send-switchover-start").splitlines()
    return f"{shown}{first.capitalize()}\n" + "".join(f"  {each}\n" for each in settings)


def _status(info: Json) -> str:
    reason = f" ({info['error-desc']})" if info["status"] == "failed" and "error-desc" in info else ""
    return f"{info['status']}{reason}\n"


def _sockets(info: Json, words: str) -> Iterator[str]:
    if "socket-address" in info:
        yield f"{words}: [\n"
        yield from (f"\t{describe(each)}\n" for each in info["socket-address"])
        yield "]\n"


def _long(info: Json) -> Iterator[str]:
    if "status" in info:
        yield f"Migration status: {_status(info)}"
        yield f"total time: {info.get('total-time', 0)} ms\n"
        for name, words in (("expected-downtime", "expected downtime"), ("downtime", "downtime")):
            if name in info:
                yield f"{words}: {info[name]} ms\n"
        if "setup-time" in info:
            yield f"setup: {info['setup-time']} ms\n"
    if "ram" in info:
        yield from _memory(info["ram"])
    yield from _sockets(info, "socket address")


def _memory(ram: Json) -> Iterator[str]:
    yield f"transferred ram: {ram['transferred'] >> 10} kbytes\n"
    yield f"throughput: {ram['mbps']:0.2f} mbps\n"
    yield f"remaining ram: {ram['remaining'] >> 10} kbytes\n"
    yield f"total ram: {ram['total'] >> 10} kbytes\n"
    yield f"duplicate: {ram['duplicate']} pages\n"
    if "skipped" in ram:
        yield f"skipped: {ram['skipped']} pages\n"
    yield f"normal: {ram['normal']} pages\n"
    yield f"normal bytes: {ram['normal-bytes'] >> 10} kbytes\n"
    yield f"dirty sync count: {ram['dirty-sync-count']}\n"
    yield f"page size: {ram['page-size'] >> 10} kbytes\n"
    yield f"multifd bytes: {ram['multifd-bytes'] >> 10} kbytes\n"
    yield f"pages-per-second: {ram['pages-per-second']}\n"
    if ram["downtime-bytes"]:
        yield f"downtime ram: {ram['downtime-bytes'] >> 10} kbytes\n"


def _short(info: Json) -> Iterator[str]:
    """As 11.1 shows it."""
    if "status" in info:
        yield f"Status: \t\t{_status(info)}"
    if "total-time" in info:
        down = f", down={info['downtime']}" if "downtime" in info else f", exp_down={info['expected-downtime']}"
        yield f"Time (ms): \t\ttotal={info['total-time']}, setup={info['setup-time']}{down}\n"
    if "ram" in info:
        yield from _short_memory(info["ram"])
    yield from _sockets(info, "Sockets")


def _short_memory(ram: Json) -> Iterator[str]:
    yield "RAM info:\n"
    yield f"  Throughput (Mbps): \t{ram['mbps']:0.2f}\n"
    yield f"  Sizes: \t\tpagesize={_size(ram['page-size'])}, total={_size(ram['total'])}\n"
    yield f"  Transfers: \t\ttransferred={_size(ram['transferred'])}, remain={_size(ram['remaining'])}\n"
    channels = [f"{name}={_size(ram[f'{name}-bytes'])}" for name in ("precopy", "multifd", "postcopy")]
    yield f"    Channels: \t\t{', '.join(channels)}\n"
    yield f"    Page Types: \tnormal={ram['normal']}, zero={ram['duplicate']}\n"
    yield f"  Page Rates (pps): \ttransfer={ram['pages-per-second']}\n"
    yield f"  Others: \t\tdirty_syncs={ram['dirty-sync-count']}\n"


def _size(number: int) -> str:
    """Bytes in the largest unit below them, with three digits (size_to_str, util/cutils.c)."""
    power = max(0, (number.bit_length() - 1) // 10)
    unit = ("B", "KiB", "MiB", "GiB", "TiB")[power]
    return f"{number / 1024**power:.3g} {unit}"
