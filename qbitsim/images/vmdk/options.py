"""The options of a new VMDK image (vmdk_create_opts, block/vmdk.c, QEMU 10.0)."""

from __future__ import annotations

from qbitsim.records import record

SUBFORMATS = ("monolithicSparse", "monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat", "streamOptimized")
ADAPTERS = ("ide", "buslogic", "lsilogic", "legacyESX")
NO_VERSION = "undefined"
"""How QEMU calls the version of hardware that nobody asked for."""

_ONE_FILE = ("monolithicSparse", "streamOptimized")


@record(kw_only=True)
class VmdkOptions:
    """What is wanted beside the size; None is what nobody asked for.

    :cvar NAMES: of the options, in the order in which QEMU tells of them.
    """

    NAMES = ("adapter_type", "compat6", "hwversion", "subformat", "toolsversion", "zeroed_grain")

    adapter_type: str | None = None
    compat6: bool = False
    hwversion: str = NO_VERSION
    subformat: str | None = None
    toolsversion: str | None = None
    zeroed_grain: bool | None = None

    @property
    def adapter(self) -> str:
        """The adapter."""
        return self.adapter_type or ADAPTERS[0]

    @property
    def type(self) -> str:
        """The subformat."""
        return self.subformat or SUBFORMATS[0]

    @property
    def hardware(self) -> str:
        """The version of the virtual hardware that the descriptor names."""
        if self.hwversion != NO_VERSION:
            return self.hwversion
        return "6" if self.compat6 else "4"

    @property
    def is_one_file(self) -> bool:
        """Whether the disk is in the file of the descriptor, as all are that can be made here."""
        return self.type in _ONE_FILE

    def refusal(self) -> str | None:
        """Why QEMU makes no such image, None if it does (vmdk_co_create_opts and vmdk_co_do_create)."""
        for value, values in ((self.adapter, ADAPTERS), (self.type, SUBFORMATS)):
            if value not in values:
                return f"invalid parameter value: {value}"
        if self.compat6 and self.hwversion != NO_VERSION:
            return "compat6 cannot be enabled with hwversion set"
        if self.zeroed_grain and self.type.endswith("Flat"):
            return "Flat image can't enable zeroed grain"
        return None
