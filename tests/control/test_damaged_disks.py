"""Disks that cannot be, and files that are not left behind."""

from __future__ import annotations

import pytest

from qbitsim import Machine, QmpError


@pytest.mark.parametrize("size", [0, -65536, 1, 511, 1000, 65535, 4 << 20, 1 << 62])
def test_a_size_of_clusters_that_no_file_has_is_refused_and_nothing_is_made(size):
    machine = Machine("10.0", control=True)
    arguments = {"id": "d0", "size": 1 << 20, "cluster-size": size}
    with pytest.raises(
        QmpError,
        match=rf"^(invalid cluster_size {size}: |cluster_size={size}: give a power of two from 512 to 2097152 bytes)",
    ):
        machine.execute("x-qbitsim-add-disk", arguments)
    with pytest.raises(ValueError, match="cluster_size"):
        machine.add_disk("d0", size="1M", cluster_size=size)
    assert "d0.qcow2" not in machine.images
    machine.add_disk("d0", size="1M", cluster_size=512)


@pytest.mark.parametrize("name", ["json:{", "json:{}", "nonsense:x"])
@pytest.mark.parametrize(
    ("command", "member", "arguments"),
    [
        ("drive-backup", "target", {"sync": "full"}),
        ("drive-mirror", "target", {"sync": "full"}),
        ("blockdev-snapshot-sync", "snapshot-file", {}),
    ],
)
@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
def test_a_target_of_an_unknown_protocol_leaves_no_file(release, command, member, arguments, name):
    machine = Machine(release)
    machine.add_disk("d0", size="1M")
    with pytest.raises(QmpError, match=f"Unknown protocol '{name.partition(':')[0]}'"):
        machine.execute(command, {"device": "d0", member: name, **arguments})
    assert name not in machine.images
