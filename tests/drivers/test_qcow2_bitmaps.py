"""Persistent bitmaps: stored at a clean end, inconsistent after a crash."""

from __future__ import annotations

from typing import Any

import pytest

from qbitsim.errors import QmpError
from qbitsim.images.store import ImageStore
from qbitsim.machine.machine import Machine


def machine_on(images: ImageStore, **options: Any) -> Machine:
    machine = Machine(images=images)
    if "d" not in images:
        images.create("d", "qcow2", 1 << 20)
    machine.add_disk("drive0", file="d", node_name="node0", **options)
    return machine


def with_bitmaps(images: ImageStore) -> Machine:
    """A machine with persistent ``p`` (dirty), ``off`` (disabled) and transient ``t``."""
    machine = machine_on(images)
    for name, options in (("p", {}), ("off", {"disabled": True}), ("t", {"persistent": False})):
        machine.qmp("block-dirty-bitmap-add", node="drive0", name=name, **{"persistent": True, **options})
    machine.drive("drive0").write(65536, b"x")
    return machine


def shown(machine: Machine) -> dict[str, dict[str, Any]]:
    (drive,) = machine.qmp("query-block")
    return {each.pop("name"): each for each in drive["inserted"].get("dirty-bitmaps", [])}


COMMON = {"persistent": True, "granularity": 65536, "busy": False}
INCONSISTENT = {**COMMON, "recording": False, "count": 0, "inconsistent": True}


def test_persistent_bitmaps_survive_a_clean_restart_and_transient_ones_do_not() -> None:
    images = ImageStore()
    with_bitmaps(images).qmp("quit")
    assert shown(machine_on(images)) == {
        "p": {**COMMON, "recording": True, "count": 65536},
        "off": {**COMMON, "recording": False, "count": 0},
    }


def test_after_a_crash_those_that_were_stored_are_inconsistent() -> None:
    images = ImageStore()
    with_bitmaps(images).qmp("quit")
    machine_on(images).crash()
    assert shown(machine_on(images)) == {"p": INCONSISTENT, "off": INCONSISTENT}


def test_after_a_crash_those_that_were_never_stored_are_gone() -> None:
    images = ImageStore()
    with_bitmaps(images).crash()
    assert shown(machine_on(images)) == {}


def inconsistent() -> Machine:
    images = ImageStore()
    with_bitmaps(images).qmp("quit")
    machine_on(images).crash()
    return machine_on(images)


@pytest.mark.parametrize("verb", ["clear", "enable", "disable"])
def test_an_inconsistent_bitmap_cannot_be_used(verb: str) -> None:
    machine = inconsistent()
    before = shown(machine)
    with pytest.raises(QmpError, match=r"^Bitmap 'p' is inconsistent and cannot be used$"):
        machine.qmp(f"block-dirty-bitmap-{verb}", node="drive0", name="p")
    with pytest.raises(QmpError, match=r"^Bitmap already exists: p$"):
        machine.qmp("block-dirty-bitmap-add", node="drive0", name="p", persistent=True)
    assert shown(machine) == before


def test_an_inconsistent_bitmap_can_be_removed_and_its_name_is_free() -> None:
    machine = inconsistent()
    machine.qmp("block-dirty-bitmap-remove", node="drive0", name="p")
    assert set(shown(machine)) == {"off"}
    machine.qmp("block-dirty-bitmap-add", node="drive0", name="p", persistent=True)


def test_while_the_image_is_open_the_stored_ones_are_marked_in_use() -> None:
    images = ImageStore()
    with_bitmaps(images).qmp("quit")
    assert {each.in_use for each in images.lookup("d").bitmaps} == {False}
    machine = machine_on(images)
    machine.drive("drive0").write(0, b"x")
    assert {each.in_use for each in images.lookup("d").bitmaps} == {True}
    machine.qmp("quit")
    assert {each.in_use for each in images.lookup("d").bitmaps} == {False}


def test_a_removed_bitmap_is_gone_from_the_file_at_once() -> None:
    images = ImageStore()
    with_bitmaps(images).qmp("quit")
    machine = machine_on(images)
    machine.qmp("block-dirty-bitmap-remove", node="drive0", name="p")
    assert [each.name for each in images.lookup("d").bitmaps] == ["off"]


def test_on_a_read_only_disk_they_can_be_read_and_not_changed() -> None:
    images = ImageStore()
    with_bitmaps(images).qmp("quit")
    machine = machine_on(images, read_only=True)
    with pytest.raises(QmpError, match=r"^Bitmap 'p' is readonly and cannot be modified$"):
        machine.qmp("block-dirty-bitmap-clear", node="drive0", name="p")
    assert shown(machine)["p"] == {**COMMON, "recording": True, "count": 65536}


def test_a_raw_disk_cannot_store_bitmaps() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1M", format="raw")
    with pytest.raises(QmpError, match=r"^Can't store persistent bitmaps to drive0: Operation not supported$"):
        machine.qmp("block-dirty-bitmap-add", node="drive0", name="p", persistent=True)
    assert shown(machine) == {}
