"""A new image as it is asked for, and how QEMU tells of it when it makes one (bdrv_img_create, block.c, 10.0)."""

from __future__ import annotations

from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.images.vmdk.options import VmdkOptions


@record(kw_only=True)
class Wanted:
    """The creation options of an image, as far as they are known; those of the file, the last two, change nothing.

    :ivar vmdk: those that only this format has, None for its defaults.
    """

    format: str
    size: int | None = None
    backing: str | None = None
    backing_format: str | None = None
    cluster_size: int = 65536
    compat: str | None = None
    lazy_refcounts: bool = False
    refcount_bits: int = 16
    preallocation: str | None = None
    compression: str = "zlib"
    data_file: str | None = None
    data_file_raw: bool | None = None
    vmdk: VmdkOptions | None = None
    nocow: bool | None = None
    extent_size_hint: int | None = None

    def describe(self) -> str:
        """The options as the line ``Formatting ...`` shows them, in the order of the format's own table."""
        on_file = self._optional("nocow") + self._optional("extent_size_hint")
        if self.format == "raw":
            return f"fmt=raw size={self.size}{self._optional('preallocation')}{on_file}"
        if self.format == "vmdk":
            return f"fmt=vmdk size={self.size}{self._of_vmdk()}{self._optional('preallocation')}{on_file}"
        lazy = "on" if self.lazy_refcounts else "off"
        return (
            f"fmt=qcow2 cluster_size={self.cluster_size} extended_l2=off{self._optional('preallocation')}"
            f" compression_type={self.compression} size={self.size}"
            f"{self._optional('compat')}{self._optional('backing_file')}{self._optional('backing_fmt')}"
            f"{self._optional('data_file')}{self._optional('data_file_raw')}"
            f" lazy_refcounts={lazy} refcount_bits={self.refcount_bits}{on_file}"
        )

    def _of_vmdk(self) -> str:
        from qbitsim.images.vmdk.options import VmdkOptions  # noqa: PLC0415 - few make one

        options = self.vmdk or VmdkOptions()
        backing = f"{self._optional('backing_file')}{self._optional('backing_fmt')}"
        first, *others = ((name, getattr(options, name)) for name in options.NAMES)
        return _shown(*first) + backing + "".join(_shown(*each) for each in others)

    def _optional(self, name: str) -> str:
        member = {"backing_file": "backing", "backing_fmt": "backing_format"}.get(name, name)
        return _shown(name, getattr(self, member))


def _shown(name: str, value: object) -> str:
    if isinstance(value, bool):
        value = "on" if value else "off"
    return "" if value is None else f" {name}={str(value).replace(',', ',,')}"
