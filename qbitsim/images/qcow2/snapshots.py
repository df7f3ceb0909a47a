"""An internal snapshot in a qcow2 file, by what it means; :mod:`.snapshot_tables` says where it is."""

from __future__ import annotations

import os

from qbitsim.images.content import Content
from qbitsim.images.qcow2.structures import SNAPSHOT_EXTRA, SNAPSHOT_FIXED
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


@record(kw_only=True, eq=False)
class StoredSnapshot:
    """An internal snapshot in a qcow2 file.

    :ivar id: a decimal number, if it was made here; :ivar name: what people call it.
    :ivar date: nanoseconds since 1970, whole microseconds; :ivar clock: nanoseconds for which the guest had run.
    :ivar content: the disk at that time; it does not change.
    :ivar icount: instructions that the guest had executed, -1 if unknown.
    :ivar extra: what another program keeps in the file about it.
    :ivar state_size: bytes of the machine's state that it has; 0 for a snapshot of the disk alone.
    """

    id: str
    name: str
    date: int
    clock: int
    content: Content
    state_size: int = 0
    icount: int = -1
    extra: bytes = b""

    @property
    def number(self) -> int:
        """The id as a number, as far as it is one (strtoul)."""
        import re  # noqa: PLC0415 - few files have snapshots

        digits = re.match(r"\s*(\d*)", self.id, re.ASCII)
        return int(digits[1] or 0) if digits else 0

    @property
    def part_lengths(self) -> tuple[int, ...]:
        """Bytes of the parts of its entry in the list of snapshots."""
        return SNAPSHOT_FIXED, SNAPSHOT_EXTRA, len(self.extra), len(os.fsencode(self.id)), len(os.fsencode(self.name))

    @property
    def entry_length(self) -> int:
        """Bytes of its entry in the list of snapshots."""
        return sum(self.part_lengths)


def find_by_id_or_name(snapshots: Sequence[StoredSnapshot], text: str) -> StoredSnapshot | None:
    """The snapshot whose id, or else whose name, is *text* (find_snapshot_by_id_or_name, block/qcow2-snapshot.c)."""
    by_id = next((found for found in snapshots if found.id == text), None)
    return by_id or next((found for found in snapshots if found.name == text), None)
