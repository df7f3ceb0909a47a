"""Where clusters of a qcow2 file can be written compressed."""

from __future__ import annotations

import errno
import random

import pytest

from qbitsim.images.qcow2.packing import packed_length
from qbitsim.machine.machine import Machine

CLUSTER = 65536


@pytest.fixture
def machine() -> Machine:
    made = Machine()
    made.images.create("a.qcow2", "qcow2", 4 * CLUSTER + 512)
    made.add_drive(
        "d", made.add_node({"driver": "qcow2", "node-name": "n", "file": {"driver": "file", "filename": "a.qcow2"}})
    )
    return made


def refusal(machine: Machine, offset: int, data: bytes) -> int:
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        machine.drive("d").write(offset, data, compressed=True)
    assert caught.value.errno is not None
    return caught.value.errno


def test_a_cluster_is_written_compressed_once(machine: Machine) -> None:
    machine.drive("d").write(0, b"A" * CLUSTER, compressed=True)
    assert refusal(machine, 0, b"B" * CLUSTER) == errno.EIO
    assert machine.drive("d").read(0, CLUSTER) == b"A" * CLUSTER


def test_other_clusters_of_a_refused_request_are_written(machine: Machine) -> None:
    machine.drive("d").write(CLUSTER, b"A" * 512)
    assert refusal(machine, 0, b"B" * (3 * CLUSTER)) == errno.EIO
    assert machine.drive("d").read(0, CLUSTER) == b"B" * CLUSTER
    assert machine.drive("d").read(CLUSTER, 1024) == b"A" * 512 + bytes(512)
    assert machine.drive("d").read(2 * CLUSTER, CLUSTER) == b"B" * CLUSTER


def test_only_the_last_cluster_may_be_a_part_of_one(machine: Machine) -> None:
    assert refusal(machine, 512, b"A" * CLUSTER) == errno.EINVAL
    assert refusal(machine, 0, b"A" * 512) == errno.EINVAL
    machine.drive("d").write(4 * CLUSTER, b"A" * 512, compressed=True)
    assert machine.drive("d").read(4 * CLUSTER, 512) == b"A" * 512


def test_a_zeroed_cluster_keeps_its_place_unless_it_was_compressed(machine: Machine) -> None:
    drive = machine.drive("d")
    drive.write(0, b"A" * CLUSTER)
    drive.write(CLUSTER, b"A" * CLUSTER, compressed=True)
    drive.write_zeroes(0, 3 * CLUSTER)
    assert refusal(machine, 0, b"B" * CLUSTER) == errno.EIO
    drive.write(CLUSTER, b"B" * (2 * CLUSTER), compressed=True)
    assert drive.read(0, 3 * CLUSTER) == bytes(CLUSTER) + b"B" * (2 * CLUSTER)


def test_data_that_do_not_get_smaller_are_written_as_they_are(machine: Machine) -> None:
    noise = random.Random(1).randbytes(CLUSTER)
    assert packed_length(b"A" * CLUSTER) == 79
    assert packed_length(noise) is None
    machine.drive("d").write(0, b"A" * CLUSTER)
    machine.drive("d").write(0, noise, compressed=True)
    assert machine.drive("d").read(0, CLUSTER) == noise


def test_a_clone_of_the_image_knows_its_clusters(machine: Machine) -> None:
    machine.drive("d").write(0, b"A" * CLUSTER, compressed=True)
    twin = machine.images.lookup("a.qcow2").file.copy().image
    assert twin.layout.is_packed(0)
    machine.drive("d").write(0, b"B" * 512)
    assert (machine.images.lookup("a.qcow2").layout.is_packed(0), twin.layout.is_packed(0)) == (False, True)
