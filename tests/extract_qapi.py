"""Makes tests/data/qapi-RELEASE.json.gz: what a real QEMU says about the commands and events that qbitsim offers.

    python tests/extract_qapi.py 10.0 < reply-to-query-qmp-schema.json
    python tests/extract_qapi.py 7.2 < ...

The input is the list that query-qmp-schema returned. The output has the entries of the
commands and events named in OFFERED and of all types that these refer to, unchanged and in
QEMU's order. test_introspect_against_qemu.py compares qbitsim with it.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path

OFFERED = [
    "qmp_capabilities",
    "query-version",
    "query-status",
    "query-commands",
    "query-qmp-schema",
    "query-name",
    "query-uuid",
    "query-block",
    "query-named-block-nodes",
    "query-blockstats",
    "query-jobs",
    "query-block-jobs",
    "stop",
    "cont",
    "quit",
    "human-monitor-command",
    "system_reset",
    "system_powerdown",
    "migrate",
    "migrate-incoming",
    "migrate_cancel",
    "migrate-continue",
    "migrate-start-postcopy",
    "migrate-pause",
    "migrate-recover",
    "query-kvm",
    "query-yank",
    "yank",
    "eject",
    "block-dirty-bitmap-add",
    "block-dirty-bitmap-remove",
    "block-dirty-bitmap-clear",
    "block-dirty-bitmap-enable",
    "block-dirty-bitmap-disable",
    "block-dirty-bitmap-merge",
    "x-debug-block-dirty-bitmap-sha256",
    "drive-backup",
    "blockdev-backup",
    "transaction",
    "job-pause",
    "job-resume",
    "job-cancel",
    "job-complete",
    "job-finalize",
    "job-dismiss",
    "block-job-pause",
    "block-job-resume",
    "block-job-cancel",
    "block-job-complete",
    "block-job-finalize",
    "block-job-dismiss",
    "block-job-set-speed",
    "block-job-change",
    "blockdev-add",
    "blockdev-set-active",
    "blockdev-del",
    "blockdev-reopen",
    "blockdev-snapshot",
    "blockdev-snapshot-sync",
    "blockdev-snapshot-internal-sync",
    "blockdev-snapshot-delete-internal-sync",
    "object-add",
    "object-del",
    "block_resize",
    "block-stream",
    "block-commit",
    "blockdev-mirror",
    "drive-mirror",
    "block_set_io_throttle",
    "nbd-server-start",
    "nbd-server-stop",
    "nbd-server-add",
    "nbd-server-remove",
    "block-export-add",
    "block-export-del",
    "query-block-exports",
    "getfd",
    "closefd",
    "add-fd",
    "remove-fd",
    "query-fdsets",
    "query-iothreads",
    "query-memory-size-summary",
    "query-hotpluggable-cpus",
    "query-target",
    "query-machines",
    "query-cpu-definitions",
    "query-cpu-model-expansion",
    "query-command-line-options",
    "netdev_add",
    "netdev_del",
    "query-balloon",
    "balloon",
    "query-vnc",
    "query-current-machine",
    "query-cpus-fast",
    "query-migrate-parameters",
    "migrate-set-parameters",
    "query-migrate-capabilities",
    "migrate-set-capabilities",
    "query-migrate",
    "query-tpm",
    "query-tpm-types",
    "query-tpm-models",
    "query-chardev",
    "x-blockdev-change",
    "block-set-write-threshold",
    "x-blockdev-amend",
    "blockdev-create",
    "x-debug-query-block-graph",
    "change-backing-file",
    "block-latency-histogram-set",
    "query-pr-managers",
    "snapshot-save",
    "snapshot-load",
    "snapshot-delete",
    "device_add",
    "device_del",
    "device-list-properties",
    "x-blockdev-set-iothread",
    "qom-list",
    "qom-get",
    "qom-set",
    "qom-list-types",
    "qom-list-properties",
    "blockdev-open-tray",
    "blockdev-close-tray",
    "blockdev-insert-medium",
    "blockdev-remove-medium",
    "blockdev-change-medium",
    "MIGRATION",
    "MIGRATION_PASS",
    "JOB_STATUS_CHANGE",
    "BLOCK_JOB_COMPLETED",
    "BLOCK_JOB_CANCELLED",
    "BLOCK_JOB_ERROR",
    "BLOCK_JOB_READY",
    "BLOCK_JOB_PENDING",
    "BLOCK_EXPORT_DELETED",
    "SHUTDOWN",
    "POWERDOWN",
    "RESET",
    "STOP",
    "RESUME",
    "BLOCK_WRITE_THRESHOLD",
    "DEVICE_DELETED",
    "DEVICE_TRAY_MOVED",
    "BLOCK_IO_ERROR",
]


def references(entry):
    """The names of the types that an entry mentions."""
    yield from (entry[key] for key in ("arg-type", "ret-type", "element-type") if key in entry)
    for part in (*entry.get("members", ()), *entry.get("variants", ())):
        if "type" in part:
            yield part["type"]


def reachable(schema):
    """The entries of what is offered and of the types it needs, in the order of ``schema``."""
    by_name = {entry["name"]: entry for entry in schema}
    todo = [name for name in OFFERED if name in by_name]
    wanted = set()
    while todo:
        name = todo.pop()
        if name not in wanted:
            wanted.add(name)
            todo.extend(references(by_name[name]))
    return [entry for entry in schema if entry["name"] in wanted]


def main():
    """Reads the schema, writes the file."""
    target = Path(__file__).parent / "data" / f"qapi-{sys.argv[1]}.json.gz"
    text = json.dumps(reachable(json.load(sys.stdin)), separators=(",", ":"))
    target.write_bytes(gzip.compress(text.encode(), mtime=0))


if __name__ == "__main__":
    main()
