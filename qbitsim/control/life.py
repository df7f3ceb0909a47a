"""A machine that ends and is started anew on its files, in place, so that whoever serves it goes on serving it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qbitsim.engine.scheduler import NANOSECONDS
from qbitsim.files.faults import Rule
from qbitsim.machine.injection import Refusal

if TYPE_CHECKING:
    from qbitsim.block.node import Node
    from qbitsim.machine.machine import Machine

Boot = list[tuple[str, str | None, dict[str, Any]]]
"""For each drive its id, the name of its image (None without a medium) and the options of its topmost node."""


def boot_drives(machine: Machine) -> Boot:
    """The drives as a new process would be given them; those on no image file are left out."""
    boot: Boot = []
    for drive in machine.graph.drives.values():
        if drive.root is None:
            boot.append((drive.id, None, {}))
            continue
        node = drive.root.node.skip_filters()
        name = node.children[0].node.opened_as if node.is_format else None
        if name is not None and drive.id:
            boot.append((drive.id, name, _options(node)))
    return boot


def _options(node: Node) -> dict[str, Any]:
    options = {
        "driver": node.driver,
        "read-only": node.read_only,
        "discard": "unmap" if node.unmap else "ignore",
    }
    return options if node.auto_named else {**options, "node-name": node.name}


def start_anew(machine: Machine, boot: Boot) -> None:
    """Make a machine that has ended into a new one of the same release, at the same time, on the same files.

    Faults of images and refusals stay; faults of monitors, guest activity and jobs ended with the process. The log of
    events goes on, so that old monitors can be told what was said last.
    """
    from qbitsim.machine.machine import Machine  # noqa: PLC0415 - which imports the commands

    kept = {name: handle for name, handle in machine.handles.items() if isinstance(handle, (Rule, Refusal))}
    now, events, waited, refusals = machine.scheduler.now, machine.events, machine.waited, machine.refusals
    control, journal, observer = machine.control, machine.journal, machine.scheduler.observer
    Machine.__init__(
        machine,
        machine.profile,
        images=machine.images,
        policy=machine.scheduler.policy,
        epoch=(machine.time_of_day() - now) // NANOSECONDS,
        pacing=machine.pacing,
        control=True,
    )
    machine.scheduler.move_clock(now)
    machine.events, machine.waited, machine.refusals, machine.handles = events, waited, refusals, kept
    machine.control, machine.journal, machine.scheduler.observer = control, journal, observer
    for identifier, file, options in boot:
        machine.add_drive(identifier, machine.open_file(file, options) if file is not None else None)
    if observer is not None:
        observer.noted("look", "QEMU is started anew on its files")
