"""In which order QEMU writes the L2 tables and the refcounts of an image (block/qcow2-cache.c, 10.0).

It keeps them in two caches. Both are written when the image is flushed, and where an L2 table is made (l2_allocate).
Otherwise one waits for the other (qcow2_cache_set_dependency):

* An L2 entry that leads to a new cluster must not be there before its refcount.
* A refcount must not fall before the L2 entry has gone.

Where the second comes after the first, the refcounts are written before; where the first comes after the second, the
L2 tables are. So a cluster that was freed is never used again while the file still leads to it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Literal

    from qbitsim.images.qcow2.image import Qcow2Image
    from qbitsim.images.qcow2.tables import Packed


class CacheOrder:
    """The two caches of one image that is open.

    Who has it is told of what changes; what is remembered of the changes themselves is up to a subclass.

    :ivar stored_then: how many clusters the content had stored when the tables were written, as long as these have not
        all been placed; otherwise None.
    """

    __slots__ = ("_waits", "stored_then")

    def __init__(self) -> None:
        self._waits: Literal["tables", "refcounts"] | None = None  # the cache that must not be written first
        self.stored_then: int | None = None

    def __bool__(self) -> bool:
        """Whether the file says something else than the image."""
        raise NotImplementedError

    def put_back(self, image: Qcow2Image) -> None:
        """Let an image of the same value say what the file says; nothing of it is left to be placed."""
        raise NotImplementedError

    def _save_entries(self) -> None:
        """The L2 tables are written."""
        raise NotImplementedError

    def _save_counts(self) -> None:
        """The refcounts are written."""
        raise NotImplementedError

    # -- what is written

    def save(self) -> None:
        """All is written."""
        self.forget()

    def forget(self) -> None:
        """All that was placed until now is written."""
        self._waits = None

    def save_refcounts(self) -> None:
        """A refcount block is made: the others are written before, and what they wait for."""
        if self._waits == "refcounts":
            self._save_entries()
            self._waits = None
        self._save_counts()

    # -- what changes

    def link(self) -> None:
        """L2 entries are about to lead to new clusters; their refcounts have to be written first."""
        if self._waits == "refcounts":
            self._save_entries()
        self._waits = "tables"

    def count(self, first: int, stop: int) -> None:
        """Each cluster of the file from *first* to before *stop* has one reference more."""

    def free(self, first: int, stop: int) -> None:
        """Each has one less, once the L2 tables are written."""
        del first, stop
        if self._waits == "tables":
            self._save_counts()
        self._waits = "refcounts"

    def remember(self, guest: int, place: int | Packed | None) -> None:
        """The entry of a guest cluster is about to change, which is at *place*."""

    def remember_stored(self, guests: Iterable[int], places: Mapping[int, int]) -> None:
        """Guest clusters have data since the last look, which they had not before.

        :param places: where those are that were ZERO at a place of their own.
        """

    def remember_written(
        self, guests: range, moved: Mapping[int, int | Packed | None], places: Mapping[int, int]
    ) -> None:
        """Guest clusters are about to be written.

        :param moved: of those with a new place the old one; :param places: where others are written that have one.
        """
        raise NotImplementedError

    def remember_holes(self, first: int, stop: int) -> None:
        """Guest clusters from *first* to before *stop* are about to become ZERO."""
