"""What real QEMU dies of, or is corrupted by, does no harm to qbitsim.

The scenarios of group x were recorded with crashes of QEMU in them. Here each of their commands is
answered with a success or an error, one that changes nothing when it refuses, and the machine goes on.
"""

from __future__ import annotations

from typing import Any

import pytest
import recordings
from recordings import VERSIONS

from qbitsim.scenario.player import Player

NAMES = [name for name in recordings.NAMES if name not in recordings.COMPARED]

EXPECTED: dict[str, list[str]] = {
    "x01-merge-empty-list-crashes-qemu": [""],
    "x02-merge-empty-list-in-transaction-crashes-qemu": [""],
    "x03-two-backups-of-one-device-second-fails-crashes-qemu": ["Bitmap 'b0' could not be found"],
    "x04-two-full-backups-of-one-device": ["Node 'drive0' is busy: block device is in use by block job: backup"],
    "x05-enable-of-unknown-bitmap-in-transaction": ["Dirty bitmap 'nope' not found"],
    "x06-failing-enable-of-an-enabled-busy-bitmap": [
        "Bitmap 'b0' is currently in use by another operation and cannot be used",
        "Bitmap 'b0' is currently in use by another operation and cannot be used",
    ],
    "x07-remove-then-enable-in-one-transaction": [
        "Bitmap 'b1' is currently in use by another operation and cannot be used",
        "Bitmap 'b0' is currently in use by another operation and cannot be used",
    ],
    "x08-grouped-enable": [
        "Action 'block-dirty-bitmap-enable' does not support transaction property completion-mode = grouped"
    ],
}
"""The texts of the crucial commands' errors in QEMU's words, empty for a success."""

CRUCIAL = ("transaction", "block-dirty-bitmap-merge")


def steps_of(name: str) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = recordings.scenario(name)["steps"]
    return steps


def state(player: Player) -> Any:
    """Everything that a refused command must leave alone."""
    machine = player.machine
    if machine is None:
        return None
    bitmaps = [
        (node.name, bitmap.name, bitmap.bits.sha256(), bitmap.disabled, bitmap.busy)
        for node in machine.graph.nodes.values()
        for bitmap in node.bitmaps
    ]
    queries = [machine.qmp(name) for name in ("query-block", "query-named-block-nodes", "query-jobs")]
    return bitmaps, queries


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_answered_and_a_refused_one_changes_nothing(version: str, name: str) -> None:
    player = Player(version)
    for step in steps_of(name):
        before, seen = state(player), len(player.records)
        player.play([step])
        replies = [record["reply"] for record in player.records[seen:] if record["type"] == "reply"]
        assert len(replies) == ("qmp" in step)
        for reply in replies:
            assert set(reply) in ({"return"}, {"error"})
            if "error" in reply:
                assert state(player) == before
    assert player.machine is not None
    assert player.machine.qmp("query-status")["status"] == "prelaunch"


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_the_crucial_commands_get_a_clean_answer(name: str) -> None:
    records = Player("10.0").play(steps_of(name))
    steps = steps_of(name)
    crucial = [index for index, step in enumerate(steps) if step.get("qmp", {}).get("execute") in CRUCIAL]
    replies = {record["step"]: record["reply"] for record in records if record["type"] == "reply"}
    assert [replies[index].get("error", {}).get("desc", "") for index in crucial] == EXPECTED[name]
