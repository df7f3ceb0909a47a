"""Files that qemu-img can only open as nodes: names with a protocol, such as ``null-co://`` or ``json:{...}``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.drivers.world import World
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.qemu_img.options import ToolError

if TYPE_CHECKING:
    from qbitsim.drivers.options import Options
    from qbitsim.qemu_img.files import Call


def disk_size(call: Call, name: str, format_name: str | None) -> tuple[int, str]:
    """Bytes of the disk that a name with a protocol stands for, and its format.

    :param format_name: None to probe.
    :raises ToolError: it cannot be opened.
    """
    world = World(call.store, call.profile)
    options: Options = {"read-only": True} if format_name is None else {"driver": format_name, "read-only": True}
    try:
        if name.startswith("json:"):
            options, _probed = world.opener.complete(options, name)
            node = world.opener.open(options)
        else:
            node = world.opener.open_file(name, options)
    except UnsupportedError:
        raise
    except QmpError as error:
        raise ToolError(f"{error.desc}\n{error.hint}".rstrip("\n")) from None
    size = node.length
    world.graph.release(node)
    return size, node.driver
