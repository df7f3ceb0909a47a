"""What of a file of the host nobody has written, as the file system says."""

from __future__ import annotations

from qbitsim.images.file_holes import FileHoles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.files.tree import OpenFile


class HostHoles(FileHoles):
    """The holes of one file; nobody has to tell what is written.

    :param file: open.
    """

    __slots__ = ("_file",)

    def __init__(self, file: OpenFile) -> None:
        super().__init__()
        self._file = file

    def __bool__(self) -> bool:
        return True

    def add(self, start: int, end: int) -> None:
        """The file knows."""

    def run(self, start: int, end: int) -> tuple[bool, int]:
        """Whether the file has a hole at *start*, and how far, before *end*, that goes on (find_allocation)."""
        data = self._file.next_data(start)
        if data is None:
            return True, end - start
        if data > start:
            return True, min(data, end) - start
        return False, min(self._file.next_hole(start), end) - start

    def copy(self) -> HostHoles:
        """The same file."""
        return HostHoles(self._file)
