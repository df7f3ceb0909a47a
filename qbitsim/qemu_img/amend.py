"""``qemu-img amend``: change the creation options of a qcow2 file (qcow2_amend_options, block/qcow2.c, 10.0)."""

from __future__ import annotations

from qbitsim.errors import UnsupportedError
from qbitsim.images.chain import reader
from qbitsim.images.qcow2.allocator import TABLE_ENTRY
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.qcow2.version import downgrade, upgrade
from qbitsim.qemu_img.creation import VERSIONS
from qbitsim.qemu_img.files import Call, check_cache, check_resizable, contents, open_image
from qbitsim.qemu_img.options import ToolError, check_option_list, key_values, number_parameter, signed, size_parameter
from qbitsim.sizes import SECTOR

_CREATION_ONLY = {
    *("encryption", "encrypt.format", "encrypt.key-secret", "encrypt.cipher-alg", "encrypt.cipher-mode"),
    *("encrypt.ivgen-alg", "encrypt.ivgen-hash-alg", "encrypt.hash-alg", "cluster_size", "extended_l2"),
    *("preallocation", "compression_type"),
}
_KNOWN = {
    *("backing_file", "backing_fmt", "compat", "data_file", "data_file_raw", "lazy_refcounts", "refcount_bits", "size"),
}


READERS = {"amend": {"o": check_option_list}}


def amend(call: Call) -> int:
    """``qemu-img amend``."""
    options = call.options
    options.only("q", "p", "f", "t", "o", "force", "image-opts")
    given = [value for key, value in options.given if key == "o"]
    if not given:
        raise ToolError("Must specify options (-o)", usage=True)
    call.start_progress()
    format_name = options.last("f")
    if format_name is not None and options.wants_help:
        return _print_options(call, format_name)
    if len(options.words) != 1:
        raise ToolError("Expecting one image file name")
    pairs = [pair for value in given for pair in key_values(value)]
    check_cache(call)
    image = open_image(call, options.words[0], options.last("f"), write=True)
    if not isinstance(image, Qcow2Image):
        raise ToolError(f"Format driver '{image.format}' does not support option amendment")
    if options.wants_help:
        return _print_options(call, image.format)
    values = _values(call, pairs)
    call.progress(0)
    try:
        _amend(call, image, values)
    finally:
        call.progress(100)  # also of what fails
    return 0


class _Operations:
    """Changes that take time, one after another, each with steps of its own.

    The work that is not begun yet counts as much as that of the others on average (qcow2_amend_helper_cb).
    """

    def __init__(self, call: Call, number: int) -> None:
        self._call = call
        self._waiting = number
        self._begun = 0
        self._before = self._work = 0

    def begin(self) -> None:
        """The next one begins."""
        self._waiting -= 1
        self._begun += 1
        self._before += self._work

    def show(self, done: int, work: int) -> None:
        """So many steps of the work that there seems to be are done."""
        self._work = work
        known = self._before + work
        self._call.progress(100 * (self._before + done) / (known + known * self._waiting // self._begun))


def _print_options(call: Call, format_name: str) -> int:
    from qbitsim.qemu_img.option_lists import print_amend_options  # noqa: PLC0415 - reads what few ask for

    return print_amend_options(call, format_name)


def _values(call: Call, pairs: list[tuple[str, str]]) -> dict[str, str | int | bool]:
    values: dict[str, str | int | bool] = {}
    for name, value in pairs:
        if name in _CREATION_ONLY:
            raise ToolError(f"Invalid parameter '{name}'\nThis option is only supported for image creation")
        if name.startswith("encrypt."):
            raise UnsupportedError(f"the image option '{name}'")
        if name not in _KNOWN:
            raise ToolError(f"Invalid parameter '{name}'")
        values[name] = _value(call, name, value)
    return values


def _value(call: Call, name: str, text: str) -> str | int | bool:
    if name == "size":
        return signed(size_parameter(name, text, call.profile))
    if name in {"lazy_refcounts", "data_file_raw"}:
        if text not in {"on", "off"}:
            raise ToolError(f"Parameter '{name}' expects 'on' or 'off'")
        return text == "on"
    if name == "refcount_bits":
        return number_parameter(name, text)
    return text


def _amend(call: Call, image: Qcow2Image, values: dict[str, str | int | bool]) -> None:
    version = _check(image, values)
    bits = values.get("refcount_bits", image.refcount_bits)
    assert isinstance(bits, int)
    operations = _Operations(call, (version != image.compat) + (bits != image.refcount_bits))
    if version == "1.1" and image.compat == "0.10":
        operations.begin()
        upgrade(image)
        for step in range(3):
            operations.show(step, 2)
    if bits != image.refcount_bits:
        if version == "0.10" and bits != 16:
            raise ToolError(
                "Refcount widths other than 16 bits require compatibility level 1.1 or above "
                "(use compat=1.1 or greater)"
            )
        operations.begin()
        _change_refcount_bits(operations, image, bits)
    lazy = values.get("lazy_refcounts", image.lazy_refcounts and version != "0.10")
    if lazy and version == "0.10":
        raise ToolError(
            "Lazy refcounts only supported with compatibility level 1.1 and above (use compat=1.1 or greater)"
        )
    image.lazy_refcounts = bool(lazy)
    if image.data_file is not None:
        name, raw = values.get("data_file", image.data_file.name), values.get("data_file_raw", image.data_file.is_raw)
        image.data_file.name, image.data_file.is_raw = str(name) if name else None, bool(raw)
    if "size" in values:
        _resize(call, image, values["size"])
    if version == "0.10":
        _downgrade(call, operations, image)


def _change_refcount_bits(operations: _Operations, image: Qcow2Image, bits: int) -> None:
    """Count references in other widths.

    The refcount table is gone through until there is room for the new one, and once more to write it. QEMU guesses at
    how often that will be: three times, or once more than until then.
    """
    entries = image.layout.clusters.table_clusters * image.cluster_size // TABLE_ENTRY
    crowded = image.layout.clusters.first_above((1 << bits) - 1)
    if crowded is not None:
        cluster, count = crowded
        raise ToolError(
            f"Cannot decrease refcount entry width to {bits} bits: "
            f"Cluster at offset {cluster * image.cluster_size:#x} has a refcount of {count}"
        )
    walks = image.change_refcount_bits(bits)
    for walk in range(walks + 1):
        total = max(walk + 2, 3) if walk < walks else walks + 1
        for entry in range(entries + 1):
            operations.show(walk * entries + entry, total * entries)


def _check(image: Qcow2Image, values: dict[str, str | int | bool]) -> str:
    """The checks that come first; the version that is wanted."""
    wanted = str(values.get("compat", image.compat))
    if wanted not in VERSIONS:
        raise ToolError(f"Unknown compatibility level {wanted}")
    bits = values.get("refcount_bits", image.refcount_bits)
    assert isinstance(bits, int)
    if bits & (bits - 1) or not 1 <= bits <= 64:
        raise ToolError("Refcount width must be a power of two and may not exceed 64 bits")
    if values.get("data_file") and image.data_file is None:
        raise ToolError("data-file can only be set for images that use an external data file")
    if values.get("data_file_raw") and not (image.data_file is not None and image.data_file.is_raw):
        raise ToolError("data-file-raw cannot be set on existing images")
    backing = values.get("backing_file"), values.get("backing_fmt")
    if backing not in {(None, None), (image.backing, image.backing_format)}:
        raise ToolError("Cannot amend the backing file\nYou can use 'qemu-img rebase' instead.")
    return VERSIONS[wanted]


def _resize(call: Call, image: Qcow2Image, size: str | int | bool) -> None:
    assert isinstance(size, int)
    if size == image.size or not size:
        return
    if size % SECTOR:
        raise ToolError(f"The new size must be a multiple of {SECTOR}")
    check_resizable(image)
    below = contents(call, call.options.words[0])[1:]
    image.resize(size, zero_new=bool(below) and below[0].size > image.size, below=reader(below))


def _downgrade(call: Call, operations: _Operations, image: Qcow2Image) -> None:
    if image.compat == "0.10":
        return
    if image.refcount_bits != 16:
        raise ToolError("compat=0.10 requires refcount_bits=16")
    if image.data_file is not None:
        raise ToolError("Cannot downgrade an image with a data file")
    if any(found.content.size != image.size for found in image.snapshots):
        raise ToolError("Internal snapshots prevent downgrade of image")
    operations.begin()
    downgrade(image, backed=len(contents(call, call.options.words[0])) > 1)
    entries = sum(tables.l1[1] for tables in (image.layout.active, *image.layout.snapshots.saved))
    for entry in range(entries):
        operations.show(entry + 1, entries)
