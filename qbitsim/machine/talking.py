"""A machine in a process of its own."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, TextIO

from qbitsim.machine.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.images.store import ImageStore
    from qbitsim.machine.machine import MachineType
    from qbitsim.profiles import Profile, ReleaseName
    from qbitsim.qapi.registry import Registry

_PIECES = 4


class TalkingMachine(Machine):
    """A machine that prints at once, as QEMU does; what is long is printed in pieces (:meth:`take_printing`).

    :ivar out: where to; None once nobody reads it any more.
    """

    __slots__ = ("_is_new", "_unprinted", "out")

    def __init__(
        self,
        profile: ReleaseName | Profile,
        *,
        epoch: int,
        running: bool,
        images: ImageStore | None = None,
        control: bool = False,
        machine_type: MachineType = "none",
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
        self._unprinted: Iterator[str] = iter(())
        self._is_new = False  # nobody has taken over what is left to print

    def complain(self, text: str) -> None:
        """Write on standard error, with the name of the program in front."""
        with suppress(BrokenPipeError):
            sys.stderr.write(f"{os.path.basename(sys.argv[0])}: {text}\n")
            sys.stderr.flush()

    def print(self, text: str) -> None:
        """Print, after what is left of what was to be printed in pieces."""
        if text:
            self._print_rest()
            self._print(text)

    def print_pieces(self, pieces: Iterator[str]) -> None:
        """Print the first pieces, and the others later."""
        self._print_rest()
        self._unprinted = pieces
        self._is_new = True
        for piece in islice(pieces, _PIECES):
            self._print(piece)

    def take_printing(self) -> Iterator[None]:
        """Steps that print what the last command prints, if that is long; none if that is done or was asked for."""
        is_new, self._is_new = self._is_new, False
        return self._steps() if is_new else iter(())

    def _steps(self) -> Iterator[None]:
        for piece in self._unprinted:
            self._print(piece)
            yield

    def _print_rest(self) -> None:
        for piece in self._unprinted:
            self._print(piece)

    def _print(self, text: str) -> None:
        """Print, unless the reader has gone."""
        if self.out is not None and text:
            try:
                self.out.write(text)
                self.out.flush()
            except BrokenPipeError:
                self.out = None
