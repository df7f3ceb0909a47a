"""An internal snapshot in a qcow2 file, by what it means; :mod:`.snapshot_tables` says where it is."""

from __future__ import annotations

from collections.abc import Sequence

from qbitsim.images.content import Content
from qbitsim.records import record


@record(kw_only=True, eq=False)
class StoredSnapshot:
    """An internal snapshot in a qcow2 file.

    :ivar id: a decimal number; :ivar name: what people call it.
    :ivar date: nanoseconds since 1970, whole microseconds; :ivar clock: nanoseconds for which the guest had run.
    :ivar content: the disk at that time; it does not change.
    :ivar state_size: bytes of the machine's state that it has; 0 for a snapshot of the disk alone.
    """

    id: str
    name: str
    date: int
    clock: int
    content: Content
    state_size: int


def find_by_id_or_name(snapshots: Sequence[StoredSnapshot], text: str) -> StoredSnapshot | None:
    """The snapshot whose id, or else whose name, is *text* (find_snapshot_by_id_or_name, block/qcow2-snapshot.c)."""
    by_id = next((found for found in snapshots if found.id == text), None)
    return by_id or next((found for found in snapshots if found.name == text), None)
