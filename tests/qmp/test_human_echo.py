"""A line that is typed at a human monitor is shown before it runs, for what it does may print elsewhere."""

from __future__ import annotations

from qbitsim.machine.machine import Machine
from qbitsim.qmp.human_session import HumanSession


def test_a_line_is_shown_before_it_runs() -> None:
    machine = Machine()
    machine.add_disk("d", 1 << 20)
    session = HumanSession(machine)
    session.receive(b'qemu-io d "write -q 0 1k"\rinfo name\r')
    assert session.answer().endswith(b"\r\n")
    assert machine.drive("d").read(0, 1) == b"\0"
    assert session.answer() == b"(qemu) "
    assert machine.drive("d").read(0, 1) == b"\xcd"
    assert session.ready
    assert session.answer().endswith(b"\r\n")
    assert session.answer() == b"(qemu) "
    assert not session.ready


def test_a_long_line_is_taken_in_slices() -> None:
    session = HumanSession(Machine())
    session.receive(b"x" * 1000)
    session.answer()
    assert session.ready
    assert session.pending == 744
