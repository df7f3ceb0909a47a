"""The creation options of a VMDK image (vmdk_co_create_opts, block/vmdk.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.errors import UnsupportedError
from qbitsim.images.image import PREALLOCATIONS
from qbitsim.images.vmdk.options import VmdkOptions
from qbitsim.qemu_img.options import ToolError
from qbitsim.records import changed

if TYPE_CHECKING:
    from qbitsim.images.wanted import Wanted

_TEXTS = ("adapter_type", "hwversion", "subformat", "toolsversion")
_SWITCHES = ("compat6", "zeroed_grain")
_LONGEST_EXTENT = 1 << 32


def with_option(wanted: Wanted, name: str, value: str) -> Wanted:
    """What is wanted with an option of the format put in.

    :raises ToolError: there is none of that name, or it is on or off.
    """
    given: str | bool = value
    if name in _SWITCHES:
        if value not in {"on", "off"}:
            raise ToolError(f"Parameter '{name}' expects 'on' or 'off'")
        given = value == "on"
    elif name not in _TEXTS:
        raise ToolError(f"Invalid parameter '{name}'")
    return changed(wanted, vmdk=changed(wanted.vmdk or VmdkOptions(), **{name: given}))


def check_wanted(wanted: Wanted) -> VmdkOptions:
    """The options of an image that can be made; the file is as it was if none can.

    :raises ToolError: QEMU makes none.
    :raises UnsupportedError: nothing here does.
    """
    options = wanted.vmdk or VmdkOptions()
    if wanted.backing_format not in (None, "vmdk"):
        raise ToolError("backing_file must be a vmdk image")
    refusal = options.refusal()
    if refusal is not None:
        raise ToolError(refusal)
    _check_file(wanted)
    if wanted.backing is not None:
        raise UnsupportedError("vmdk images with a parent")
    return options


def _check_file(wanted: Wanted) -> None:
    """Refuse what the file, which has no length of its own at first, cannot be."""
    if wanted.preallocation is not None and wanted.preallocation not in PREALLOCATIONS:
        raise ToolError(f"invalid parameter value: {wanted.preallocation}")
    if (wanted.extent_size_hint or 0) >= _LONGEST_EXTENT:
        raise ToolError("Extent size hint is too large")
    if wanted.preallocation == "metadata":
        raise ToolError("Unsupported preallocation mode: metadata")
