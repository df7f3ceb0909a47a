"""All commands, each loaded when it is asked for."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from qbitsim.light_library import import_module
from qbitsim.profiles import Profile
from qbitsim.qapi import events
from qbitsim.qapi.lazy import Lazy
from qbitsim.qapi.registry import DECLARED_COMMANDS, Command, Registry

if TYPE_CHECKING:
    from collections.abc import Mapping

assert events, "importing them has declared them"

MODULES = {
    "backing_file": "change-backing-file",
    "backups": "blockdev-backup drive-backup",
    "bitmaps": "block-dirty-bitmap-add block-dirty-bitmap-remove block-dirty-bitmap-clear block-dirty-bitmap-enable "
    "block-dirty-bitmap-disable block-dirty-bitmap-merge x-debug-block-dirty-bitmap-sha256",
    "block_graph": "x-debug-query-block-graph x-blockdev-change",
    "blockstats": "query-blockstats block-latency-histogram-set block-set-write-threshold",
    "commits": "block-commit",
    "creation": "blockdev-create x-blockdev-amend",
    "descriptors": "add-fd remove-fd query-fdsets getfd closefd",
    "devices": "device_add device_del device-list-properties x-blockdev-set-iothread",
    "exports": "nbd-server-start nbd-server-stop block-export-add block-export-del nbd-server-add nbd-server-remove "
    "query-block-exports",
    "furniture": "netdev_add netdev_del query-balloon balloon query-vnc",
    "human_monitor": "human-monitor-command",
    "internal_snapshots": "blockdev-snapshot-internal-sync blockdev-snapshot-delete-internal-sync",
    "io_throttle": "block_set_io_throttle",
    "jobs": "job-pause job-resume job-cancel job-complete job-finalize job-dismiss block-job-pause block-job-resume "
    "block-job-cancel block-job-complete block-job-finalize block-job-dismiss block-job-set-speed block-job-change "
    "query-jobs query-block-jobs",
    "machine_queries": "query-target query-cpus-fast query-hotpluggable-cpus query-current-machine "
    "query-memory-size-summary query-iothreads query-chardev query-pr-managers query-tpm query-tpm-models "
    "query-tpm-types",
    "machine_snapshots": "snapshot-save snapshot-load snapshot-delete",
    "migration": "migrate migrate-incoming migrate_cancel migrate-continue migrate-start-postcopy query-migrate "
    "migrate-set-capabilities query-migrate-capabilities migrate-set-parameters query-migrate-parameters",
    "mirrors": "blockdev-mirror drive-mirror",
    "monitor": "qmp_capabilities query-version query-status query-commands query-qmp-schema query-name stop cont quit "
    "system_reset system_powerdown query-uuid migrate-pause migrate-recover yank query-yank query-kvm",
    "nodes": "blockdev-add blockdev-del blockdev-set-active block_resize",
    "objects": "object-add object-del",
    "processor_models": "query-cpu-model-expansion",
    "qom": "qom-list qom-get qom-set qom-list-types qom-list-properties",
    "queries": "query-block query-named-block-nodes",
    "recorded_answers": "query-machines query-cpu-definitions query-command-line-options",
    "reopen": "blockdev-reopen",
    "snapshots": "blockdev-snapshot blockdev-snapshot-sync",
    "streams": "block-stream",
    "transactions": "abort transaction",
    "trays": "eject blockdev-open-tray blockdev-close-tray blockdev-remove-medium blockdev-insert-medium "
    "blockdev-change-medium",
}
"""The modules that declare commands, each with their names."""

_PLACES = {name: module for module, names in MODULES.items() for name in names.split()}


def _load(name: str) -> list[Command]:
    import_module(f"{__package__}.{_PLACES[name]}")
    return DECLARED_COMMANDS[name]


COMMANDS: Mapping[str, list[Command]] = Lazy(_PLACES, _load)
"""All commands by name: those of one name are for different releases."""


@cache
def registry_for(profile: Profile) -> Registry:
    """The commands of that profile; one registry serves all machines."""
    return Registry(profile, COMMANDS)
