"""All commands of the human monitor, each loaded when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.commands.hmp.declaration import DECLARED, HmpCommand
from qbitsim.light_library import import_module
from qbitsim.qapi.lazy import Lazy

if TYPE_CHECKING:
    from collections.abc import Mapping

MODULES = {
    "block_info": ["info block", "info blockstats"],
    "block_jobs": [
        *("info block-jobs", "block_job_set_speed", "block_job_cancel", "block_job_complete", "block_job_pause"),
        *("block_job_resume", "block_stream", "drive_mirror", "drive_backup"),
    ],
    "commit": ["commit"],
    "devices": ["device_add", "device_del", "qom-list", "qom-get"],
    "exports": ["nbd_server_start", "nbd_server_add", "nbd_server_remove", "nbd_server_stop"],
    "guest_io": ["qemu-io"],
    "listing": ["info", "help"],
    "machine": [
        *("stop", "cont", "quit", "system_reset", "system_powerdown"),
        *("info status", "info name", "info uuid", "info kvm", "info version"),
    ],
    "media": ["block_resize", "eject", "change", "drive_add", "drive_del"],
    "migration": [
        *("migrate", "migrate_cancel", "migrate_continue", "migrate_incoming", "migrate_start_postcopy"),
        *("info migrate_capabilities", "info migrate_parameters", "info migrate"),
    ],
    "savevm": ["savevm", "loadvm", "delvm", "info snapshots"],
    "snapshots": ["snapshot_blkdev", "snapshot_blkdev_internal", "snapshot_delete_blkdev_internal"],
}
"""The modules that declare commands, each with their names."""

_PLACES = {name: module for module, names in MODULES.items() for name in names}


def _load(name: str) -> HmpCommand:
    import_module(f"{__package__}.{_PLACES[name]}")
    return DECLARED[name]


COMMANDS: Mapping[str, HmpCommand] = Lazy(_PLACES, _load)
"""All commands by name."""
