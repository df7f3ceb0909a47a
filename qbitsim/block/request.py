"""A request of the guest, so that it can be made again."""

from __future__ import annotations

from qbitsim.records import record


@record(kw_only=True)
class GuestRequest:
    """What a guest asked of its drive.

    :ivar operation: ``read``, ``write``, ``write-zeroes``, ``discard`` or ``flush``.
    :ivar offset: bytes; ``length`` too. A write has ``data`` instead of a length.
    """

    operation: str
    offset: int = 0
    length: int = 0
    data: bytes = b""
    compressed: bool = False
    unmap: bool = False
