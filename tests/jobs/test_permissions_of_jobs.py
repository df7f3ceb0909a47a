"""What jobs need of the nodes that they use, and what they share with others, as long as they run."""

from __future__ import annotations

from typing import Any

import pytest

from qbitsim.block.drive import Drive
from qbitsim.errors import QmpError
from qbitsim.files import permissions as perms
from qbitsim.machine.machine import Machine

CLUSTER = 65536
SIZE = 16 * CLUSTER
LETTERS = {perms.CONSISTENT_READ: "r", perms.WRITE: "w", perms.WRITE_UNCHANGED: "u", perms.RESIZE: "s"}


def letters(bits: int) -> str:
    return "".join(letter for bit, letter in LETTERS.items() if bits & bit)


def users(machine: Machine) -> dict[str, list[str]]:
    """Who is above each node with a name: its kind, the name of the edge, what it needs and what it shares."""
    return {
        name: [
            f"{type(edge.parent).__name__} {edge.name} {letters(edge.perm) or '-'}/{letters(edge.shared)}"
            for edge in node.parents
        ]
        for name, node in machine.graph.nodes.items()
        if not name.startswith("#") or node.is_filter
    }


def made() -> Machine:
    """``top`` over ``mid`` over ``base``, and a target."""
    machine = Machine()
    below = None
    for name in ("base", "mid", "top"):
        machine.images.create(name, "qcow2", SIZE, backing=below, backing_format=below and "qcow2")
        machine.images.lookup(name).write(0, name.encode() * CLUSTER)
        below = name
    backing = {"node-name": "mid", "backing": {"node-name": "base"}}
    machine.add_drive("drive0", machine.open_file("top", {"node-name": "top", "backing": backing}))
    machine.images.create("t", "qcow2", SIZE)
    machine.add_node({"driver": "qcow2", "node-name": "t", "file": {"driver": "file", "filename": "t"}})
    return machine


JOBS: dict[str, tuple[str, dict[str, Any]]] = {
    "backup": ("blockdev-backup", {"device": "drive0", "target": "t", "sync": "full"}),
    "mirror": ("blockdev-mirror", {"device": "drive0", "target": "t", "sync": "full"}),
    "active commit": ("block-commit", {"device": "drive0"}),
    "commit": ("block-commit", {"device": "drive0", "top_node": "mid"}),
    "stream": ("block-stream", {"device": "drive0"}),
    "stream to a base": ("block-stream", {"device": "drive0", "base_node": "base"}),
}


CHAIN = {name: ["Qcow2Node backing r/rwus"] for name in ("mid", "base")}
BEFORE = {"top": ["Drive root r/rwus"], **CHAIN, "t": []}

MEANWHILE: dict[str, dict[str, list[str]]] = {
    "backup": {
        "top": ["CopyBeforeWriteNode file r/ru"],
        "mid": ["Qcow2Node backing r/ru"],
        "base": ["Qcow2Node backing r/ru"],
        "t": ["BackupJob target -/rwus", "CopyBeforeWriteNode target w/rwu"],
        "filter": ["BackupJob main node -/rwus", "Drive root r/rwus"],
    },
    "mirror": {
        "top": ["MirrorJob source -/rwu", "MirrorTopNode backing r/rwu"],
        **CHAIN,
        "t": ["MirrorJob target -/rwus", "Drive root w/u"],
        "filter": ["MirrorJob main node r/rwu", "Drive root r/rwus"],
    },
    "active commit": {
        "top": ["ActiveCommitJob source -/rwu", "MirrorTopNode backing -/rwu"],
        "mid": ["ActiveCommitJob intermediate node -/wu", "Qcow2Node backing -/rwus"],
        "base": ["ActiveCommitJob target -/rwus", "Drive root w/rwu", "Qcow2Node backing -/rwus"],
        "t": [],
        "filter": ["ActiveCommitJob main node r/rwu", "Drive root r/rwus"],
    },
    "commit": {
        "top": ["CommitJob main node -/rwus", "Drive root r/rwus"],
        "mid": ["Drive root -/rwus", "CommitJob intermediate node -/wu", "CommitTopNode backing -/rwus"],
        "base": ["Drive root rw/ru", "CommitJob base -/rwus", "Qcow2Node backing -/rwus"],
        "t": [],
        "filter": ["Qcow2Node backing r/rwus"],
    },
    "stream": {
        "top": ["StreamJob active node -/rwu", "CopyOnReadNode file ru/rwu"],
        "mid": ["StreamJob intermediate node -/ru", "Qcow2Node backing r/rwus"],
        "base": ["StreamJob intermediate node -/ru", "Qcow2Node backing r/ru"],
        "t": [],
        "filter": ["Drive root r/rwu", "StreamJob main node -/rwus", "Drive root r/rwus"],
    },
    "stream to a base": {
        "top": ["StreamJob active node -/rwu", "CopyOnReadNode file ru/rwu"],
        "mid": ["StreamJob intermediate node -/ru", "Qcow2Node backing r/rwus"],
        "base": ["Qcow2Node backing r/ru"],
        "t": [],
        "filter": ["Drive root r/rwu", "StreamJob main node -/rwus", "Drive root r/rwus"],
    },
}


@pytest.mark.parametrize("kind", JOBS)
def test_a_job_needs_and_shares_what_it_has_to_and_gives_it_up_at_the_end(kind: str) -> None:
    machine = made()
    command, arguments = JOBS[kind]
    assert users(machine) == BEFORE
    machine.qmp(command, job_id="j", speed=1, filter_node_name="filter", auto_dismiss=False, **arguments)
    assert users(machine) == MEANWHILE[kind]
    machine.qmp("block-job-cancel", device="j", force=True)
    machine.run_until_idle()
    assert [(job["status"], job["error"]) for job in machine.qmp("query-jobs")] == [("concluded", "Operation canceled")]
    machine.qmp("job-dismiss", id="j")
    assert (users(machine), machine.qmp("query-jobs")) == (BEFORE, [])
    assert [node.blockers for node in machine.graph.nodes.values()] == [[]] * len(machine.graph.nodes)
    assert [edge.frozen for node in machine.graph.nodes.values() for edge in node.children] == [0] * 6
    assert [machine.graph.nodes[name].read_only for name in BEFORE] == [False, True, True, False]


@pytest.mark.parametrize("first", JOBS)
def test_a_second_job_is_refused_and_leaves_everything_as_it_was(first: str) -> None:
    refused = {}
    for second, (command, arguments) in JOBS.items():
        machine = made()
        machine.qmp(JOBS[first][0], job_id="j", speed=1, filter_node_name="filter", **JOBS[first][1])
        before = users(machine)
        try:
            machine.qmp(command, job_id="k", speed=1, filter_node_name="other", **arguments)
        except QmpError as error:
            refused[second] = error.desc
        assert ([job["id"] for job in machine.qmp("query-jobs")], users(machine)) == (["j"], before), second
    kind = {"active commit": "commit", "stream to a base": "stream"}.get(first, first)
    busy = f"Node 'drive0' is busy: block device is in use by block job: {kind}"
    assert refused == {
        **dict.fromkeys(("backup", "stream", "stream to a base"), busy),
        **dict.fromkeys(("mirror", "active commit", "commit"), "Need a root block node"),
    }


ABOVE_THE_FILTER = "required by block device 'other' (uses node 'filter' as 'root' child) and unshared by "
ON_THE_TARGET = "required by block device 'other' (uses node 't' as 'root' child) and unshared by "
ON_A_LAYER = "required by block device 'other' (uses node 'mid' as 'root' child) and unshared by "
AS_A_LAYER = "(uses node 'mid' as 'intermediate node' child)."
IN_THE_WAY = [
    ("mirror", "top", perms.RESIZE, f"{ABOVE_THE_FILTER}mirror job 'j' (uses node 'filter' as 'main node' child)."),
    (
        "active commit",
        "top",
        perms.RESIZE,
        f"{ABOVE_THE_FILTER}commit job 'j' (uses node 'filter' as 'main node' child).",
    ),
    ("stream", "top", perms.RESIZE, f"{ABOVE_THE_FILTER}an unnamed block device (uses node 'filter' as 'root' child)."),
    ("active commit", "mid", perms.CONSISTENT_READ, f"{ON_A_LAYER}commit job 'j' {AS_A_LAYER}"),
    ("mirror", "t", perms.WRITE, f"{ON_THE_TARGET}an unnamed block device (uses node 't' as 'root' child)."),
    ("backup", "t", perms.RESIZE, f"{ON_THE_TARGET}node 'filter' (uses node 't' as 'target' child)."),
]


@pytest.mark.parametrize(("kind", "where", "perm", "text"), IN_THE_WAY)
def test_a_job_that_somebody_does_not_allow_leaves_everything_as_it_was(
    kind: str, where: str, perm: int, text: str
) -> None:
    machine = made()
    other = Drive(machine.graph, "other", perm=perm, shared=perms.ALL)
    other.insert(machine.graph.nodes[where])
    before = users(machine), list(machine.graph.nodes)
    command, arguments = JOBS[kind]
    with pytest.raises(QmpError) as refusal:
        machine.qmp(command, job_id="j", speed=1, filter_node_name="filter", **arguments)
    assert refusal.value.desc.partition(" are both ")[2] == text
    assert (users(machine), list(machine.graph.nodes), machine.qmp("query-jobs")) == (*before, [])
    assert [node.blockers for node in machine.graph.nodes.values()] == [[]] * len(machine.graph.nodes)
    other.eject()
    machine.qmp(command, job_id="j", speed=1, filter_node_name="filter", **arguments)
    assert users(machine) == MEANWHILE[kind]


def test_a_stream_that_may_not_use_a_layer_leaves_behind_what_it_was_to_read_with() -> None:
    machine = made()
    other = Drive(machine.graph, "other", perm=perms.RESIZE, shared=perms.ALL)
    other.insert(machine.graph.nodes["mid"])
    before, nodes = users(machine), list(machine.graph.nodes)
    command, arguments = JOBS["stream"]
    with pytest.raises(QmpError) as refusal:
        machine.qmp(command, job_id="j", speed=1, filter_node_name="filter", **arguments)
    assert refusal.value.desc.partition(" are both ")[2] == f"{ON_A_LAYER}stream job 'j' {AS_A_LAYER}"
    left = {**before, "top": [*before["top"], "Drive root r/rwu"]}
    assert (users(machine), list(machine.graph.nodes), machine.qmp("query-jobs")) == (left, nodes, [])
    assert [node.blockers for node in machine.graph.nodes.values()] == [[]] * len(machine.graph.nodes)
