"""Who may free clusters by zeroing them; the file's length afterwards is as measured on QEMU 7.2, 10.0 and 11.1."""

from __future__ import annotations

import pytest

from qbitsim.machine.machine import Machine

CLUSTER = 65536
FREED, KEPT = 6 * CLUSTER, 7 * CLUSTER
"""The file's length when a cluster was zeroed and another one is written: in its place, or behind it."""

FILTERS = {
    "copy-on-read": {"driver": "copy-on-read", "file": "a"},
    "raw": {"driver": "raw", "file": "a"},
    "quorum": {"driver": "quorum", "children": ["a"], "vote-threshold": 1},
    "blkdebug": {"driver": "blkdebug", "image": "a"},
    "blklogwrites": {"driver": "blklogwrites", "file": "a", "log": "log"},
}


def made(profile, **options):
    machine = Machine(profile)
    for name, kind in (("a.qcow2", "qcow2"), ("t.qcow2", "qcow2"), ("log.raw", "raw")):
        machine.images.create(name, kind, 16 * CLUSTER)
    file = {"driver": "file", "filename": "a.qcow2", "node-name": "f", "discard": "unmap"}
    machine.add_node({"driver": "qcow2", "node-name": "a", "file": file, "discard": "unmap"})
    machine.add_node({"driver": "file", "filename": "log.raw", "node-name": "log"})
    machine.add_node({"driver": "qcow2", "node-name": "t", "file": {"driver": "file", "filename": "t.qcow2"}})
    if options:
        machine.add_node({**options, "node-name": "top"})
    return machine


def length_after_zeroing(machine, node):
    user = machine.anonymous_drive()
    user.insert(machine.graph.nodes[node])
    user.write(0, b"1" * CLUSTER)
    user.write_zeroes(0, CLUSTER, unmap=True)
    user.write(2 * CLUSTER, b"1" * CLUSTER)
    user.flush()
    return machine.graph.nodes["f"].length


@pytest.mark.parametrize("profile", ["7.2", "10.0", "11.1"])
@pytest.mark.parametrize("name", FILTERS)
def test_a_filter_that_passes_discards_on_lets_zeroing_free_clusters_but_one(name, profile):
    machine = made(profile, **FILTERS[name], discard="unmap")
    assert length_after_zeroing(machine, "top") == (KEPT if name == "blklogwrites" else FREED)


@pytest.mark.parametrize(("profile", "length"), [("7.2", FREED), ("10.0", KEPT), ("11.1", KEPT)])
@pytest.mark.parametrize("name", ["copy-on-read", "raw", "quorum"])
def test_since_10_0_one_that_does_not_pass_them_on_keeps_what_is_below(name, profile, length):
    assert length_after_zeroing(made(profile, **FILTERS[name]), "top") == length


@pytest.mark.parametrize("profile", ["7.2", "10.0", "11.1"])
def test_the_filter_of_a_mirror_never_lets_clusters_go(profile):
    machine = made(profile)
    machine.qmp("blockdev-mirror", device="a", target="t", sync="none", job_id="j", filter_node_name="top")
    machine.run_until_idle()
    assert length_after_zeroing(machine, "top") == KEPT


@pytest.mark.parametrize(("profile", "length"), [("7.2", FREED), ("10.0", KEPT), ("11.1", KEPT)])
def test_the_filter_of_a_backup_lets_them_go_up_to_9_2(profile, length):
    machine = made(profile)
    machine.qmp("blockdev-backup", device="a", target="t", sync="none", job_id="j", filter_node_name="top")
    machine.run_until_idle()
    assert length_after_zeroing(machine, "top") == length


@pytest.mark.parametrize(("profile", "fails"), [("7.2", True), ("10.0", True), ("11.1", False)])
def test_a_write_in_a_new_cluster_does_not_read_a_hole_around_it_since_10_1(profile, fails):
    machine = Machine(profile)
    machine.images.create("base.raw", "raw", 16 * CLUSTER)
    machine.images.create("o.qcow2", "qcow2", 16 * CLUSTER)
    rule = {"event": "read_aio", "iotype": "read", "errno": 5, "once": False, "sector": 640}
    image = {"driver": "file", "filename": "base.raw"}
    backing = {"driver": "raw", "file": {"driver": "blkdebug", "image": image, "inject-error": [rule]}}
    file = {"driver": "file", "filename": "o.qcow2"}
    machine.add_node({"driver": "qcow2", "node-name": "o", "file": file, "backing": backing})
    user = machine.anonymous_drive()
    user.insert(machine.graph.nodes["o"])
    if fails:
        with pytest.raises(OSError, match=r"Input/output error"):
            user.write(365568, bytes(512))
    else:
        user.write(365568, b"1" * 512)
        assert machine.graph.nodes["o"].read(365056, 1536) == bytes(512) + b"1" * 512 + bytes(512)
