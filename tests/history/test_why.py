"""Why a granule is dirty: the answer names what set it, what cleared it before, and the backup that copied it last."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from contextlib import suppress

import pytest
from deeds import act, make
from hypothesis import given, settings
from hypothesis import strategies as st

from qbitsim import Machine, QmpError
from qbitsim.history.history import History
from qbitsim.history.why import Cause, Why, why

CELL = 65536


def watched() -> tuple[Machine, History]:
    """A machine with a bitmap, one granule of which is dirty."""
    machine = Machine()
    machine.add_disk("drive0", "1M", node_name="node0")
    history = machine.watch()
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b0")
    machine.drive("drive0").write(CELL, b"first")
    return machine, history


def back_up(machine: Machine, job: str, meanwhile: Callable[[], object] = lambda: None, **options: object) -> None:
    """An incremental backup, with something that happens while it runs."""
    given = {"device": "drive0", "sync": "incremental", "bitmap": "b0", "target": f"{job}.img", "job_id": job}
    machine.qmp("drive-backup", **given | options)
    meanwhile()
    machine.run_until_idle()


def told(causes: tuple[Cause, ...]) -> list[object]:
    """The kinds and texts of causes, each with its sources."""
    return [(cause.kind, cause.text, told(cause.sources)) for cause in causes]


FIRST = ("write", "the guest writes 5 bytes at 65536 of drive0", [])
LATER = ("write", "the guest writes 5 bytes at 70000 of drive0", [])
ADDED = "block-dirty-bitmap-add node=node0 name=b0"


def test_a_write_made_it_dirty_and_the_bitmap_was_clean_when_it_was_added() -> None:
    _, history = watched()
    found = history.why("b0", "64k")
    assert (found.dirty, found.offset, found.length, found.node) == (True, CELL, CELL, "node0")
    assert told(found.causes) == [FIRST]
    assert found.cleared is not None
    assert (found.cleared.text, found.copied) == (ADDED, None)
    assert found == history.why("b0", 2 * CELL - 1, node="drive0")
    assert history.why("b0", 0).dirty is False


def test_a_backup_that_completes_clears_it_and_has_copied_it() -> None:
    machine, history = watched()
    back_up(machine, "monday")
    found = history.why("b0", CELL)
    assert (found.dirty, told(found.causes)) == (False, [FIRST])
    assert found.cleared is not None
    assert found.cleared.text == "backup monday completed"
    assert found.copied is not None
    assert (found.copied.job, found.copied.sync, found.copied.outcome) == ("monday", "incremental", "completed")
    assert history.moments[found.copied.moment]["text"].startswith("monday: copy 65536+65536")
    assert history.why("b0", CELL, moment=found.copied.moment).copied is None, "it was not complete then"
    assert history.why("b0", 0).copied is None


def test_what_is_written_during_a_backup_is_dirty_by_the_successor_whatever_becomes_of_the_backup() -> None:
    machine, history = watched()
    disk = machine.drive("drive0")
    seen: list[Why] = []

    def write() -> None:
        disk.write(70000, b"later")
        seen.append(history.why("b0", CELL))

    back_up(machine, "monday", write)
    assert (told(seen[0].causes), told(seen[0].successor)) == ([FIRST], [LATER])
    found = history.why("b0", CELL)
    assert (told(found.causes), found.successor) == ([LATER], ())
    assert found.cleared is not None
    assert found.cleared.text == "backup monday completed"


@pytest.mark.parametrize("during", [False, True])
def test_a_backup_that_fails_gives_it_back(during: bool) -> None:
    machine, history = watched()

    def meanwhile() -> None:
        machine.inject_error("tuesday.img", "write", "EIO")
        if during:
            machine.drive("drive0").write(0, b"x")

    back_up(machine, "tuesday", meanwhile)
    found = history.why("b0", CELL)
    assert found.dirty
    assert told(found.causes) == [("backup", "backup tuesday failed: Input/output error: its bits stay", [FIRST])]
    assert found.cleared is not None
    assert (found.cleared.text, found.copied) == (ADDED, None)
    if during:
        assert told(history.why("b0", 0).causes) == [("write", "the guest writes 1 bytes at 0 of drive0", [])]


def test_a_backup_that_is_cancelled_has_copied_it_in_vain() -> None:
    machine, history = watched()
    back_up(machine, "monday")
    machine.drive("drive0").write(CELL, b"x")
    machine.drive("drive0").write(8 * CELL, b"x")

    def cancel() -> None:
        machine.step()
        machine.qmp("block-job-cancel", device="tuesday")

    back_up(machine, "tuesday", cancel)
    found = history.why("b0", CELL)
    assert found.causes[0].text == "backup tuesday cancelled: its bits stay"
    assert found.copied is not None
    assert found.unfinished is not None
    assert (found.copied.job, found.unfinished.job, found.unfinished.outcome) == ("monday", "tuesday", "cancelled")


@pytest.mark.parametrize(
    ("mode", "failing", "cause"),
    [
        ("never", False, "backup job completed: with bitmap-mode=never it takes nothing"),
        ("always", True, "backup job failed: Input/output error: not copied"),
        ("on-success", False, None),
        ("always", False, None),
    ],
)
def test_the_mode_of_the_bitmap_decides(mode: str, failing: bool, cause: str | None) -> None:
    machine, history = watched()

    def meanwhile() -> None:
        if failing:
            machine.inject_error("job.img", "write", errno.EIO)

    back_up(machine, "job", meanwhile, sync="bitmap", bitmap_mode=mode)
    found = history.why("b0", CELL)
    assert found.dirty is (cause is not None)
    assert told(found.causes) == ([FIRST] if cause is None else [("backup", cause, [FIRST])])


def test_a_merge_has_the_reasons_of_its_sources() -> None:
    machine, history = watched()
    machine.qmp("block-dirty-bitmap-add", node="node0", name="fine", granularity=512)
    machine.drive("drive0").write(70000, b"later")
    machine.qmp("block-dirty-bitmap-add", node="node0", name="both")
    sources = ["b0", {"node": "node0", "name": "fine"}]
    machine.qmp("block-dirty-bitmap-merge", node="node0", target="both", bitmaps=sources)
    machine.qmp("block-dirty-bitmap-clear", node="node0", name="b0")
    (cause,) = history.why("both", CELL).causes
    assert cause.kind == "merge"
    assert cause.text.startswith("block-dirty-bitmap-merge node=node0 target=both")
    assert told(cause.sources) == [FIRST, LATER]
    cleared = history.why("b0", CELL).cleared
    assert cleared is not None
    assert cleared.text == "block-dirty-bitmap-clear node=node0 name=b0"


def test_in_a_transaction_the_action_counts() -> None:
    machine, history = watched()
    actions = [
        {"type": "block-dirty-bitmap-add", "data": {"node": "node0", "name": "b1"}},
        {"type": "block-dirty-bitmap-merge", "data": {"node": "node0", "target": "b1", "bitmaps": ["b0"]}},
        {"type": "block-dirty-bitmap-clear", "data": {"node": "node0", "name": "b0"}},
    ]
    machine.qmp("transaction", actions=actions)
    (cause,) = history.why("b1", CELL).causes
    assert (cause.kind, told(cause.sources)) == ("merge", [FIRST])


def test_a_bitmap_that_was_loaded_was_dirty_when_it_appeared() -> None:
    machine, _ = watched()
    machine.qmp("block-dirty-bitmap-add", node="node0", name="kept", persistent=True)
    machine.drive("drive0").write(0, b"x")
    machine.close()
    again = Machine(images=machine.images)
    history = again.watch()
    again.add_node({"driver": "qcow2", "node-name": "node0", "file": {"driver": "file", "filename": "drive0.qcow2"}})
    history.look()
    (cause,) = history.why("kept", 0).causes
    assert (cause.kind, cause.text) == ("loaded", "it was dirty when it appeared: there is now: bitmap kept")


def test_what_is_undone_has_its_reasons_of_before() -> None:
    machine, history = watched()
    before = machine.snapshot()
    machine.qmp("block-dirty-bitmap-clear", node="node0", name="b0")
    machine.restore(before)
    assert told(history.why("b0", CELL).causes) == [("look", "the machine is what it was before", [FIRST])]


def test_writes_of_nbd_clients_and_of_jobs_are_told_apart() -> None:
    machine, history = watched()
    machine.add_disk("drive1", "1M", node_name="node1")
    machine.qmp("block-dirty-bitmap-add", node="node1", name="b1")
    machine.export_nbd("drive1", writable=True)
    with machine.connect_nbd("drive1") as client:
        client.write(3 * CELL, b"x")
    assert [cause.kind for cause in history.why("b1", 3 * CELL).causes] == ["write"]
    assert history.why("b1", 3 * CELL).causes[0].text.startswith("an NBD client writes")
    machine.qmp("blockdev-add", driver="null-co", node_name="target", size=1 << 20)
    machine.qmp("block-dirty-bitmap-add", node="target", name="b2")
    machine.qmp("blockdev-mirror", device="drive0", target="target", sync="full", job_id="m")
    machine.run_until_idle()
    (cause,) = history.why("b2", CELL).causes
    assert cause.kind == "job"
    assert cause.text.startswith("m: ")


def test_where_only_numbers_are_known_it_says_so() -> None:
    machine = Machine()
    disk = machine.add_disk("drive0", "8G", node_name="node0")
    history = machine.watch()
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b0")
    bitmap = disk.node.find_bitmap("b0")
    assert bitmap is not None
    for cell in range(0, 1 << 16, 2):
        bitmap.bits.set(cell, cell + 1)
    history.look()
    found = history.why("b0", 0)
    assert (found.dirty, [cause.kind for cause in found.causes]) == (None, ["unknown"])
    assert "dirty or not, that is not known" in str(found)
    assert history.why("b0", "5G").dirty is False


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("b00", 0), "there is no bitmap 'b00'; did you mean 'b0'?"),
        (("b0", 1 << 20), "offset 1048576 is behind the end of 'b0', which covers 1048576 bytes"),
        (("b0", "lots"), "invalid offset 'lots': write a number of bytes, or one with a suffix k, M, G, T or P"),
    ],
)
def test_what_is_not_there_is_refused(arguments: tuple[str, int | str], text: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        watched()[1].why(*arguments)
    assert str(caught.value) == text


def test_of_two_bitmaps_of_one_name_the_node_says_which() -> None:
    machine, history = watched()
    machine.add_disk("drive1", "1M", node_name="node1")
    machine.qmp("block-dirty-bitmap-add", node="node1", name="b0")
    with pytest.raises(ValueError, match=r"^several nodes have a bitmap 'b0': say with 'node' which of node0, node1$"):
        history.why("b0", CELL)
    assert history.why("b0", CELL, node="drive0").dirty is True
    assert history.why("b0", CELL, node="node1").dirty is False


def test_it_is_told_in_words() -> None:
    machine, history = watched()
    back_up(machine, "monday")
    machine.drive("drive0").write(70000, b"later")
    machine.limit_capacity("tuesday.img", 0)
    back_up(machine, "tuesday")
    assert str(history.why("b0", CELL)).splitlines() == [
        "b0 of drive0, 64 KiB at 65536: dirty",
        "  dirty since",
        "    moment 28, 0 s: backup tuesday failed: No space left on device: its bits stay",
        "      moment 17, 0 s: the guest writes 5 bytes at 70000 of drive0",
        "  clean before since moment 13, 0 s: backup monday completed",
        "  last good copy at moment 10, 0 s: backup monday (sync=incremental, to monday.img): completed",
    ]


def test_a_copy_that_is_no_good_is_told_from_one_that_is() -> None:
    machine, history = watched()
    machine.drive("drive0").write(8 * CELL, b"x")

    def cancel() -> None:
        machine.step()
        machine.qmp("block-job-cancel", device="monday")

    back_up(machine, "monday", cancel)
    assert str(history.why("b0", CELL)).splitlines()[-3:] == [
        "  clean before since moment 1, 0 s: block-dirty-bitmap-add node=node0 name=b0",
        "  no backup that was seen here has copied it and completed",
        "  copied at moment 11, 0 s: backup monday (sync=incremental, to monday.img): cancelled",
    ]


@settings(max_examples=40, deadline=None)
@given(dice=st.randoms(use_true_random=False), seed=st.integers(0, 9))
def test_every_granule_that_is_dirty_has_reasons_and_every_write_among_them_is_one_of_it(
    dice: random.Random, seed: int
) -> None:
    machine = make(seed)
    history = machine.watch()
    for _ in range(40):
        with suppress(QmpError):
            act(machine, dice)
    whole = history.to_json()
    for node in machine.graph.nodes.values():
        for bitmap in node.bitmaps:
            for cell in range(0, bitmap.bits.length if bitmap.name else 0, max(1, bitmap.bits.length // 16)):
                offset = cell * bitmap.granularity
                found = why(whole, str(bitmap.name), offset, node=node.name)
                assert found.dirty is (bitmap.bits.next_set(cell, cell + 1) >= 0)
                assert found.causes or not found.dirty
                for cause in found.causes:
                    data = history.moments[cause.moment].get("data")
                    if cause.kind == "write" and isinstance(data, dict):
                        assert data["offset"] < offset + bitmap.granularity
                        assert offset < data["offset"] + data["length"]
