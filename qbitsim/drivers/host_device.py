"""``host_device`` and ``host_cdrom``: devices of the host, of which there are none here.

What is known is how QEMU refuses files that are none (raw_open_common, block/file-posix.c, QEMU 10.0).
"""

from __future__ import annotations

import errno

from qbitsim.drivers.driver import driver
from qbitsim.drivers.file import BlockdevOptionsFile, NamedFileNode
from qbitsim.drivers.options import Options, flag
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files.failures import NoRegularFileError, failure_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from qbitsim.drivers.opener import Opener


@driver(
    "host_device",
    options=BlockdevOptionsFile,
    creates=True,
    protocols=["host_device"],
    strong=["filename"],
    accepts={"pr-manager": ()},
)
class HostDeviceNode(NamedFileNode):
    """``host_device``: never there."""

    __slots__ = ()

    @classmethod
    def open(cls, opener: Opener, options: Options) -> NoReturn:
        """Refuse the file.

        :raises QmpError: it is missing, or no device.
        :raises UnsupportedError: it is a device.
        """
        cls.complete_options(options)
        filename = options["filename"]
        if options.get("node-name") is not None:
            opener.graph.check_name(options["node-name"])  # before the file is opened (bdrv_open_driver)
        try:
            opener.graph.images.file(filename)
        except OSError as error:
            if isinstance(error, NoRegularFileError):
                raise UnsupportedError(f"the block driver '{cls.driver}' on a device of the host") from None
            reads = flag(options, "read-only") or flag(options, "auto-read-only")
            if error.errno != errno.EISDIR or not reads:  # a directory can be read
                raise QmpError(failure_text("open", filename, error)) from None
        raise QmpError(f"'{cls.driver}' driver requires '{filename}' to be either a character or block device")


@driver(
    "host_cdrom",
    options=BlockdevOptionsFile,
    creates=True,
    protocols=["host_cdrom"],
    strong=["filename"],
    accepts={"pr-manager": ()},
)
class HostCdromNode(HostDeviceNode):
    """``host_cdrom``: never there."""

    __slots__ = ()
