"""What query-block and query-named-block-nodes show of bitmaps."""

from __future__ import annotations

from typing import Any

import pytest

from qbitsim.machine.machine import Machine


def machine_of(version: str) -> Machine:
    machine = Machine(version)
    machine.add_disk("drive0", "1M", node_name="node0", file="d")
    return machine


def node(machine: Machine) -> dict[str, Any]:
    return next(each for each in machine.qmp("query-named-block-nodes") if each["node-name"] == "node0")


def test_a_drive_without_bitmaps_shows_none_rather_than_an_empty_list() -> None:
    machine = machine_of("10.0")
    assert "dirty-bitmaps" not in machine.qmp("query-block")[0]["inserted"]
    assert "dirty-bitmaps" not in node(machine)


@pytest.mark.parametrize("version", ["10.0", "7.2"])
def test_a_bitmap_is_shown_inside_the_medium_and_at_its_node(version: str) -> None:
    machine = machine_of(version)
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="b")
    common = {"busy": False, "persistent": False, "granularity": 65536, "count": 0}
    (drive,) = machine.qmp("query-block")
    assert drive["inserted"]["dirty-bitmaps"] == [{"name": "b", "recording": True, **common}]
    assert node(machine)["dirty-bitmaps"] == drive["inserted"]["dirty-bitmaps"]
    assert "dirty-bitmaps" not in drive


def test_in_2015_a_bitmap_had_a_status_and_was_shown_beside_the_medium() -> None:
    machine = machine_of("2.5")
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="b")
    (drive,) = machine.qmp("query-block")
    assert drive["dirty-bitmaps"] == [{"name": "b", "status": "active", "granularity": 65536, "count": 0}]


def test_a_frozen_bitmap_keeps_its_count_and_is_followed_by_an_anonymous_one_that_moves() -> None:
    machine = machine_of("10.0")
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="b")
    machine.drive("drive0").write(0, b"x")
    machine.qmp("drive-backup", device="drive0", target="t", sync="incremental", bitmap="b", auto_finalize=False)
    machine.run_until_idle()
    machine.drive("drive0").write(65536, b"x" * 131072)
    common = {"recording": True, "persistent": False, "granularity": 65536}
    assert node(machine)["dirty-bitmaps"] == [
        {"busy": False, "count": 131072, **common},
        {"name": "b", "busy": True, "count": 65536, **common},
    ]


def test_flat_leaves_out_the_images_of_backing_files() -> None:
    machine = Machine()
    machine.images.create("base", "qcow2", 1 << 20)
    machine.add_disk("drive0", "1M", backing="base", node_name="node0")
    assert "backing-image" in node(machine)["image"]
    flat = {each["node-name"]: each for each in machine.qmp("query-named-block-nodes", flat=True)}
    assert "backing-image" not in flat["node0"]["image"]


def test_an_empty_drive_shows_no_medium() -> None:
    machine = Machine()
    machine.add_drive("cd0", None)
    assert "inserted" not in machine.qmp("query-block")[0]


def test_the_target_of_a_mirror_has_the_cache_of_the_source() -> None:
    machine = Machine()
    machine.images.create("d", "qcow2", 1 << 20)
    file = {"driver": "file", "filename": "d"}
    machine.qmp("blockdev-add", driver="qcow2", node_name="node0", file=file, cache={"no-flush": True})
    machine.qmp("drive-mirror", job_id="j", device="node0", target="t", node_name="target", sync="full")
    cache = {each["node-name"]: each["cache"]["no-flush"] for each in machine.qmp("query-named-block-nodes")}
    assert cache["node0"]
    assert cache["target"]
    assert [cache[name] for name in cache if name not in ("node0", "target")] == [False, True, True]
