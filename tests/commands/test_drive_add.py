"""What ``drive_add`` of the human monitor says beside what it makes; the texts are those of QEMU 10.0."""

from __future__ import annotations

from qbitsim.machine.machine import Machine

MIB = 1 << 20


def machine_with_chain() -> Machine:
    """An overlay ``o.qcow2`` over ``a.qcow2``, neither of which is open."""
    machine = Machine("10.0")
    machine.images.create("a.qcow2", "qcow2", MIB)
    machine.images.create("o.qcow2", "qcow2", MIB, backing="a.qcow2", backing_format="qcow2")
    return machine


def drive_add(machine: Machine, options: str) -> str:
    line = f"drive_add 0 if=none,id=d,{options}"
    return str(machine.execute("human-monitor-command", {"command-line": line}))


def test_a_backing_file_that_somebody_writes_is_hinted_at_as_any_other_file() -> None:
    machine = machine_with_chain()
    machine.add_node({"driver": "qcow2", "node-name": "a", "file": {"driver": "file", "filename": "a.qcow2"}})
    refusal = 'Failed to get shared "write" lock\r\nIs another process using the image [a.qcow2]?\r\n'
    assert drive_add(machine, "file=o.qcow2") == f"Could not open backing file: {refusal}"
    assert list(machine.graph.drives) == []


def test_an_empty_name_of_a_backing_file_is_warned_of_where_the_line_was_typed() -> None:
    machine, reported = machine_with_chain(), []
    machine.graph.complain = reported.append
    warning = 'warning: Use of "backing": "" is deprecated; use "backing": null instead\r\n'
    assert drive_add(machine, "file=o.qcow2,backing=") == f"{warning}OK\r\n"
    assert machine.drive("d").node.backing is None
    assert reported == []


def test_an_empty_name_of_a_backing_file_in_a_command_is_reported() -> None:
    machine, reported = machine_with_chain(), []
    machine.graph.complain = reported.append
    file = {"driver": "file", "filename": "o.qcow2"}
    added = {"driver": "qcow2", "node-name": "o", "file": file, "backing": ""}
    assert machine.execute("blockdev-add", added) == {}
    assert machine.graph.nodes["o"].backing is None
    assert reported == ['warning: Use of "backing": "" is deprecated; use "backing": null instead']
    assert added["backing"] == ""
