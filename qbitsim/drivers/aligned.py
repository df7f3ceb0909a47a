"""A filter whose requests are made of whole units (the ``request_alignment`` of BlockLimits, block/io.c, QEMU 10.0).

What a write leaves out of its first and last unit is read and written with it, and bitmaps are marked for whole units.
The end of the disk may cut the last unit.
"""

from __future__ import annotations

from qbitsim.drivers.filter_driver import FilterDriverNode
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files import permissions as perms


class AlignedNode(FilterDriverNode):
    """The common part of such filters; :attr:`limits` say what the unit is."""

    __slots__ = ()

    def on_permissions(self, perm: int, shared: int) -> None:
        """Refuse to write a last unit that is not whole (bdrv_node_check_perm, block.c, QEMU 10.0)."""
        del shared
        if perm & (perms.WRITE | perms.WRITE_UNCHANGED) and not perm & perms.RESIZE and self._is_cut:
            raise QmpError(
                "Cannot get 'write' permission without 'resize': Image size is not a multiple of request alignment"
            )

    @property
    def _is_cut(self) -> bool:
        return self.length % self.limits.request != 0

    def _widened(self, offset: int, length: int) -> tuple[int, int]:
        """Where the units of the range begin and end; the last one may be cut by the end of the disk."""
        unit = self.limits.request
        return offset - offset % unit, min(-(-(offset + length) // unit) * unit, self.length)

    def read(self, offset: int, length: int) -> bytes:
        """Read the units that the range touches."""
        start, end = self._widened(offset, length)
        return super().read(start, end - start)[offset - start :][:length]

    def write(self, offset: int, data: bytes, *, compressed: bool = False) -> None:
        """Write the units that the range touches; it is filled up with what is there."""
        start, end = self._widened(offset, len(data))
        if self._is_cut and end == self.length:
            raise UnsupportedError(f"a write of {self.driver} beyond the end of an image")
        stop = offset + len(data)
        head, tail = self._there(start, offset), self._there(stop, end)
        super().write(start, b"".join((head, data, tail)), compressed=compressed)

    def write_zeroes(self, offset: int, length: int, *, unmap: bool = False) -> None:
        """Zero whole units, and write the parts of others (bdrv_co_do_zero_pwritev, block/io.c, QEMU 10.0)."""
        unit, stop = self.limits.request, offset + length
        first, last = -(-offset // unit) * unit, stop - stop % unit
        if offset < min(first, stop):
            self.write(offset, bytes(min(first, stop) - offset))
        if first < last:
            super().write_zeroes(first, last - first, unmap=unmap)
        if first <= last < stop:
            self.write(last, bytes(stop - last))

    def _there(self, start: int, end: int) -> bytes:
        return self._read(start, end - start) if start < end else b""
