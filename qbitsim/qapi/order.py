"""In which order QEMU lists what it offers.

query-qmp-schema goes through QEMU's schema modules (qapi/qapi-schema.json includes them);
query-commands lists the same commands backwards, because it puts each one in front
(monitor/qmp-cmds-control.c). The actions of ``transaction`` are sorted by name except that
the bitmap actions come in the order in which they were invented (qapi/transaction.json).

What is not in these tables is ours and comes last.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from qbitsim.profiles import Profile

_RUN_STATE = "query-status SHUTDOWN POWERDOWN RESET STOP RESUME"
_JOB = "JOB_STATUS_CHANGE job-pause job-resume job-cancel job-complete job-dismiss job-finalize query-jobs"
_ACCELERATOR = "query-kvm"
_BLOCK = """
    query-pr-managers eject blockdev-open-tray blockdev-close-tray blockdev-remove-medium blockdev-insert-medium
    blockdev-change-medium DEVICE_TRAY_MOVED block_set_io_throttle block-latency-histogram-set
    query-block query-blockstats query-block-jobs block_resize blockdev-snapshot-sync blockdev-snapshot
    change-backing-file block-commit drive-backup blockdev-backup query-named-block-nodes x-debug-query-block-graph
    drive-mirror
    block-dirty-bitmap-add block-dirty-bitmap-remove block-dirty-bitmap-clear
    block-dirty-bitmap-enable block-dirty-bitmap-disable block-dirty-bitmap-merge
    x-debug-block-dirty-bitmap-sha256 blockdev-mirror block-stream block-job-set-speed
    block-job-cancel block-job-pause block-job-resume block-job-complete block-job-dismiss
    block-job-finalize block-job-change blockdev-add blockdev-reopen blockdev-del blockdev-set-active blockdev-create
    x-blockdev-amend BLOCK_IO_ERROR BLOCK_JOB_COMPLETED BLOCK_JOB_CANCELLED BLOCK_JOB_ERROR BLOCK_JOB_READY
    BLOCK_JOB_PENDING BLOCK_WRITE_THRESHOLD block-set-write-threshold x-blockdev-change x-blockdev-set-iothread
    blockdev-snapshot-internal-sync blockdev-snapshot-delete-internal-sync
"""
_EXPORT = """
    nbd-server-start nbd-server-add nbd-server-remove nbd-server-stop
    block-export-add block-export-del BLOCK_EXPORT_DELETED query-block-exports
"""
_REST = """
    query-chardev netdev_add netdev_del query-tpm-models query-tpm-types query-tpm query-vnc
    query-migrate migrate-set-capabilities query-migrate-capabilities migrate-set-parameters query-migrate-parameters
    migrate-start-postcopy MIGRATION MIGRATION_PASS migrate_cancel migrate-continue migrate migrate-incoming
    migrate-recover migrate-pause snapshot-save snapshot-load snapshot-delete
    transaction qmp_capabilities query-version query-commands quit
    query-qmp-schema qom-list qom-get qom-set qom-list-types qom-list-properties object-add object-del
    device-list-properties device_add device_del DEVICE_DELETED query-cpus-fast query-machines query-current-machine
    query-target query-uuid system_reset system_powerdown query-kvm query-hotpluggable-cpus balloon query-balloon
    query-memory-size-summary query-cpu-model-expansion query-cpu-definitions yank query-yank query-name
    query-iothreads stop cont human-monitor-command getfd closefd add-fd
    remove-fd query-fdsets query-command-line-options
"""
_ACTIONS = """
    abort block-dirty-bitmap-add block-dirty-bitmap-remove block-dirty-bitmap-clear
    block-dirty-bitmap-enable block-dirty-bitmap-disable block-dirty-bitmap-merge
    blockdev-backup blockdev-snapshot blockdev-snapshot-internal-sync blockdev-snapshot-sync drive-backup
"""


def schema_order(names: Iterable[str], profile: Profile) -> list[str]:
    """Names of commands and events in the order of query-qmp-schema."""
    modules = [_RUN_STATE, _JOB, _BLOCK, _EXPORT] if profile.job_schema_first else [_RUN_STATE, _BLOCK, _JOB, _EXPORT]
    if profile.kvm_schema_first:
        modules.insert(modules.index(_BLOCK), _ACCELERATOR)
    return _ordered(names, " ".join([*modules, _REST]).split())


def action_order(names: Iterable[str]) -> list[str]:
    """Names of actions in the order of QAPI's TransactionActionKind."""
    return _ordered(names, _ACTIONS.split())


def driver_order(names: Iterable[str]) -> list[str]:
    """Names of block drivers in the order of QAPI's BlockdevDriver: the alphabet's, but for one that follows ``file``.

    The branches of BlockdevOptions are in the order of the alphabet.
    """
    return sorted(names, key=lambda name: ("file", name) if name == "snapshot-access" else (name, ""))


def _ordered(names: Iterable[str], table: list[str]) -> list[str]:
    places = {name: place for place, name in reversed([*enumerate(table)])}
    return sorted(names, key=lambda name: places.get(name, len(places)))
