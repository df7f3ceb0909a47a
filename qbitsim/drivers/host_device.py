"""``host_device`` and ``host_cdrom``: devices of the host, of which there are none here.

What is known is how QEMU refuses files that are none (raw_open_common, block/file-posix.c, QEMU 10.0).
"""

from __future__ import annotations

import errno

from qbitsim.drivers.driver import DriverNode, driver
from qbitsim.drivers.file import BlockdevOptionsFile, FileNode, check_has_filename, without_protocol
from qbitsim.drivers.options import Options, flag
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files.failures import NoRegularFileError, failure_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
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
class HostDeviceNode(DriverNode):
    """``host_device``: never there."""

    __slots__ = ()

    @classmethod
    def open(cls, opener: Opener, options: Options) -> NoReturn:
        """Refuse the file.

        :raises QmpError: it is missing, or no device.
        :raises UnsupportedError: it is a device.
        """
        check_has_filename(options, cls.driver)
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

    @classmethod
    def take_filename(cls, name: str, options: Options) -> Mapping[str, str]:
        """See :func:`.without_protocol`."""
        options["filename"] = without_protocol(name, cls.driver)
        return {}

    @classmethod
    def complete_options(cls, options: Options) -> None:
        """See :func:`.check_has_filename`."""
        check_has_filename(options, cls.driver)

    @classmethod
    def check_options(cls, options: Mapping[str, object]) -> None:
        """Refuse what ``file`` refuses."""
        FileNode.check_options(options)


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
