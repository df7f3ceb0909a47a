"""What a chain of backups, laid over each other and completed by the dirty bits, makes of a disk.

Contents are compared by the granule, and only where something is stored; equal granules are mostly the same object, so
that a comparison costs little more than counting them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from qbitsim.images.chain import read_chain

if TYPE_CHECKING:
    from qbitsim.block.bitmap import DirtyBitmap
    from qbitsim.block.node import Node
    from qbitsim.images.content import Content
    from qbitsim.images.image import Image
    from qbitsim.machine.machine import Machine

GRANULE = 65536
"""Bytes that are compared at once where there is no bitmap."""


def image_of(node: Node) -> Image | None:
    """The image file whose disk the node shows; None if it has none, such as null-co."""
    while (image := node.disk_image) is None and node.children:
        node = node.children[0].node
    return image


def disk_of(node: Node) -> list[Content]:
    """The contents that make the disk, the active one first."""
    contents = []
    below: Node | None = node
    while below is not None:
        image = image_of(below)
        if image is not None:
            contents.append(image.content)
        below = below.backing_chain_next
    return contents


def files_of(machine: Machine, files: Sequence[str]) -> list[Content]:
    """The contents of backups, given oldest first, as a chain.

    :raises OSError: ENOENT if one does not exist.
    """
    return [machine.images.lookup(name).content for name in reversed(files)]


def differing(one: Sequence[Content], other: Sequence[Content], granule: int = GRANULE) -> Iterator[int]:
    """The numbers of the granules in which two chains read differently, ascending."""
    numbers: set[int] = set()
    for content in (*one, *other):
        unit = content.cluster_size
        stored = content.stored_clusters()
        if unit == granule:
            numbers.update(stored)
        elif unit < granule:
            numbers.update(cluster * unit // granule for cluster in stored)
        else:
            ratio = unit // granule
            numbers.update(number for cluster in stored for number in range(cluster * ratio, (cluster + 1) * ratio))
    for number in sorted(numbers):
        left, right = read_chain(one, number * granule, granule), read_chain(other, number * granule, granule)
        if left is not right and left != right:
            yield number


def find_bitmaps(node: Node, name: str, *, below: bool = True) -> Iterator[DirtyBitmap]:
    """The bitmaps of that name on the node and on those that it filters, and, ``below``, on its backing files."""
    each: Node | None = node
    while each is not None:
        for bitmap in each.bitmaps:
            if bitmap.name == name and not bitmap.inconsistent:
                yield bitmap
        each = each.filtered or (each.backing if below else None)


def any_dirty(bitmaps: Sequence[DirtyBitmap], offset: int) -> bool:
    """Whether one of the bitmaps has a byte dirty, or would have it if the job that uses it failed now."""
    for bitmap in bitmaps:
        if offset < bitmap.size:
            granule = offset >> bitmap.shift
            successor = bitmap.successor
            if bitmap.bits.get(granule) or (successor is not None and successor.bits.get(granule)):
                return True
    return False
