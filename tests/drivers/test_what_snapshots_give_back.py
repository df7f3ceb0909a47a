"""Clusters of a qcow2 file that internal snapshots give back are discarded; measured on QEMU 11.1, 10.0 and 7.2."""

from __future__ import annotations

import pytest

from qbitsim.machine.machine import Machine

UNIT = 65536


def machine(release: str) -> Machine:
    made = Machine(release)
    made.images.create("a.qcow2", "qcow2", 16 * UNIT)
    node = made.open_file("a.qcow2", {"driver": "qcow2", "node-name": "node0"})
    made.add_drive("drive0", node)
    return made


@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
def test_discards_after_each_step(release):
    vm = machine(release)
    drive = vm.drive("drive0")

    def discarded() -> tuple[int, int]:
        stats = vm.qmp("query-blockstats", query_nodes=True)
        specific = next(each["driver-specific"] for each in stats if "driver-specific" in each)
        return specific["discard-nb-ok"], specific["discard-bytes-ok"] // UNIT

    def take(name):
        vm.qmp("blockdev-snapshot-internal-sync", device="drive0", name=name)

    def delete(name):
        vm.qmp("blockdev-snapshot-delete-internal-sync", device="drive0", name=name)

    def hmp(line):
        assert vm.qmp("human-monitor-command", command_line=line) == ""

    seen = []
    for action, argument in (
        (lambda _: drive.write(0, b"a" * 2 * UNIT), ""),
        (take, "a"),
        (take, "b"),
        (lambda _: [drive.write(cluster * UNIT, b"b" * UNIT) for cluster in (0, 3, 4)], ""),
        (take, "c"),
        (lambda _: drive.write_zeroes(3 * UNIT, 2 * UNIT), ""),
        (delete, "c"),
        (delete, "a"),
        (hmp, "savevm v1"),
        (lambda _: [drive.write(cluster * UNIT, b"c" * UNIT) for cluster in (0, 8, 12)], ""),
        (hmp, "loadvm v1"),
        (hmp, "savevm v1"),
        (hmp, "delvm v1"),
        (delete, "b"),
    ):
        action(argument)
        seen.append(discarded())
    assert seen == [
        *((0, 0), (0, 0), (1, 1), (1, 1), (2, 2), (2, 2), (5, 5)),
        *((7, 7), (8, 8), (8, 8), (10, 13), (13, 16), (17, 20), (20, 24)),
    ]
