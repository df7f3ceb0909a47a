"""A new image as it is asked for, and how QEMU tells of it when it makes one (bdrv_img_create, block.c, 10.0)."""

from __future__ import annotations

from qbitsim.records import record


@record(kw_only=True)
class Wanted:
    """The creation options of an image, as far as they are known; those of the file, the last two, change nothing."""

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
    nocow: bool | None = None
    extent_size_hint: int | None = None

    def describe(self) -> str:
        """The options as the line ``Formatting ...`` shows them, in the order of the format's own table."""
        on_file = self._optional("nocow") + self._optional("extent_size_hint")
        if self.format == "raw":
            return f"fmt=raw size={self.size}{self._optional('preallocation')}{on_file}"
        lazy = "on" if self.lazy_refcounts else "off"
        return (
            f"fmt=qcow2 cluster_size={self.cluster_size} extended_l2=off{self._optional('preallocation')}"
            f" compression_type={self.compression} size={self.size}"
            f"{self._optional('compat')}{self._optional('backing_file')}{self._optional('backing_fmt')}"
            f"{self._optional('data_file')}{self._optional('data_file_raw')}"
            f" lazy_refcounts={lazy} refcount_bits={self.refcount_bits}{on_file}"
        )

    def _optional(self, name: str) -> str:
        member = {"backing_file": "backing", "backing_fmt": "backing_format"}.get(name, name)
        value = getattr(self, member)
        if isinstance(value, bool):
            value = "on" if value else "off"
        return "" if value is None else f" {name}={str(value).replace(',', ',,')}"
