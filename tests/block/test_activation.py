"""Images that a client gives away and takes back: ``active=off``, ``blockdev-set-active`` (10.0 and later)."""

from __future__ import annotations

import errno

import pytest

from qbitsim import Machine, QmpError


def activity(machine: Machine) -> dict[str, bool]:
    return {name: not node.inactive for name, node in machine.graph.nodes.items() if not node.auto_named}


def with_overlay(release: str = "11.1") -> Machine:
    """``base`` below ``top``, without a drive."""
    machine = Machine(release)
    for name in ("base", "top"):
        machine.images.create(name, "qcow2", 1 << 20)
    for name, backing in (("base", None), ("top", "base")):
        file = {"driver": "file", "filename": name}
        machine.qmp("blockdev-add", driver="qcow2", node_name=name, file=file, backing=backing)
    return machine


def test_a_node_takes_those_below_it_along_both_ways() -> None:
    machine = with_overlay()
    machine.qmp("blockdev-set-active", node_name="top", active=False)
    assert activity(machine) == {"base": False, "top": False}
    machine.qmp("blockdev-set-active", node_name="base", active=True)
    assert activity(machine) == {"base": True, "top": False}
    machine.qmp("blockdev-set-active", node_name="top", active=True)
    assert activity(machine) == {"base": True, "top": True}


def test_a_node_below_an_active_one_stays_active() -> None:
    machine = with_overlay()
    before = machine.state()
    with pytest.raises(QmpError, match=r"^Node has active parent node$"):
        machine.qmp("blockdev-set-active", node_name="base", active=False)
    assert machine.state() == before


def test_persistent_bitmaps_are_the_image_s_alone_while_it_is_inactive() -> None:
    machine = with_overlay()
    for name, persistent in (("kept", False), ("stored", True)):
        machine.qmp("block-dirty-bitmap-add", node="top", name=name, persistent=persistent)
    machine.qmp("human-monitor-command", command_line='qemu-io top "write -q 0 64k"')
    top = machine.graph.nodes["top"]
    machine.qmp("blockdev-set-active", node_name="top", active=False)
    assert [each.name for each in top.bitmaps] == ["kept"]
    machine.qmp("blockdev-set-active", node_name="top", active=True)
    assert {each.name: each.count for each in top.bitmaps} == {"kept": 65536, "stored": 65536}


def test_guests_and_jobs_are_refused_by_an_inactive_node() -> None:
    machine = Machine("11.1")
    disk = machine.add_disk("drive0", "1M", node_name="node0")
    machine.qmp("blockdev-set-active", node_name="node0", active=False)
    before = machine.state()
    with pytest.raises(OSError, match=r"Operation not permitted") as caught:
        disk.write(0, b"x")
    assert caught.value.errno == errno.EPERM
    for command, arguments, text in (
        ("block_resize", {"node-name": "node0", "size": 0}, "Permission 'resize' unavailable on inactive node"),
        (
            "blockdev-snapshot-internal-sync",
            {"device": "drive0", "name": "s"},
            "Block format 'qcow2' used by device 'drive0' does not support internal snapshots",
        ),
    ):
        with pytest.raises(QmpError) as refused:
            machine.execute(command, arguments)
        assert refused.value.desc == text
    assert (machine.state(), disk.read(0, 1)) == (before, b"\0")


def test_an_export_that_writes_stands_in_the_way_and_one_that_reads_does_not() -> None:
    machine = with_overlay()
    export = machine.export_nbd("base", writable=False)
    machine.qmp("blockdev-set-active", node_name="top", active=False)
    assert activity(machine) == {"base": False, "top": False}
    machine.exports.remove(export, hard=True)
    machine.run_until_idle()
    machine.qmp("blockdev-set-active", active=True)
    machine.export_nbd("top", writable=True)
    before = machine.state()
    with pytest.raises(QmpError, match=r"^Failed to inactivate all nodes: Operation not permitted$"):
        machine.qmp("blockdev-set-active", active=False)
    with pytest.raises(QmpError, match=r"^Failed to inactivate node: Operation not permitted$"):
        machine.qmp("blockdev-set-active", node_name="top", active=False)
    assert machine.state() == before


@pytest.mark.parametrize(("release", "reached"), [("10.0", False), ("11.1", True)])
def test_10_0_passes_over_nodes_that_nobody_uses(release: str, reached: bool) -> None:
    machine = with_overlay(release)
    machine.add_disk("drive0", "1M", node_name="used")
    machine.qmp("blockdev-set-active", active=False)
    assert activity(machine) == {"base": not reached, "top": not reached, "used": False}


def test_a_client_of_an_inactive_export_reads_and_nothing_else() -> None:
    machine = Machine("10.0")
    disk = machine.add_disk("drive0", "1M", node_name="node0")
    disk.write(0, b"abc")
    machine.qmp("blockdev-set-active", node_name="node0", active=False)
    address = {"type": "unix", "data": {"path": "nbd"}}
    machine.qmp("nbd-server-start", addr=address)
    machine.qmp("block-export-add", type="nbd", id="e", node_name="node0", writable=True, allow_inactive=True)
    with machine.connect_nbd("node0") as client:
        assert client.read(0, 3) == b"abc"
        for request in (
            lambda: client.write(0, b"x"),
            lambda: client.write_zeroes(0, 512),
            lambda: client.trim(0, 512),
            client.flush,
        ):
            with pytest.raises(OSError, match="export is inactive"):
                request()
    assert activity(machine) == {"node0": False}


def test_the_guest_going_on_takes_all_back() -> None:
    machine = with_overlay()
    machine.qmp("stop")
    machine.qmp("blockdev-set-active", active=False)
    machine.qmp("cont")
    assert activity(machine) == {"base": True, "top": True}


def test_7_2_does_not_know_it() -> None:
    with pytest.raises(QmpError, match=r"^The command blockdev-set-active has not been found"):
        Machine("7.2").execute("blockdev-set-active", {"active": True})
