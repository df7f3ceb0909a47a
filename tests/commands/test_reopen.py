"""blockdev-reopen; texts and rules as measured on QEMU 10.0 and 7.2."""

from __future__ import annotations

import pytest

from qbitsim.errors import QmpError
from qbitsim.machine.machine import Machine

OPTIONS = {"driver": "qcow2", "node-name": "n0", "file": {"driver": "file", "filename": "n0.qcow2"}}


@pytest.fixture
def machine():
    made = Machine()
    for name in ("n0", "other"):
        made.images.create(f"{name}.qcow2", "qcow2", 1 << 20)
    made.add_node(dict(OPTIONS))
    return made


def node(machine, name="n0"):
    return next(info for info in machine.qmp("query-named-block-nodes") if info["node-name"] == name)


def reopen(machine, **changes):
    options = {**OPTIONS, **{key.replace("_", "-"): value for key, value in changes.items()}}
    return machine.execute("blockdev-reopen", {"options": [options]})


def refusal(machine, **changes):
    before = machine.qmp("query-named-block-nodes")
    with pytest.raises(QmpError) as caught:
        reopen(machine, **changes)
    assert machine.qmp("query-named-block-nodes") == before
    return caught.value.desc


def test_read_only_makes_persistent_bitmaps_readonly_and_back(machine):
    machine.qmp("block-dirty-bitmap-add", node="n0", name="p0", persistent=True)
    machine.qmp("block-dirty-bitmap-add", node="n0", name="t0")
    reopen(machine, read_only=True)
    assert node(machine)["ro"]
    assert [bitmap.name for bitmap in machine.images.lookup("n0.qcow2").bitmaps] == ["p0"]
    with pytest.raises(QmpError, match="Bitmap 'p0' is readonly and cannot be modified"):
        machine.qmp("block-dirty-bitmap-clear", node="n0", name="p0")
    machine.qmp("block-dirty-bitmap-clear", node="n0", name="t0")
    reopen(machine)
    machine.qmp("block-dirty-bitmap-clear", node="n0", name="p0")
    assert not node(machine)["ro"]


def test_what_cannot_change_is_named(machine):
    assert refusal(machine, driver="raw") == "Cannot change the option 'driver'"
    assert refusal(machine, file={"driver": "file", "filename": "other.qcow2"}) == "Cannot change the option 'filename'"
    assert refusal(machine, force_share=True) == "Cannot change the option 'force-share'"
    assert refusal(machine, backing="nope") == "Cannot find device='' nor node-name='nope'"
    assert refusal(machine, backing="n0") == "Making 'n0' a backing child of 'n0' would create a cycle"
    assert (
        refusal(machine, detect_zeroes="unmap")
        == "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap"
    )


def test_options_must_name_a_node(machine):
    with pytest.raises(QmpError, match="node-name not specified"):
        machine.execute("blockdev-reopen", {"options": [{"driver": "null-co"}]})
    with pytest.raises(QmpError, match="Failed to find node with node-name='zz'"):
        machine.execute("blockdev-reopen", {"options": [{"driver": "null-co", "node-name": "zz"}]})


def test_a_writer_keeps_a_node_from_becoming_read_only(machine):
    machine.qmp("block-dirty-bitmap-add", node="n0", name="p0", persistent=True)
    drive = machine.add_drive("drive0", machine.graph.nodes["n0"])
    drive.require(2)
    refused = why_not(machine, {**OPTIONS, "read-only": True})
    assert refused == "Read-only block node 'n0' cannot support read-write users"
    assert not node(machine)["ro"]


def test_an_option_without_a_value_goes_back_to_its_default_or_is_refused(machine):
    machine.add_node({"driver": "null-co", "node-name": "nul", "size": 65536})
    with pytest.raises(QmpError, match="Option 'size' cannot be reset to its default value"):
        machine.execute("blockdev-reopen", {"options": [{"driver": "null-co", "node-name": "nul"}]})
    reopen(machine, detect_zeroes="on")
    assert node(machine)["detect_zeroes"] == "on"
    reopen(machine)
    assert node(machine)["detect_zeroes"] == "off"


def test_a_backing_file_can_be_given_and_taken(machine):
    machine.images.create("ov.qcow2", "qcow2", 1 << 20)
    overlay = {"driver": "qcow2", "node-name": "ov", "file": {"driver": "file", "filename": "ov.qcow2"}}
    machine.add_node({**overlay, "backing": None})
    machine.execute("blockdev-reopen", {"options": [{**overlay, "backing": "n0"}]})
    assert node(machine, "ov")["backing_file"] == "n0.qcow2"
    with pytest.raises(QmpError, match="backing is missing for 'ov'"):
        machine.execute("blockdev-reopen", {"options": [overlay]})
    machine.execute("blockdev-reopen", {"options": [{**overlay, "backing": None}]})
    assert "backing_file" not in node(machine, "ov")


def test_one_refused_node_keeps_all_as_they_were(machine):
    machine.add_node({"driver": "null-co", "node-name": "nul", "size": 65536})
    bad = {"driver": "null-co", "node-name": "nul", "size": 1}
    with pytest.raises(QmpError, match="Cannot change the option 'size'"):
        machine.execute("blockdev-reopen", {"options": [{**OPTIONS, "read-only": True}, bad]})
    assert not node(machine)["ro"]


def test_a_read_only_layer_with_bitmaps_to_store_cannot_be_reopened_read_only():
    """There are such bitmaps up to 10.0, which cannot be stored (qcow2_store_persistent_dirty_bitmaps)."""
    machine = Machine("10.0")
    machine.images.create("a", "qcow2", 1 << 20)
    machine.add_node({"driver": "file", "node-name": "f", "filename": "a", "read-only": True})
    options = {"driver": "qcow2", "node-name": "n", "file": "f", "read-only": True}
    machine.add_node(options)
    machine.qmp("block-dirty-bitmap-add", node="n", name="b", persistent=True)
    with pytest.raises(QmpError, match=r"^No write access$"):
        machine.qmp("blockdev-reopen", options=[{**options, "backing": "n"}])


@pytest.fixture
def chain():
    """Two layers, ``top`` above ``bottom``, each with a file of a name; those of ``bottom`` are read-only."""
    made = Machine()
    made.images.create("bottom.qcow2", "qcow2", 1 << 20)
    made.images.create("top.qcow2", "qcow2", 1 << 20, backing="bottom.qcow2", backing_format="qcow2")
    made.images.create("kept.qcow2", "qcow2", 1 << 20)
    layers = [{"driver": "qcow2", "node-name": name, "file": layer_file(name)} for name in ("top", "bottom")]
    made.add_node({**layers[0], "backing": layers[1]})
    made.add_node({"driver": "qcow2", "node-name": "kept", "file": layer_file("kept")})
    return made


def layer_file(name):
    return {"driver": "file", "node-name": f"{name}-file", "filename": f"{name}.qcow2"}


def test_users_that_disagree_are_found_before_a_child_that_is_reopened_too(chain):
    """The file of ``bottom`` stays read-only, which is found later than what is wrong with the new backing file."""
    chain.images.create("lower.qcow2", "qcow2", 1 << 20)
    chain.add_node({"driver": "copy-before-write", "node-name": "cbw", "file": "kept", "target": "kept"})
    options = {"driver": "qcow2", "node-name": "bottom", "file": "bottom-file", "backing": "cbw"}
    with pytest.raises(QmpError) as caught:
        chain.execute("blockdev-reopen", {"options": [options]})
    assert caught.value.desc == (
        "Permission conflict on node 'kept': permissions 'write' are both required by node 'cbw' (uses node 'kept' "
        "as 'target' child) and unshared by node 'cbw' (uses node 'kept' as 'file' child)."
    )


def test_the_filter_of_a_commit_is_not_taken_from_its_job(chain):
    """QEMU dies of it."""
    chain.images.create("over.qcow2", "qcow2", 1 << 20, backing="top.qcow2", backing_format="qcow2")
    chain.add_node({"driver": "qcow2", "node-name": "over", "file": layer_file("over"), "backing": "top"})
    chain.qmp("block-commit", job_id="c", device="over", top_node="top", filter_node_name="f", auto_finalize=False)
    before = chain.qmp("query-named-block-nodes")
    options = {"driver": "qcow2", "node-name": "over", "file": "over-file", "backing": "bottom"}
    with pytest.raises(QmpError) as caught:
        chain.execute("blockdev-reopen", {"options": [options]})
    assert caught.value.desc == "qbitsim does not emulate taking 'f' from the job that needs it: real QEMU crashes"
    assert chain.qmp("query-named-block-nodes") == before


@pytest.mark.parametrize(
    ("release", "text"),
    [
        ("7.2", "Block node is read-only"),
        ("10.0", "Read-only block node 'base' cannot support read-write users"),
    ],
)
def test_the_first_node_that_cannot_be_written_is_named(release, text):
    """The file of ``middle`` stays read-only, its backing file becomes it: newest children come first, then last."""
    made = Machine(release)
    below = None
    for name in ("base", "middle", "top"):
        header = {} if below is None else {"backing": below, "backing_format": "qcow2"}
        made.images.create(f"{name}.qcow2", "qcow2", 1 << 20, **header)
        below = f"{name}.qcow2"
    layers = [{"driver": "qcow2", "node-name": name, "file": layer_file(name)} for name in ("top", "middle", "base")]
    made.add_drive("drive0", made.add_node({**layers[0], "backing": {**layers[1], "backing": layers[2]}}))
    made.qmp("block-commit", device="drive0")
    made.run_until_idle()
    made.execute("blockdev-reopen", {"options": [{"driver": "qcow2", "node-name": "base", "file": "base-file"}]})
    options = {"driver": "qcow2", "node-name": "middle", "file": "middle-file", "backing": "base"}
    with pytest.raises(QmpError) as caught:
        made.execute("blockdev-reopen", {"options": [options]})
    assert caught.value.desc == text


def test_qemu_io_changes_some_options_of_a_node_or_of_one_below(machine):
    machine.images.create("top.qcow2", "qcow2", 1 << 20, backing="other.qcow2", backing_format="qcow2")
    machine.add_node({"driver": "qcow2", "node-name": "top", "file": {"driver": "file", "filename": "top.qcow2"}})
    backing = machine.graph.nodes["top"].child("backing").node.name

    def say(command):
        return machine.qmp("human-monitor-command", command_line=f'qemu-io top "reopen -o {command}"')

    assert say("backing.detect-zeroes=on") == ""
    assert say("detect-zeroes=on,lazy-refcounts=on") == ""
    assert [node(machine, name)["detect_zeroes"] for name in (backing, "top")] == ["on", "on"]
    before = machine.qmp("query-named-block-nodes")
    assert say("backing.node-name=x") == "Cannot change the option 'node-name'\r\n"
    assert say("read-only=perhaps") == "Parameter 'read-only' expects 'on' or 'off'\r\n"
    assert machine.qmp("query-named-block-nodes") == before
    assert say("file.driver=file") == ""
    assert node(machine, "top")["detect_zeroes"] == "on"


def test_caches_that_do_not_fit_are_refused(machine):
    assert refusal(machine, l2_cache_entry_size=128 << 10) == (
        "L2 cache entry size must be a power of two between 512 and the cluster size (65536)"
    )
    assert refusal(machine, l2_cache_size=1 << 20, cache_size=1 << 19) == "l2-cache-size may not exceed cache-size"
    reopen(machine, l2_cache_size=4 << 20, refcount_cache_size=4 << 20, l2_cache_entry_size=32 << 10)


def opened_with_its_backing_file(machine):
    backing = {
        "driver": "qcow2",
        "node-name": "b",
        "file": {"driver": "file", "filename": "other.qcow2"},
        "backing": None,
    }
    machine.images.create("top.qcow2", "qcow2", 1 << 20, backing="other.qcow2", backing_format="qcow2")
    file = {"driver": "file", "filename": "top.qcow2"}
    options = {"driver": "qcow2", "node-name": "top", "file": file, "backing": backing}
    machine.add_node(options)
    return options


def why_not(machine, options):
    with pytest.raises(QmpError) as caught:
        machine.execute("blockdev-reopen", {"options": [options]})
    return caught.value.desc


def test_options_of_a_backing_file_that_is_gone_cannot_change(machine):
    options = opened_with_its_backing_file(machine)
    machine.qmp("block-stream", device="top", job_id="j")
    machine.run_until_idle()
    assert why_not(machine, options) == "Cannot change the option 'backing.driver'"
    machine.execute("blockdev-reopen", {"options": [{**options, "backing": None}]})


def test_the_filter_of_a_job_hides_the_options_of_the_backing_file(machine):
    options = opened_with_its_backing_file(machine)
    machine.qmp("block-stream", device="b", job_id="j", filter_node_name="cor", auto_finalize=False)
    assert why_not(machine, options).startswith("Cannot change the option 'backing.")
    machine.execute("blockdev-reopen", {"options": [{**options, "backing": None}]})


def layers(machine):
    """Three layers, the lowest of which was opened with the one in the middle."""
    for name in ("top", "mid", "low"):
        machine.images.create(f"{name}.qcow2", "qcow2", 1 << 20)

    def of_file(name, **more):
        return {"driver": "qcow2", "node-name": name, "file": {"driver": "file", "filename": f"{name}.qcow2"}, **more}

    machine.add_node(of_file("top", backing=of_file("mid", backing=of_file("low"))))
    return of_file


def test_a_layer_that_comes_with_its_parent_may_have_lost_its_backing_file(machine):
    of_file = layers(machine)
    machine.qmp("block-stream", device="mid", job_id="j")
    machine.run_until_idle()
    machine.execute("blockdev-reopen", {"options": [of_file("top", backing="mid", discard="unmap")]})
    assert (machine.graph.nodes["top"].unmap, "low" in machine.graph.nodes) == (True, False)


def test_a_layer_that_was_opened_by_itself_stays_writable_below_a_stream(machine):
    of_file = layers(machine)
    machine.add_node({"driver": "null-co", "node-name": "own", "size": 1 << 20, "read-zeroes": True})
    machine.execute("blockdev-reopen", {"options": [of_file("low", backing="own", **{"read-only": False})]})
    machine.qmp("block-stream", device="mid", job_id="j", bottom="low")
    machine.run_until_idle()
    machine.execute("blockdev-reopen", {"options": [of_file("top", backing="mid")]})
    assert machine.graph.nodes["mid"].backing is machine.graph.nodes["own"]
    assert not node(machine, "own")["ro"]


def test_a_reopening_that_is_refused_late_leaves_persistent_bitmaps_readonly(machine):
    machine.qmp("block-dirty-bitmap-add", node="n0", name="p0", persistent=True)
    refused = why_not(machine, {**OPTIONS, "read-only": True, "backing": "nope"})
    assert refused == "Cannot find device='' nor node-name='nope'"
    assert [(bitmap.name, bitmap.in_use) for bitmap in machine.images.lookup("n0.qcow2").bitmaps] == [("p0", False)]
    for command in ("clear", "remove"):
        with pytest.raises(QmpError, match="Bitmap 'p0' is readonly and cannot be modified"):
            machine.qmp(f"block-dirty-bitmap-{command}", node="n0", name="p0")
    refused = machine.qmp("human-monitor-command", command_line='qemu-io n0 "write 0 64k"')
    reopen(machine)
    machine.qmp("human-monitor-command", command_line='qemu-io n0 "write 0 64k"')
    [bitmap] = node(machine)["dirty-bitmaps"]
    assert (refused, bitmap["count"]) == ("", 65536)


def test_a_node_that_cannot_be_reopened_is_called_as_its_drive(machine):
    """(bdrv_get_device_or_node_name, block.c; seen with 7.2)"""
    options = {"driver": "null-co", "node-name": "nul", "size": 1 << 20, "read-zeroes": True}
    machine.add_drive("drive1", machine.add_node(options))
    machine.add_node({**options, "node-name": "target"})
    machine.qmp("blockdev-mirror", job_id="j", device="nul", target="target", sync="full", filter_node_name="f")
    refused = why_not(machine, {"driver": "null-co", "node-name": "f"})
    assert refused == "Block format 'mirror_top' used by node 'drive1' does not support reopening files"


def test_a_format_gets_a_filter_over_its_file_but_not_another_file(machine):
    machine.add_node({"driver": "file", "node-name": "o", "filename": "other.qcow2"})
    machine.add_node({"driver": "qcow2", "node-name": "n1", "file": "o", "read-only": True})
    assert refusal(machine, file="o") == (
        "Permission conflict on node 'o': permissions 'write, resize' are both required by node 'n0' (uses node 'o' as "
        "'file' child) and unshared by node 'n1' (uses node 'o' as 'file' child)."
    )
    machine.qmp("blockdev-del", node_name="n1")
    assert refusal(machine, file="o") == "qbitsim does not emulate another file for the qcow2 node 'n0'"
    machine.qmp("object-add", qom_type="throttle-group", id="g")
    below = machine.graph.nodes["n0"].children[0].node.name
    machine.qmp("blockdev-add", driver="throttle", node_name="t", throttle_group="g", file=below)
    reopen(machine, file="t")
    assert [child.node.name for child in machine.graph.nodes["n0"].children] == ["t"]
    machine.graph.nodes["n0"].write(0, b"x" * 512)
    reopen(machine, file=below)
    machine.qmp("blockdev-del", node_name="t")
    assert machine.graph.nodes["n0"].read(0, 512) == b"x" * 512


def test_what_a_mirror_gives_its_target_as_backing_file_is_not_taken_away(chain):
    """QEMU uses it after it is freed."""
    chain.images.create("over.qcow2", "qcow2", 1 << 20, backing="top.qcow2", backing_format="qcow2")
    file = {"driver": "file", "filename": "over.qcow2"}
    inline = {"driver": "qcow2", "node-name": "below", "file": file, "backing": None}
    chain.images.create("m.qcow2", "qcow2", 1 << 20)
    mirrored = {"driver": "qcow2", "node-name": "m", "file": {"driver": "file", "filename": "m.qcow2"}}
    chain.add_node({**mirrored, "backing": inline})
    chain.qmp("drive-mirror", job_id="j", device="m", target="new.qcow2", format="qcow2", sync="top")
    before = chain.qmp("query-named-block-nodes")
    with pytest.raises(QmpError) as caught:
        chain.execute("blockdev-reopen", {"options": [{**mirrored, "backing": None}]})
    assert (
        caught.value.desc == "qbitsim does not emulate taking 'below' from the mirror that needs it: real QEMU crashes"
    )
    assert chain.qmp("query-named-block-nodes") == before
    chain.qmp("job-cancel", id="j")
    chain.settle()
    chain.execute("blockdev-reopen", {"options": [{**mirrored, "backing": None}]})
    assert "below" not in chain.graph.nodes


def test_an_overlay_that_a_monitor_reopens_keeps_what_it_was_put_above() -> None:
    """As the monitor's qemu-io does it (seen with QEMU 10.0, iotest 142)."""
    machine = Machine()
    machine.add_disk("drive0", "1M", node_name="node0")
    machine.qmp("blockdev-snapshot-sync", device="drive0", snapshot_file="top", snapshot_node_name="top")
    command = 'qemu-io drive0 "reopen -c unsafe"'
    assert machine.qmp("human-monitor-command", command_line=command) == ""
    assert machine.graph.nodes["top"].backing is machine.graph.nodes["node0"]
