"""A witness keeps quiet as long as the laws hold, and says which one was broken when somebody breaks it."""

from __future__ import annotations

from errno import EIO
from typing import Any

import pytest

from qbitsim import Machine, QmpError
from qbitsim.testing import laws
from qbitsim.testing.clients import Chain
from qbitsim.testing.laws import LawBrokenError, Witness

GRANULE = 65536


class Stage:
    """A machine with one disk, its witness, and a full backup with a bitmap on request."""

    def __init__(self) -> None:
        self.machine = Machine()
        self.machine.add_disk("drive0", 8 * GRANULE, node_name="node0")
        self.witness = Witness(self.machine)
        self.files: list[str] = []

    def write(self, granule: int, fill: bytes = b"\1") -> None:
        self.machine.drive("drive0").write(granule * GRANULE, fill * GRANULE)
        self.witness.wrote("drive0", granule * GRANULE, GRANULE)

    def target(self, name: str) -> dict[str, Any]:
        self.machine.images.create(name, "qcow2", 8 * GRANULE)
        file = {"driver": "file", "filename": name}
        self.witness.execute("blockdev-add", {"driver": "qcow2", "node-name": name, "file": file})
        return {"job-id": name, "device": "drive0", "target": name}

    def backup(self, name: str, **more: str) -> None:
        data = {**self.target(name), "sync": "full", **more}
        actions: list[Any] = [{"type": "blockdev-backup", "data": data}]
        if data["sync"] == "full":
            actions.insert(0, {"type": "block-dirty-bitmap-add", "data": {"node": "node0", "name": "b"}})
        self.witness.execute("transaction", {"actions": actions})
        self.files.append(name)

    def finish(self) -> None:
        while self.machine.step():
            self.witness.look()

    def check(self, bitmap: str | None = "b") -> None:
        self.witness.check([Chain("drive0", tuple(self.files), bitmap)])


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.write(0)
    return stage


def broken(law: str, detail: str) -> Any:
    return pytest.raises(LawBrokenError, match=f"^{law}: {detail}")


def test_an_honest_chain_keeps_every_law(stage: Stage) -> None:
    stage.backup("full")
    stage.write(1)
    stage.finish()
    stage.check()
    stage.write(0, b"\2")
    stage.check()
    stage.backup("next", sync="incremental", bitmap="b")
    stage.write(2)
    stage.finish()
    stage.check()


def test_a_bit_that_somebody_clears_is_lost(stage: Stage) -> None:
    stage.backup("full")
    stage.finish()
    stage.write(3)
    stage.witness.execute("block-dirty-bitmap-clear", {"node": "node0", "name": "b"})
    with broken(laws.NO_BIT_LOST, r"the guest wrote 65536 bytes at 196608 of drive0 after full began, but 'b' has"):
        stage.check()


def test_a_bitmap_that_is_gone_or_does_not_record_is_no_bitmap(stage: Stage) -> None:
    stage.backup("full")
    stage.finish()
    stage.machine.qmp("block-dirty-bitmap-disable", node="node0", name="b")
    with broken(laws.NO_BIT_LOST, "bitmap 'b' of drive0 does not record"):
        stage.check()
    with broken(laws.NO_BIT_LOST, "bitmap 'c' of drive0 does not exist"):
        stage.check("c")


def test_what_the_guest_writes_must_be_dirty_at_once(stage: Stage) -> None:
    stage.machine.qmp("block-dirty-bitmap-add", node="node0", name="b")
    with broken(laws.NO_BIT_LOST, "the guest wrote 65536 bytes at 0 of drive0, but 'b' has them clean"):
        stage.witness.wrote("drive0", 0, GRANULE)


def test_a_chain_of_which_the_last_backup_is_not_finished_restores_nothing(stage: Stage) -> None:
    stage.backup("full")
    with broken(laws.RESTORES, "full is not drive0 as it was: 65536 bytes at 0 differ"):
        stage.check()


def test_a_chain_without_a_bitmap_must_restore_too(stage: Stage) -> None:
    stage.machine.inject_error("drive0", "read", EIO)
    stage.backup("full")
    stage.finish()
    with broken(laws.RESTORES, "full is not drive0 as it was"):
        stage.check(None)


def test_a_file_that_is_missing_restores_nothing(stage: Stage) -> None:
    stage.files.append("nowhere")
    with broken(laws.RESTORES, "nowhere: nowhere is missing"):
        stage.check()


def test_a_chain_that_leaves_out_a_file_does_not_rebuild_the_disk(stage: Stage) -> None:
    stage.backup("full")
    stage.finish()
    stage.write(5)
    stage.backup("next", sync="incremental", bitmap="b")
    stage.finish()
    stage.files = ["full"]
    stage.witness.writes.clear()
    with broken(laws.REBUILDS, r"full \+ dirty bits of 'b' is not drive0: 65536 bytes at 327680 differ"):
        stage.check()


def test_a_refusal_that_changes_something_is_noticed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.machine.qmp("block-dirty-bitmap-add", node="node0", name="b")

    def half(self: Machine, name: str, arguments: Any) -> Any:
        self.graph.find_bitmap("node0", "b").bits.set_all()
        raise QmpError("no")

    monkeypatch.setattr(Machine, "execute", half)
    with broken(laws.REFUSED, r"stop was refused \(no\), but changed: bitmap 'b' of node0"):
        stage.witness.execute("stop", {})


def test_a_refusal_that_changes_nothing_is_passed_on(stage: Stage) -> None:
    with pytest.raises(QmpError, match=r"^Dirty bitmap 'x' not found$"):
        stage.witness.execute("block-dirty-bitmap-clear", {"node": "node0", "name": "x"})


def test_a_bitmap_that_is_let_go_while_its_job_runs_is_noticed(stage: Stage) -> None:
    stage.backup("full")
    stage.finish()
    stage.write(1)
    stage.backup("next", sync="incremental", bitmap="b")
    stage.machine.jobs.jobs[0].options.bitmap.busy = False  # type: ignore[attr-defined]
    with broken(laws.BUSY, "job 'next' is running, but <DirtyBitmap 'b'"):
        stage.witness.look()


def test_a_group_of_which_one_fails_and_one_succeeds_is_noticed(stage: Stage) -> None:
    jobs = [{"type": "blockdev-backup", "data": {**stage.target("a"), "sync": "full"}}]
    stage.machine.add_disk("drive1", 8 * GRANULE)
    jobs.append({"type": "blockdev-backup", "data": {**stage.target("b"), "device": "drive1", "sync": "full"}})
    grouped = {"completion-mode": "grouped"}
    stage.witness.execute("transaction", {"actions": jobs, "properties": grouped})  # type: ignore[dict-item]
    stage.machine.emit("BLOCK_JOB_COMPLETED", {"device": "a", "error": "Input/output error"})
    stage.witness.look()
    stage.machine.emit("BLOCK_JOB_COMPLETED", {"device": "b"})
    with broken(laws.ALL_OR_NOTHING, "the jobs ended so: {'a': 'failed', 'b': 'succeeded'}"):
        stage.witness.look()


def test_nobody_is_blamed_for_what_a_smaller_disk_loses_until_the_next_backup(stage: Stage) -> None:
    stage.write(6)
    stage.backup("full")
    stage.finish()
    for size in (4, 8):
        stage.witness.execute("block_resize", {"node-name": "node0", "size": size * GRANULE})
        stage.witness.disturbed(["drive0"])
    stage.check()
    stage.backup("next", sync="incremental", bitmap="b")
    stage.finish()
    with broken(laws.RESTORES, r"full \+ next is not drive0 as it was: 65536 bytes at 393216 differ"):
        stage.check()


@pytest.mark.parametrize(("crash", "persistent"), [(True, True), (True, False), (False, False)])
def test_nobody_is_blamed_for_bits_that_end_with_qemu(stage: Stage, crash: bool, persistent: bool) -> None:
    stage.backup("full")
    stage.finish()
    stage.machine.qmp("blockdev-del", node_name="full")
    stage.machine.qmp("block-dirty-bitmap-remove", node="node0", name="b")
    stage.machine.qmp("block-dirty-bitmap-add", node="node0", name="b", persistent=persistent)
    stage.write(1)
    stage.witness.restart(crash=crash)
    stage.check()


def test_a_target_that_is_not_closed_is_lost_when_qemu_is_killed(stage: Stage) -> None:
    stage.backup("full")
    stage.finish()
    stage.witness.restart(crash=True)
    with broken(laws.RESTORES, "full is not drive0 as it was: 65536 bytes at 0 differ"):
        stage.check()


def test_a_persistent_bitmap_must_outlive_a_clean_end(stage: Stage) -> None:
    stage.machine.qmp("block-dirty-bitmap-add", node="node0", name="p", persistent=True)
    stage.backup("full")
    stage.finish()
    stage.machine.qmp("block-dirty-bitmap-remove", node="node0", name="b")
    stage.witness.restart(crash=False)
    stage.check("p")
    stage.machine.qmp("block-dirty-bitmap-remove", node="node0", name="p")
    stage.write(1)
    with broken(laws.NO_BIT_LOST, "bitmap 'p' of drive0 does not exist"):
        stage.check("p")


def test_several_bitmaps_hold_together_what_was_written(stage: Stage) -> None:
    stage.backup("full")
    stage.finish()
    stage.write(1)
    stage.machine.qmp("block-dirty-bitmap-disable", node="node0", name="b")
    stage.machine.qmp("block-dirty-bitmap-add", node="node0", name="c")
    stage.write(2)
    stage.witness.check([Chain("drive0", ("full",), ("b", "c"))])
    with broken(laws.NO_BIT_LOST, "the guest wrote 65536 bytes at 65536 of drive0 after full began, but 'c' has"):
        stage.check("c")
    with broken(laws.NO_BIT_LOST, "bitmap 'b' of drive0 does not record"):
        stage.check("b")


def test_bitmaps_below_an_overlay_count(stage: Stage) -> None:
    stage.backup("full")
    stage.finish()
    stage.write(1)
    stage.machine.qmp(
        "blockdev-snapshot-sync", device="drive0", snapshot_file="overlay", snapshot_node_name="top", format="qcow2"
    )
    with broken(laws.NO_BIT_LOST, "bitmap 'b' of drive0 does not record"):
        stage.check()
    stage.machine.qmp("block-dirty-bitmap-add", node="top", name="b")
    stage.write(2)
    stage.check()


def test_what_was_pulled_must_be_the_disk_as_its_job_began(stage: Stage) -> None:
    stage.backup("scratch", sync="none")
    stage.machine.images.create("pulled", "qcow2", 8 * GRANULE)
    with broken(laws.RESTORES, "pulled is not drive0 as it was: 65536 bytes at 0 differ"):
        stage.witness.check([Chain("drive0", ("pulled",), began="scratch")])
