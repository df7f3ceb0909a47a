"""``qemu-img convert``, ``rebase`` and ``create``: what is copied, compressed or not, and what is shown of it."""

from __future__ import annotations

from qbitsim.images.store import ImageStore
from qbitsim.qemu_img.run import run

KILOBYTE = 1 << 10
CLUSTER = 64 * KILOBYTE


def test_a_compressed_cluster_reaches_from_one_source_into_the_next() -> None:
    images = ImageStore()
    for name, size, byte in (("a", CLUSTER + KILOBYTE, b"a"), ("b", 2 * CLUSTER, b"b")):
        images.create(name, "raw", size).write(0, byte * size)
    assert run(images, ["convert", "-c", "-f", "raw", "-O", "qcow2", "a", "b", "t"]) == (0, "")
    assert images.read_chain("t", 0, 3 * CLUSTER + KILOBYTE) == (b"a" * (CLUSTER + KILOBYTE) + b"b" * 2 * CLUSTER)
    assert images.lookup("t").host_offset(0) is None


def test_zeroes_that_are_to_be_written_are_compressed_cluster_by_cluster() -> None:
    images = ImageStore()
    images.create("a", "raw", 64 * CLUSTER)
    assert run(images, ["convert", "-c", "-S", "0", "-f", "raw", "-O", "qcow2", "a", "t"]) == (0, "")
    status, text = run(images, ["map", "--output=json", "t"])
    assert status == 0
    assert (
        f'"length": {64 * CLUSTER}, "depth": 0, "present": true, "zero": false, "data": true, "compressed": true'
        in text
    )


def test_the_progress_is_that_of_the_data() -> None:
    images = ImageStore()
    source = images.create("a", "qcow2", 1 << 30)
    for megabyte in (0, 2, 4, 600):
        source.write(megabyte << 20, b"x" * (1 << 20))
    status, text = run(images, ["convert", "-p", "-O", "qcow2", "a", "t"])
    assert status == 0
    assert text.split("\r") == [*(f"    ({done:.2f}/100%)" for done in (0, 25, 50, 75, 100, 100)), "\n"]


def test_steps_of_less_than_a_per_cent_are_not_shown() -> None:
    images = ImageStore()
    source = images.create("a", "qcow2", 400 * 2 * CLUSTER)
    for cluster in range(0, 800, 2):
        source.write(cluster * CLUSTER, b"x" * CLUSTER)
    _status, text = run(images, ["convert", "-p", "-O", "qcow2", "a", "t"])
    assert text.count("\r") < 105


def test_a_backing_file_needs_no_format_if_the_target_exists() -> None:
    images = ImageStore()
    images.create("base", "qcow2", CLUSTER)
    images.create("a", "qcow2", CLUSTER)
    images.create("t", "qcow2", CLUSTER, backing="base", backing_format="qcow2")
    assert run(images, ["convert", "-n", "-B", "base", "-O", "qcow2", "a", "t"]) == (0, "")


def test_a_new_image_may_have_a_backing_file_with_a_protocol() -> None:
    images = ImageStore()
    status, text = run(images, ["create", "-f", "qcow2", "-b", "null-co://", "-F", "raw", "t", "1M"])
    assert (status, text.partition(" backing_file=")[2].split()[0]) == (0, "null-co://")
    assert run(images, ["create", "-f", "qcow2", "-b", "nosuch://", "-F", "raw", "u", "1M"])[0] == 1


def test_its_size_is_that_of_the_backing_file() -> None:
    images = ImageStore()
    images.create("base", "raw", 3 * CLUSTER)
    name = 'json:{"driver": "raw", "file": {"driver": "blkdebug", "image": {"driver": "file", "filename": "base"}}}'
    assert run(images, ["create", "-q", "-f", "qcow2", "-b", name, "-F", "raw", "t"]) == (0, "")
    assert images.lookup("t").size == 3 * CLUSTER


def test_a_compressed_rebase_keeps_every_cluster() -> None:
    images = ImageStore()
    images.create("base", "qcow2", 8 * CLUSTER).write(0, b"b" * 4 * CLUSTER)
    images.create("a", "qcow2", 8 * CLUSTER, backing="base", backing_format="qcow2")
    assert run(images, ["rebase", "-c", "-f", "qcow2", "-b", "", "a"]) == (0, "")
    assert images.read_chain("a", 0, 5 * CLUSTER) == b"b" * 4 * CLUSTER + bytes(CLUSTER)
    status, text = run(images, ["check", "a"])
    assert (status, "100.00% compressed clusters" in text, "4/8" in text) == (0, True, True)
