"""A file of the host that begins as a qcow2 file does and cannot be opened as one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.images.host.plain import HostRawImage

if TYPE_CHECKING:
    from qbitsim.images.host.file import HostImageFile


class HostDamagedImage(HostRawImage):
    """Its bytes, and why the format refuses them.

    :param refusal: QEMU's text, or one of qbitsim's own.
    """

    __slots__ = ("_refusal",)

    format = "qcow2"

    def __init__(self, file: HostImageFile, refusal: str) -> None:
        super().__init__(file)
        self._refusal = refusal

    def refusal(self, *, write: bool) -> str | None:
        """Always the same."""
        del write
        return self._refusal
