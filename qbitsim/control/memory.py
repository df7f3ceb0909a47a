"""What control commands keep beside the machine, whatever becomes of it.

A machine that may be controlled over QMP (``Machine(control=True)``, ``qbitsim serve --control``) has one of these. It
is no part of the machine's state: putting the machine back makes no snapshot undone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qbitsim.commands.parts import SnapshotLike


class Control:
    """The memory of the control commands of one machine.

    :ivar snapshots: what was kept, by name.
    :ivar lives: how often the machine was started anew or has crashed; monitors of an earlier life have ended.
    :ivar pacing: the pacing that a client has asked for and the server has not yet set.
    :ivar time_moved: whether a command has moved the machine's time and the server has not yet noticed.
    """

    __slots__ = ("lives", "pacing", "snapshots", "time_moved")

    def __init__(self) -> None:
        self.snapshots: dict[str, SnapshotLike] = {}
        self.lives = 0
        self.pacing: str | None = None
        self.time_moved = False
