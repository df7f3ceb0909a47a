"""Where in a VMDK file the grains of its disk are listed."""

from __future__ import annotations

from qbitsim.images.vmdk import structures
from qbitsim.images.vmdk.structures import Header, pack_directory
from qbitsim.records import record
from qbitsim.sizes import SECTOR

GRAIN = 128
TABLE_ENTRIES = 512
_TABLE_SECTORS = TABLE_ENTRIES * structures.TABLE_ENTRY // SECTOR


@record
class Extent:
    """The one extent of an image.

    :ivar header: of the file, or its footer.
    :ivar directory: the sectors of the grain tables, 0 for one that is not there.
    :ivar redundant: those of their copies, empty if there are none.
    :ivar has_footer: the directory is at the end of the file.
    """

    header: Header
    directory: tuple[int, ...]
    redundant: tuple[int, ...]
    has_footer: bool = False

    @property
    def size(self) -> int:
        """Bytes of the disk."""
        return self.header.capacity * SECTOR

    @property
    def grain_size(self) -> int:
        """Bytes."""
        return self.header.grain * SECTOR

    @property
    def is_compressed(self) -> bool:
        """Whether each grain is compressed, so that it can be written once (streamOptimized)."""
        return self.header.compression == structures.DEFLATE

    @property
    def has_markers(self) -> bool:
        """Whether compressed grains have markers in front of them."""
        return bool(self.header.flags & structures.MARKERS)

    @property
    def has_zero_grains(self) -> bool:
        """Whether a table can say that a grain is zero."""
        return bool(self.header.flags & structures.ZERO_GRAINS)

    def places(self, grain: int) -> list[int]:
        """Where in the file the entry of a grain is, and its copy if there is one; nothing without a table."""
        table, index = divmod(grain, self.header.table_entries)
        return [
            each[table] * SECTOR + index * structures.TABLE_ENTRY
            for each in (self.directory, self.redundant)
            if table < len(each) and each[table]
        ]


def new_extent(size: int, *, compressed: bool, zero_grains: bool) -> Extent:
    """That of a new image (vmdk_init_extent, block/vmdk.c, 10.0).

    :param size: bytes of the disk, in whole sectors.
    """
    flags = structures.NEWLINE_TEST | structures.REDUNDANT_DIRECTORY
    flags |= structures.COMPRESSED | structures.MARKERS if compressed else 0
    flags |= structures.ZERO_GRAINS if zero_grains else 0
    tables = -(-size // (GRAIN * TABLE_ENTRIES * SECTOR))
    directory_sectors = len(pack_directory([0] * tables)) // SECTOR
    redundant = (structures.DESCRIPTOR_PLACE + structures.DESCRIPTOR_LENGTH) // SECTOR
    directory = redundant + directory_sectors + tables * _TABLE_SECTORS
    end = directory + directory_sectors + tables * _TABLE_SECTORS
    header = Header(
        file_version=3 if compressed else 2 if zero_grains else 1,
        flags=flags,
        capacity=size // SECTOR,
        grain=GRAIN,
        descriptor=(structures.DESCRIPTOR_PLACE // SECTOR, structures.DESCRIPTOR_LENGTH // SECTOR),
        table_entries=TABLE_ENTRIES,
        redundant=redundant,
        directory=directory,
        overhead=-(-end // GRAIN) * GRAIN,
        compression=structures.DEFLATE if compressed else 0,
    )
    return Extent(header, _tables(directory, directory_sectors, tables), _tables(redundant, directory_sectors, tables))


def _tables(first: int, directory_sectors: int, tables: int) -> tuple[int, ...]:
    """The sectors of the grain tables that follow a directory at sector *first*."""
    return tuple(first + directory_sectors + table * _TABLE_SECTORS for table in range(tables))
