"""The formats of image files, as command lines name them."""

from __future__ import annotations

from qbitsim.errors import UnsupportedError
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.raw import RawImage
from qbitsim.qemu_img.options import ToolError

_FORMATS = {RawImage.format, Qcow2Image.format, "vmdk"}
_AMENDABLE = {Qcow2Image.format, "luks"}


def known_format(name: str) -> bool:
    """Whether image files can have the format ``name``.

    :raises UnsupportedError: for a driver that QEMU knows and that is not emulated, or is no format here.
    """
    if name in _FORMATS:
        return True
    from qbitsim.drivers.not_emulated import known_format as ask  # noqa: PLC0415 - loads all drivers

    return ask(name)


def check_format(name: str, purpose: str = "image creation") -> None:
    """Refuse a format that there is not, or that does not support a purpose.

    :param purpose: ``image creation``, or ``option amendment``.
    :raises ToolError: so QEMU says.
    :raises UnsupportedError: it is not emulated.
    """
    if name == Qcow2Image.format or (name in _FORMATS and purpose == "image creation"):
        return
    from qbitsim.drivers.not_emulated import find_driver  # noqa: PLC0415 - loads all drivers

    driver = find_driver(name)
    if driver is None:
        raise ToolError(f"Unknown file format '{name}'")
    if not (driver.creates if purpose == "image creation" else name in _AMENDABLE):
        raise ToolError(f"Format driver '{name}' does not support {purpose}")
    raise UnsupportedError(f"the image format '{name}'")
