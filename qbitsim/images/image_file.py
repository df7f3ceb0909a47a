"""A file of the image store: who has it open, how it fails, how much it may hold, and the image that is in it now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.files.locks import Locks

if TYPE_CHECKING:
    from qbitsim.files.faults import Faults
    from qbitsim.images.image import Image


class ImageFile:
    """One file. Making an image in it replaces the one that was there, for everybody who has the file open.

    :ivar name: under which it was created, or renamed.
    :ivar image: what it holds; the first image that is made in it sets it.
    :ivar locks: who has it open.
    :ivar faults: rules that make requests on the disk in it fail, None if there are none.
    :ivar capacity: the most bytes that the disk, and bitmaps that are to be stored, may take; None for no limit.
    """

    __slots__ = ("capacity", "faults", "image", "locks", "name")

    image: Image

    def __init__(self, name: str, capacity: int | None = None) -> None:
        self.name = name
        self.capacity = capacity
        self.locks = Locks()
        self.faults: Faults | None = None

    def copy(self) -> ImageFile:
        """A file of the same name and capacity with an image of the same value, which nobody has open."""
        twin = ImageFile(self.name, self.capacity)
        self.image.copy_into(twin)
        return twin
