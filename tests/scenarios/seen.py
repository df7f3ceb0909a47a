"""What a client sees of a machine, short enough for assertions."""

from __future__ import annotations

from typing import Any

import pytest

from qbitsim import Machine, QmpError


def counts(machine: Machine) -> dict[str, int]:
    """Each bitmap that has a name, as ``node/name``, with its count in bytes."""
    return {
        f"{node['node-name']}/{bitmap['name']}": bitmap["count"]
        for node in machine.qmp("query-named-block-nodes")
        for bitmap in node.get("dirty-bitmaps", [])
        if "name" in bitmap
    }


def ends(machine: Machine) -> list[tuple[str, str, str | None]]:
    """The events by which jobs have ended, in their order: event, job and error."""
    return [
        (event["event"], event["data"]["device"], event["data"].get("error"))
        for event in machine.events.read(0)
        if event["event"] in ("BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED")
    ]


def refusal(machine: Machine, command: str, /, **arguments: Any) -> str:
    """The text with which a command is refused; a refused command changes nothing in the graph and in bitmaps."""
    before = _kept(machine)
    with pytest.raises(QmpError) as caught:
        machine.qmp(command, **arguments)
    assert _kept(machine) == before
    return caught.value.desc


def incremental(number: int = 0, **more: Any) -> dict[str, Any]:
    """The arguments of the usual job: ``inc0`` copies what ``b0`` of ``drive0`` says to ``inc0.qcow2``."""
    usual = {"job-id": f"inc{number}", "device": f"drive{number}", "target": f"inc{number}.qcow2"}
    return usual | {"sync": "incremental", "bitmap": "b0"} | {key.replace("_", "-"): more[key] for key in more}


def actions(*given: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Pairs of a command and its arguments as actions of a transaction."""
    return [{"type": name, "data": arguments} for name, arguments in given]


def _kept(machine: Machine) -> list[Any]:
    """Without progress, as QEMU drains before some refusals, and files, as a refused drive-backup leaves one."""
    state = machine.state()
    bitmaps = [bitmap for node in state["nodes"].values() for bitmap in node["bitmaps"] if bitmap["name"]]
    return [bitmaps, list(state["nodes"]), state["drives"]]
