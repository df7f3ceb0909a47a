"""The commands of QEMU that qbitsim does not emulate, so that nobody takes their absence for QEMU's.

The names are those that query-commands of QEMU 7.2, 10.0 and 11.1 (x86_64) lists; the releases are from the QMP
reference manual. Commands that are declared here one day simply win over this table.
"""

from __future__ import annotations

_SINCE = {
    "0.13": "device_add",
    "0.14": (
        "add_client client_migrate_info device_del expire_password inject-nmi memsave "
        "pmemsave query-mice query-pci query-spice "
        "screendump set_link set_password"
    ),
    "1.1": "change-vnc-password qom-list-types system_wakeup xen-save-devices-state",
    "1.2": "device-list-properties dump-guest-memory qom-get qom-list qom-set",
    "1.3": "send-key xen-set-global-dirty-log",
    "1.4": "chardev-add chardev-remove ringbuf-read ringbuf-write",
    "1.6": "query-rx-filter",
    "2.0": "query-chardev-backends query-dump-guest-memory-capability",
    "2.1": "query-acpi-ospm-status query-memdev query-memory-devices rtc-reset-reinjection",
    "2.2": "trace-event-get-state trace-event-set-state",
    "2.3": "query-vnc-servers",
    "2.4": "query-rocker query-rocker-of-dpa-flows query-rocker-of-dpa-groups query-rocker-ports",
    "2.5": "blockdev-change-medium blockdev-close-tray blockdev-open-tray",
    "2.6": "input-send-event query-dump",
    "2.7": "xen-load-devices-state",
    "2.8": "x-colo-lost-heartbeat",
    "2.9": "query-vm-generation-id query-xen-replication-status xen-colo-do-checkpoint xen-set-replication",
    "2.10": "chardev-change chardev-send-break",
    "2.11": "watchdog-set-action",
    "2.12": (
        "blockdev-insert-medium blockdev-remove-medium qom-list-properties query-sev query-sev-capabilities "
        "query-sev-launch-measure x-blockdev-set-iothread"
    ),
    "3.0": "set-numa-node x-exit-preconfig",
    "3.1": "query-colo-status query-display-options",
    "4.0": "announce-self",
    "5.2": "calc-dirty-rate query-dirty-rate query-replay replay-break replay-delete-break replay-seek",
    "6.0": "display-reload set-action sev-inject-launch-secret",
    "6.1": "query-sev-attestation-report",
    "6.2": (
        "query-sgx query-sgx-capabilities x-query-irq x-query-jit x-query-numa x-query-opcount x-query-profile "
        "x-query-ramblock x-query-rdma x-query-roms x-query-usb"
    ),
    "7.1": (
        "cancel-vcpu-dirty-limit display-update query-stats query-stats-schemas query-vcpu-dirty-limit "
        "set-vcpu-dirty-limit"
    ),
    "7.2": (
        "dumpdtb x-query-virtio x-query-virtio-queue-element x-query-virtio-queue-status x-query-virtio-status "
        "x-query-virtio-vhost-queue-status"
    ),
    "8.0": (
        "cxl-inject-correctable-error cxl-inject-uncorrectable-errors query-audiodevs query-cryptodev "
        "query-migrationthreads xen-event-inject xen-event-list"
    ),
    "8.1": ("cxl-inject-dram-event cxl-inject-general-media-event cxl-inject-memory-module-event cxl-inject-poison"),
    "8.2": "query-hv-balloon-status-report",
    "9.0": "request-ebpf",
    "9.1": "cxl-add-dynamic-capacity cxl-release-dynamic-capacity x-query-interrupt-controllers",
    "9.2": "device-sync-config",
    "10.1": (
        "dump-skeys qom-list-get query-cpu-model-baseline query-cpu-model-comparison query-gic-capabilities "
        "query-s390x-cpu-polarization set-cpu-topology x-accel-stats"
    ),
    "10.2": "inject-ghes-v2-error query-accelerators query-firmware-log",
}
_UNTIL = {
    "query-migrationthreads": "11.0",
    "x-query-opcount": "10.1",
    "x-query-profile": "8.1",
    "x-query-rdma": "9.1",
}

NOT_EMULATED: dict[str, tuple[str, str | None]] = {
    name: (since, _UNTIL.get(name)) for since, names in _SINCE.items() for name in names.split()
}
"""Name -> the first release that has it and the first one that has not."""
