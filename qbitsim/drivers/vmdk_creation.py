"""Making a VMDK image as ``blockdev-create`` asks for it (block/vmdk.c, QEMU 10.0)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qbitsim.block.drive import Drive
from qbitsim.drivers.file import file_below
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files import permissions as perms
from qbitsim.sizes import SECTOR

if TYPE_CHECKING:
    from qbitsim.drivers.opener import Opener
    from qbitsim.images.vmdk.options import VmdkOptions


class VmdkCreation:
    """Makes a VMDK image in the file of a node (vmdk_co_create).

    :param options: of BlockdevCreateOptionsVmdk, under QAPI's names.
    """

    __slots__ = ("_opener", "_options")

    def __init__(self, opener: Opener, options: Mapping[str, Any]) -> None:
        self._opener = opener
        self._options = options

    def check(self) -> None:
        """Refuse what is no image, or one that is not emulated."""
        if self._options["size"] % SECTOR:
            raise QmpError(f"Image size must be a multiple of {SECTOR} bytes")
        from qbitsim.images.vmdk.new_file import check_one_file  # noqa: PLC0415 - few make one

        given = self._given()
        refusal = given.refusal()
        if refusal is not None:
            raise QmpError(refusal)
        check_one_file(given)
        if self._options.get("backing-file") is not None:
            raise UnsupportedError("vmdk images with a parent")

    def _given(self) -> VmdkOptions:
        from qbitsim.images.vmdk.options import VmdkOptions  # noqa: PLC0415

        names = ("adapter-type", "hwversion", "subformat", "toolsversion", "zeroed-grain")
        return VmdkOptions(**{name.replace("-", "_"): self._options[name] for name in names if name in self._options})

    def write(self) -> None:
        """Write the header, the tables and the descriptor."""
        from qbitsim.images.vmdk.new_file import write_new  # noqa: PLC0415

        graph, given = self._opener.graph, self._options["file"]
        node = graph.lookup(given, given) if isinstance(given, str) else self._opener.open(given)
        user = Drive(graph, "", perm=perms.WRITE | perms.RESIZE)
        try:
            file = file_below(node)
            if file is None:
                raise UnsupportedError(f"a vmdk image in a node of driver '{node.driver}'")
            user.insert(node)
        except QmpError:
            graph.release(node)
            raise
        try:
            write_new(file, self._options["size"], self._given())
            if self._options.get("extents"):
                raise QmpError("List of extents contains unused extents")
        finally:
            assert user.root is not None
            edge, user.root = user.root, None
            graph.detach(edge)
