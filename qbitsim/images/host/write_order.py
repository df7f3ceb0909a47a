"""When an image in a file of the host writes one half of its tables, as the other half waits for it."""

from __future__ import annotations

from qbitsim.images.qcow2.cache_order import CacheOrder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from qbitsim.images.host.qcow2 import HostQcow2Image
    from qbitsim.images.host.table_writer import TableWriter
    from qbitsim.images.qcow2.tables import Packed


class WriteOrder(CacheOrder):
    """The two caches of an image in a file.

    :param image: it.
    :param writer: writes its tables.
    :ivar table_made: an L2 table was made since all was written.
    """

    __slots__ = ("_image", "_is_late", "_writer", "table_made")

    def __init__(self, image: HostQcow2Image, writer: TableWriter) -> None:
        super().__init__()
        self._image, self._writer = image, writer
        self.table_made = False
        self._is_late = False  # refcounts could not be written, of which the tables in the file say nothing yet

    def __bool__(self) -> bool:
        return False  # what is in the file can be read there

    def forget(self) -> None:
        """As of every order; it is written at the end of the request, if not before: until then it is in order."""
        self.table_made = True

    def save(self) -> None:
        """As of every order."""
        super().forget()
        self.table_made = self._is_late = False

    def _save_entries(self) -> None:
        if self._is_late:
            self._writer.write_within_request()
        else:
            self._writer.write_tables()

    def _save_counts(self) -> None:
        try:
            self._writer.write_refcounts()
        except OSError:
            self._is_late = True  # what is freed is freed; who needs them tries again

    def remember_written(
        self, guests: range, moved: Mapping[int, int | Packed | None], places: Mapping[int, int]
    ) -> None:
        """As of every order."""
        del places
        stored = self._image.content.allocation_order()
        if moved or any(guest not in stored for guest in guests):
            self.link()
