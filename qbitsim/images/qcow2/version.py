"""The version of a qcow2 file, when it changes (qcow2_amend_options, 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.images.content import Kind
from qbitsim.images.qcow2.allocator import TABLE_ENTRY

if TYPE_CHECKING:
    from qbitsim.images.content import Content
    from qbitsim.images.qcow2.image import Qcow2Image
    from qbitsim.images.qcow2.layout import HostLayout
    from qbitsim.images.qcow2.tables import Tables


def upgrade(image: Qcow2Image) -> None:
    """Version 3 from now on."""
    if image.compat == "0.10":
        image.compat = "1.1"
        image.content.zero_clusters = True
        image.layout.active.allow_zeroes(allowed=True)
        image.save()  # in front of all that only this version has


def downgrade(image: Qcow2Image, *, backed: bool) -> None:
    """Version 2 from now on, which has no ZERO clusters and no bitmaps; the places of bitmaps are lost.

    Zeroed clusters that have a place, or hide a backing file, are stored as zeroes; the others become holes.

    :param backed: there is a backing file.
    """
    layout = image.layout
    contents = [image.content, *(found.content for found in image.snapshots)]
    for content, tables in zip(contents, [layout.active, *layout.snapshots.saved], strict=True):
        if backed:
            _place_zeroes(layout, tables, content)
        content.expand_zeroes(tables.places)
    layout.active.allow_zeroes(allowed=False)
    layout.settle(image.content)
    image.compat, image.lazy_refcounts = "0.10", False
    if image.bitmaps:
        image.store_bitmaps(image.bitmaps)
        image.bitmaps = []
        image.has_stale_bitmaps = True
        layout.bitmaps.lose()


def _place_zeroes(layout: HostLayout, tables: Tables, content: Content) -> None:
    """Give places to the ZERO clusters of *content* that hide a backing file (expand_zero_clusters_in_l1).

    :param tables: those of the content.
    """
    for offset, length in content.ranges(Kind.ZERO):
        for guest in range(offset // layout.cluster_size, -(-(offset + length) // layout.cluster_size)):
            if guest not in tables.places:
                _give_place(layout, tables, guest)


def _give_place(layout: HostLayout, tables: Tables, guest: int) -> None:
    """Give a place to a guest cluster in all tables that share its L2 table."""
    number = guest // (layout.cluster_size // TABLE_ENTRY)
    table, place = tables.l2[number], layout.clusters.take(1)
    for each in (layout.active, *layout.snapshots.saved):
        if each.l2.get(number) == table:
            each.places[guest] = place
    layout.clusters.refer_to(place, layout.clusters.refcount(table) - 1)
