"""A machine in a process of its own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TextIO

from qbitsim.machine.machine import Machine

if TYPE_CHECKING:
    from qbitsim.images.store import ImageStore
    from qbitsim.profiles import Profile
    from qbitsim.qapi.registry import Registry


class TalkingMachine(Machine):
    """A machine that prints at once, as QEMU does.

    :ivar out: where to; None once nobody reads it any more.
    """

    __slots__ = ("out",)

    def __init__(
        self,
        profile: str | Profile,
        *,
        epoch: int,
        running: bool,
        images: ImageStore | None = None,
        control: bool = False,
        machine_type: str = "none",
        registry: Registry | None = None,
    ) -> None:
        super().__init__(
            profile,
            images=images,
            epoch=epoch,
            running=running,
            control=control,
            machine_type=machine_type,
            registry=registry,
        )
        self.announces_images = True
        self.out: TextIO | None = sys.stdout

    def print(self, text: str) -> None:
        """Print, unless the reader has gone."""
        if self.out is not None and text:
            try:
                self.out.write(text)
                self.out.flush()
            except BrokenPipeError:
                self.out = None
