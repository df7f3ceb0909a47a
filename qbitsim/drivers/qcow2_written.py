"""Which clusters of a qcow2 image were written since its file was told of it, and how far.

It is far cheaper to keep this than to tell the file of each write: only who asks for statistics, for a threshold or
for what is in memory pays.
"""

from __future__ import annotations

from itertools import islice

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.images.qcow2.image import Qcow2Image

SLICE_ENTRIES = 512


class WrittenClusters:
    """The clusters of one image.

    :ivar reach: guest cluster -> how many of its bytes were written, from its beginning on. The node puts the requests
        of one cluster there itself.
    """

    __slots__ = ("_image", "_known", "_old", "_slices", "reach")

    def __init__(self, image: Qcow2Image) -> None:
        self.reach: dict[int, int] = {}
        self._image = image
        self._slices: set[int] = set()
        self._known = 0  # so many of what was written are known to be in the slices
        self._old = len(image.content.allocation_order())

    def __bool__(self) -> bool:
        """Whether some slice of the L2 tables is in memory."""
        return bool(self._slices or self.reach)

    def begin(self) -> None:
        """Let what is stored from now on be new; nothing was written since the file was told last."""
        self._old = len(self._image.content.allocation_order())

    def note(self, offset: int, end: int) -> None:
        """Keep how far each cluster is written."""
        unit = self._image.cluster_size
        for cluster in range(offset // unit, -(-end // unit)):
            reach = min(unit, end - cluster * unit)
            if reach > self.reach.get(cluster, 0):
                self.reach[cluster] = reach

    def new_clusters(self) -> set[int]:
        """The clusters that were stored since the file was told last."""
        stored = self._image.content.allocation_order()
        return set(islice(reversed(stored), max(0, len(stored) - self._old)))

    def told(self) -> int:
        """How far the file is written, 0 if it was not written; then nothing is left to be told."""
        self._note_slices()
        new, unit, layout, end = self.new_clusters(), self._image.cluster_size, self._image.layout, 0
        for cluster, reach in self.reach.items():
            place = layout.host_offset(cluster * unit)
            if place is not None:
                end = max(end, place + (unit if cluster in new else reach))
        self.reach.clear()
        self._known = 0
        self.begin()
        return end

    # -- the slices of the L2 tables that writing has brought into memory: the cache holds them in 4 KiB

    def load_slices(self, offset: int, length: int) -> None:
        """The slices for a range are in memory now."""
        self._slices.update(self._slices_of(offset, length))

    def has_slices(self, offset: int, length: int) -> bool:
        """Whether the slices for a range are in memory."""
        self._note_slices()
        return self._slices.issuperset(self._slices_of(offset, length))

    def _note_slices(self) -> None:
        """Let the slices be known in which the clusters are that were written since they were noted last."""
        self._slices.update({cluster // SLICE_ENTRIES for cluster in islice(self.reach, self._known, None)})
        self._known = len(self.reach)

    def _slices_of(self, offset: int, length: int) -> range:
        span = self._image.cluster_size * SLICE_ENTRIES
        return range(offset // span, (offset + length - 1) // span + 1)
