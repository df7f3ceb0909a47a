"""NBD exports as clients of the monitor see them; texts and orders as measured on QEMU 10.0 and 7.2."""

from __future__ import annotations

import pytest

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.machine.machine import Machine

ADDRESS = {"type": "unix", "data": {"path": "nbd.sock"}}


@pytest.fixture(params=["7.2", "10.0"])
def machine(request):
    made = Machine(request.param)
    made.add_disk("drive0", "1M", node_name="node0")
    for name in ("b0", "b1"):
        made.qmp("block-dirty-bitmap-add", node="node0", name=name)
    made.qmp("nbd-server-start", addr=ADDRESS)
    return made


def export(machine, identifier="e0", **more):
    return machine.qmp("block-export-add", type="nbd", id=identifier, **{"node_name": "node0", **more})


def refusal(machine, identifier="e9", **more):
    before = machine.qmp("query-block-exports"), machine.qmp("query-block")
    with pytest.raises(QmpError) as caught:
        export(machine, identifier, **more)
    assert (machine.qmp("query-block-exports"), machine.qmp("query-block")) == before
    return caught.value.desc


def busy(machine):
    bitmaps = machine.qmp("query-block")[0]["inserted"]["dirty-bitmaps"]
    return {bitmap["name"] for bitmap in bitmaps if bitmap["busy"]}


def deleted(machine):
    return [event["data"]["id"] for event in machine.events.read(0) if event["event"] == "BLOCK_EXPORT_DELETED"]


def test_a_bitmap_is_busy_while_it_is_exported(machine):
    export(machine, writable=True, bitmaps=["b0"])
    assert busy(machine) == {"b0"}
    assert refusal(machine, name="x", writable=True, bitmaps=["b0"]) == (
        "Bitmap 'b0' is currently in use by another operation and cannot be used"
    )
    machine.qmp("block-export-del", id="e0")
    assert busy(machine) == set()
    assert deleted(machine) == ["e0"]
    assert machine.qmp("query-block-exports") == []


def test_refusals(machine):
    export(machine, name="a")
    assert refusal(machine, "1x") == "Invalid block export id"
    assert refusal(machine, "e0") == "Block export id 'e0' is already in use"
    assert refusal(machine, name="a") == "NBD server already has export named 'a'"
    assert refusal(machine, node_name="zz") == "Cannot find device='' nor node-name='zz'"
    assert refusal(machine, iothread="io") == 'iothread "io" not found'
    assert refusal(machine, bitmaps=["zz"]) == "Bitmap 'zz' is not found"
    assert refusal(machine, bitmaps=["b0"]) == "Enabled bitmap 'b0' incompatible with readonly export"
    assert refusal(machine, bitmaps=[{"node": "zz", "name": "b0"}]) == "Node 'zz' not found"
    assert refusal(machine, name="n" * 4097).startswith("export name 'nnn")


def test_io_threads_of_exports():
    machine = Machine("10.0", machine_type="pc")
    machine.qmp("nbd-server-start", addr=ADDRESS)
    for name in ("t0", "t1"):
        machine.execute("object-add", {"qom-type": "iothread", "id": name})
    for name in ("free", "used"):
        machine.add_node({"driver": "null-co", "node-name": name})
    machine.execute("device_add", {"driver": "virtio-scsi", "id": "bus", "iothread": "t0"})
    machine.execute("device_add", {"driver": "scsi-hd", "id": "disk", "drive": "used", "share-rw": True})
    fixed = {"iothread": "t1", "fixed_iothread": True}
    export(machine, "e0", node_name="free", **fixed)
    assert refusal(machine, "e1", node_name="used", **fixed) == "Cannot change iothread of active block backend"
    export(machine, "e1", node_name="used", iothread="t1")
    export(machine, "e2", node_name="used", name="x", iothread="t0", fixed_iothread=True)
    assert refusal(machine, "e3", iothread="t2", node_name="free", name="y") == 'iothread "t2" not found'


def test_without_a_server_nothing_is_exported(machine):
    machine.qmp("nbd-server-stop")
    assert refusal(machine) == "NBD server not running"
    with pytest.raises(QmpError, match="NBD server not running"):
        machine.qmp("nbd-server-stop")


def test_a_second_server_is_refused(machine):
    with pytest.raises(QmpError, match="NBD server already running"):
        machine.qmp("nbd-server-start", addr=ADDRESS)


def test_a_server_on_another_kind_of_socket_is_refused(machine):
    machine.qmp("nbd-server-stop")
    with pytest.raises(UnsupportedError):
        machine.qmp("nbd-server-start", addr={"type": "vsock", "data": {"cid": "3", "port": "1"}})
    with pytest.raises(QmpError, match=r"^File descriptor named 'n' has not been found$"):
        machine.qmp("nbd-server-start", addr={"type": "fd", "data": {"str": "n"}})
    assert not machine.exports.running


def test_all_exports_go_with_the_server_in_the_order_of_the_release(machine):
    for name in ("e0", "e1", "e2"):
        export(machine, name, name=name)
    machine.qmp("nbd-server-stop")
    order = ["e0", "e1", "e2"]
    assert deleted(machine) == (order if machine.profile.name == "7.2" else order[::-1])


@pytest.mark.parametrize(("profile", "order"), [("7.2", ["e1", "e4", "e3", "e2"]), ("10.0", ["e4", "e3", "e2", "e1"])])
def test_an_export_below_a_throttle_node_goes_after_those_that_are_left(profile, order):
    """In 7.2 its node becomes quiet in a coroutine, and the others go while QEMU waits for that."""
    machine = Machine(profile)
    machine.images.create("plain.raw", "raw", 1 << 20)
    machine.add_disk("drive0", "1M", node_name="node0")
    machine.add_node({"driver": "raw", "node-name": "plain", "file": {"driver": "file", "filename": "plain.raw"}})
    machine.execute("object-add", {"qom-type": "throttle-group", "id": "tg"})
    machine.add_node({"driver": "throttle", "throttle-group": "tg", "node-name": "limited", "file": "node0"})
    machine.qmp("nbd-server-start", addr=ADDRESS)
    for name, node in (("e1", "plain"), ("e2", "node0"), ("e3", "limited"), ("e4", "plain")):
        export(machine, name, node_name=node, name=name)
    machine.qmp("quit")
    assert deleted(machine) == order


def test_nbd_server_add_goes_with_the_medium_of_the_drive(machine):
    export(machine)
    machine.qmp("nbd-server-add", device="drive0", name="x")
    assert [each["id"] for each in machine.qmp("query-block-exports")] == ["x", "e0"]
    machine.qmp("eject", device="drive0")
    assert deleted(machine) == ["x"]
    assert machine.qmp("query-block-exports") == [
        {"id": "e0", "type": "nbd", "node-name": "node0", "shutting-down": False}
    ]


def test_an_exported_node_cannot_be_resized(machine):
    export(machine)
    with pytest.raises(QmpError, match="unshared by an unnamed block device"):
        machine.qmp("block_resize", device="drive0", size=2 << 20)


def test_exports_go_when_the_machine_ends(machine):
    export(machine)
    machine.qmp("quit")
    assert [event["event"] for event in machine.events.read(0)][-2:] == ["SHUTDOWN", "BLOCK_EXPORT_DELETED"]


@pytest.mark.parametrize("steps", range(6))
def test_an_export_that_goes_while_a_job_ends_leaves_nothing_drained(machine, steps):
    machine.qmp("drive-backup", device="drive0", target="t.qcow2", sync="full", job_id="j")
    exported = machine.export_nbd("drive0")
    for _ in range(steps):
        machine.step()
    machine.exports.remove(exported)
    machine.run_until_idle()
    assert {node.name: node.quiesce for node in machine.graph.nodes.values()} == dict.fromkeys(machine.graph.nodes, 0)


@pytest.mark.parametrize("profile", ["10.0", "11.1"])
@pytest.mark.parametrize("end", ["cancel", "complete"])
def test_a_filter_that_goes_as_it_is_to_be_exported_is_refused(profile, end):
    machine = Machine(profile)
    machine.add_disk("drive0", "1M")
    machine.qmp("drive-mirror", device="drive0", target="t.qcow2", sync="full", job_id="j")
    machine.run_until_idle()
    machine.qmp(f"block-job-{end}", device="j")
    text = r"^Node '#block\d+' is gone, with the job that has just ended: QEMU may die of this$"
    with pytest.raises(QmpError, match=text):
        machine.export_nbd("drive0")
    assert machine.jobs.jobs == machine.exports.exports == []
    machine.export_nbd("drive0")
