"""The machines that the scenarios begin with."""

from __future__ import annotations

import pytest

from qbitsim import Machine

pytest.register_assert_rewrite("seen")

CLUSTER = 65536


@pytest.fixture(params=["7.2", "10.0"])
def machine(request: pytest.FixtureRequest) -> Machine:
    """Disk ``drive0`` of 1 MiB on ``node0`` with the bitmap ``b0``; the guest has written clusters 0, 2, 4 and 6."""
    machine = Machine(request.param)
    add_disk(machine, 0)
    return machine


@pytest.fixture(params=["7.2", "10.0"])
def two_disks(request: pytest.FixtureRequest) -> Machine:
    """The same disk twice: ``drive0`` on ``node0`` and ``drive1`` on ``node1``, each with a bitmap ``b0``."""
    machine = Machine(request.param)
    add_disk(machine, 0)
    add_disk(machine, 1)
    return machine


def add_disk(machine: Machine, number: int) -> None:
    """One more of these disks."""
    drive = machine.add_disk(f"drive{number}", "1M", node_name=f"node{number}")
    machine.qmp("block-dirty-bitmap-add", node=f"node{number}", name="b0")
    for cluster in (0, 2, 4, 6):
        drive.write(cluster * CLUSTER, b"A" * CLUSTER)
