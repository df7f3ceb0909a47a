"""The block drivers of QEMU that qbitsim does not emulate, and how they are refused.

The names are those of BlockdevDriver (qapi/block-core.json, QEMU 7.2, 10.0 and 11.1). A driver that is declared one day
simply wins over this table.

Image files here are raw, qcow2 or vmdk. As any other format real QEMU refuses them, and so does qbitsim, with the same
texts (the open functions of the block drivers, QEMU 10.0). Where a text would quote bytes of the file, or QEMU would
open it, the refusal is qbitsim's own.
"""

from __future__ import annotations

from qbitsim.drivers.driver import DRIVERS, Driver, is_image_format
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.qapi.blockdev import BLOCKDEV_DRIVER
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from qbitsim.images.image import Image
    from qbitsim.profiles import Profile

SMALLEST = 512
"""Bytes below which some formats have other texts."""


@record
class OtherDriver:
    """A driver that only QEMU has.

    :ivar since: the first release that has it; None for all that are emulated.
    :ivar until: the first release that has it no more; None for those that go on having it.
    :ivar format: it is a format of image files.
    :ivar creates: QEMU makes images with it.
    :ivar refusal: how it refuses a file of another format, with ``{}`` for its name; empty if that is not said here.
    :ivar refusal_of_raw: the same for a raw file only.
    :ivar protocols: what file names for it begin with, in front of a colon.
    """

    name: str
    since: str | None = None
    until: str | None = None
    format: bool = False
    creates: bool = False
    refusal: str = ""
    refusal_of_raw: str = ""
    protocols: tuple[str, ...] = ()

    def refuse(self, image: Image, filename: str) -> NoReturn:
        """Refuse to open ``image`` as this format.

        :raises QmpError: always: with QEMU's text, or an :class:`UnsupportedError`.
        """
        text = self.refusal or (self.refusal_of_raw if image.format == "raw" else "")
        if not text or image.file_length < SMALLEST:
            raise UnsupportedError(f"the image format '{self.name}'")
        raise QmpError(text.format(filename))


_OTHERS = (
    OtherDriver("blkreplay", protocols=("blkreplay",)),
    OtherDriver("bochs", format=True, refusal="Image not in Bochs format"),
    OtherDriver("cloop", format=True),
    OtherDriver("dmg", format=True, refusal="Could not locate UDIF trailer in dmg file"),
    OtherDriver("ftp", protocols=("ftp",)),
    OtherDriver("ftps", protocols=("ftps",)),
    OtherDriver("gluster", until="11.1", creates=True),
    OtherDriver("http", protocols=("http",)),
    OtherDriver("https", protocols=("https",)),
    OtherDriver("io_uring", since="8.0"),
    OtherDriver("iscsi", creates=True, protocols=("iscsi",)),
    OtherDriver("luks", format=True, creates=True, refusal="Parameter 'key-secret' is required for cipher"),
    OtherDriver("nfs", creates=True, protocols=("nfs",)),
    OtherDriver("nvme", creates=True, protocols=("nvme",)),
    OtherDriver("nvme-io_uring", since="8.0"),
    OtherDriver("parallels", format=True, creates=True, refusal="Image not in Parallels format"),
    OtherDriver("qcow", format=True, creates=True, refusal_of_raw="Image not in qcow format"),
    OtherDriver("qed", format=True, creates=True, refusal="Image not in QED format"),
    OtherDriver("rbd", creates=True, protocols=("rbd",)),
    OtherDriver("replication"),
    OtherDriver("ssh", creates=True, protocols=("ssh",)),
    OtherDriver("vdi", format=True, creates=True),
    OtherDriver("vhdx", format=True, creates=True, refusal="Could not open '{}': Invalid argument"),
    OtherDriver("virtio-blk-vfio-pci", since="8.0"),
    OtherDriver("virtio-blk-vhost-user", since="8.0"),
    OtherDriver("virtio-blk-vhost-vdpa", since="8.0"),
    OtherDriver("vpc", format=True, creates=True, refusal="invalid VPC image"),
    OtherDriver("vvfat", protocols=("fat",)),
)

NOT_EMULATED = {each.name: each for each in _OTHERS}
"""The drivers that only QEMU has, by name."""

BLOCKDEV_DRIVER.refused.update({each.name: (each.since, each.until) for each in _OTHERS})


def find_driver(name: str) -> Driver | OtherDriver | None:
    """The driver with that name, of any release, emulated or not."""
    return DRIVERS.get(name) or NOT_EMULATED.get(name)


def known_driver(name: str, profile: Profile) -> Driver | OtherDriver | None:
    """The driver with that name, emulated or not, if the release has one."""
    found = DRIVERS.get(name)
    if found is not None:
        return found if profile.offers(found.since) else None
    other = NOT_EMULATED.get(name)
    return other if other is not None and profile.offers(other.since, other.until) else None


def known_format(name: str) -> bool:
    """Whether image files can have the format ``name``.

    :raises UnsupportedError: for a driver that QEMU knows and that is not emulated, or is no format here.
    """
    if is_image_format(name):
        return True
    if name in DRIVERS or name in NOT_EMULATED:
        raise UnsupportedError(f"the image format '{name}'")
    return False


def other_format(name: str) -> OtherDriver | None:
    """The format of image files with that name, if only QEMU has it."""
    other = NOT_EMULATED.get(name)
    return other if other is not None and other.format and name not in DRIVERS else None
