"""The formats of image files, as command lines name them."""

from __future__ import annotations

from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.raw import RawImage

_FORMATS = {RawImage.format, Qcow2Image.format}


def known_format(name: str) -> bool:
    """Whether image files can have the format ``name``.

    :raises UnsupportedError: for a driver that QEMU knows and that is not emulated, or is no format here.
    """
    if name in _FORMATS:
        return True
    from qbitsim.drivers.not_emulated import known_format as ask  # noqa: PLC0415 - loads all drivers

    return ask(name)
