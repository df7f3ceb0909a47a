"""An internal snapshot in a qcow2 file, by what it means; :mod:`.snapshot_tables` says where it is."""

from __future__ import annotations

from qbitsim.images.content import Content
from qbitsim.records import record


@record(kw_only=True, eq=False)
class StoredSnapshot:
    """An internal snapshot in a qcow2 file.

    :ivar id: a decimal number; :ivar name: what people call it.
    :ivar date: nanoseconds since 1970, whole microseconds; :ivar clock: nanoseconds for which the guest had run.
    :ivar content: the disk at that time; it does not change.
    """

    id: str
    name: str
    date: int
    clock: int
    content: Content
