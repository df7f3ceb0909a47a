"""The still picture: small whatever it shows, well-formed whatever it is told, and right about what it says."""

from __future__ import annotations

import errno
import xml.etree.ElementTree as ET
from typing import Any

import pytest

from qbitsim import Machine, QmpError
from qbitsim.history.density import Density
from qbitsim.report.still import still

SVG = "{http://www.w3.org/2000/svg}"


def words(picture: str) -> list[str]:
    return [each.text or "" for each in ET.fromstring(picture).iter(f"{SVG}text")]


def grouped_failure() -> dict[str, Any]:
    machine = Machine()
    history = machine.watch("A group fails")
    for number in (0, 1):
        machine.add_disk(f"drive{number}", "1M").write(0, b"x" * 300_000)
        machine.qmp("block-dirty-bitmap-add", node=f"drive{number}", name=f"bitmap{number}")
        machine.drive(f"drive{number}").write(0, b"x" * 300_000)
    machine.inject_error("drive1", "read", errno.EIO, once=True)
    data = [
        {"device": f"drive{number}", "bitmap": f"bitmap{number}", "sync": "incremental", "target": f"t{number}"}
        for number in (0, 1)
    ]
    actions = [{"type": "drive-backup", "data": each} for each in data]
    machine.qmp("transaction", actions=actions, properties={"completion-mode": "grouped"})
    machine.run_until_idle()
    return history.to_json()


def test_a_grouped_failure_names_the_job_that_failed_and_the_one_that_was_cancelled() -> None:
    told = words(still(grouped_failure()))
    assert told.count("⊘ cancelled") == 1
    assert told.count("✗ Input/output error") == 1
    assert told.count("5 dirty cells") == 2
    assert "3  transaction [drive-backup device=drive0 bitmap=bitmap0 sync=incremental targ…" in told


def test_a_job_that_goes_on_shows_its_status() -> None:
    machine = Machine()
    history = machine.watch()
    machine.add_disk("drive0", "4M").write_zeroes(0, 4 << 20)
    machine.drive("drive0").write(0, b"x" * (4 << 20))
    machine.qmp("drive-backup", device="drive0", sync="full", target="t", job_id="j")
    told = words(still(history.to_json()))
    assert told[told.index("j") : told.index("j") + 3] == ["j", "backup", "running"]
    machine.run_until_idle()
    told = words(still(history.to_json()))
    assert told[told.index("j") : told.index("j") + 4] == ["j", "backup", "✓", "✓ completed"]


def test_a_long_history_of_a_large_disk_is_a_small_picture() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1T", node_name="node0")
    history = machine.watch()
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b0")
    disk = machine.drive("drive0")
    for number in range(5_000):
        disk.write_zeroes(number * 7919 % (1 << 24) << 16, 65536)
    picture = still(history.to_json())
    assert len(picture) < 120_000
    assert "5000 dirty cells" in words(picture)


def test_hostile_names_stay_text() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1M")
    history = machine.watch("<script>alert('&')</script>\x00\ud800")
    for name in ("</text><g>", '"', "\x1b[31m", "b" * 900):
        machine.qmp("block-dirty-bitmap-add", node="drive0", name=name)
    picture = still(history.to_json())
    picture.encode()
    told = words(picture)
    assert told[0] == "<script>alert('&')</script>\ufffd\ufffd"
    assert {"</text><g>", '"', "\ufffd[31m"} <= set(told)


def test_a_history_of_nothing_is_a_picture_too() -> None:
    empty = {**grouped_failure(), "lanes": [], "moments": []}
    assert words(still(empty)) == ["A group fails", "QEMU 10.0, 0 moments from left to right"]


def test_a_command_that_was_refused_has_a_line_of_its_own_kind() -> None:
    machine = Machine()
    history = machine.watch()
    machine.qmp("query-block")
    with pytest.raises(QmpError):
        machine.qmp("block-job-cancel", device="nope")
    lines = [each.get("class") for each in ET.fromstring(still(history.to_json())).iter(f"{SVG}path")]
    assert lines == ["mark", "no"]


def test_density_follows_changes_part_by_part() -> None:
    density = Density(10, 4)
    density.apply({"+": [0, 3, 5, 2]})
    assert (density.wholes, density.counts) == ([2, 3, 2, 3], [2, 1, 0, 2])
    assert density.levels(3) == [3, 1, 0, 2]
    density.apply({"-": [1, 2], "+": [4, 1]})
    assert density.counts == [1, 1, 0, 2]
    density.apply({"heat": [1, 0]})
    assert density.counts == [1, 0, 0, 0]
    density.apply(None)
    assert density.levels(3) == [0, 0, 0, 0]


def test_no_more_parts_than_cells() -> None:
    density = Density(3, 16)
    density.apply({"+": [1, 5]})
    assert (density.wholes, density.levels(1)) == ([1, 1, 1], [0, 1, 1])


def test_a_reply_that_was_not_expected_is_a_heavy_line() -> None:
    request = {"at": 0, "kind": "request", "text": "query-jobs", "machine": "mail"}
    reply = {"at": 0, "kind": "reply", "text": "return []", "of": 0, "machine": "mail"}
    header = {"title": "", "profile": "10.0", "lanes": []}
    plain = still({**header, "moments": [request, reply]})
    marked = still({**header, "moments": [request, {**reply, "expected": {"return": {}}}]})
    assert ('class="no"' in plain, 'class="no"' in marked) == (False, True)


def test_jobs_of_one_name_on_two_machines_end_apart() -> None:
    lanes = [{"kind": "job", "name": f"{name} backup", "type": "backup"} for name in ("mail", "web")]
    moments: list[dict[str, Any]] = []
    for number, name in enumerate(("mail", "web")):
        moments.append({"at": 0, "kind": "event", "text": "x", "changes": {str(number): {"status": "running"}}})
        end = {"device": "backup", **({"error": "No space left on device"} if name == "mail" else {})}
        moments.append(
            {"at": 0, "kind": "event", "text": "BLOCK_JOB_COMPLETED", "machine": name, "data": {"data": end}}
        )
        gone = {"data": {"id": "backup", "status": "null"}}
        moments.append(
            {"at": 0, "kind": "event", "text": "x", "machine": name, "data": gone, "changes": {str(number): None}}
        )
    told = words(still({"title": "", "profile": "10.0", "lanes": lanes, "moments": moments}))
    assert [each for each in told if each in ("✗ No space left on device", "✓ completed")] == [
        "✗ No space left on device",
        "✓ completed",
    ]
