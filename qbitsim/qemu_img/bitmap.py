"""``qemu-img bitmap``: change the bitmaps that are stored in a qcow2 file.

The actions run in the order given, each as the QMP command of that name; one that fails leaves the earlier ones done.
"""

from __future__ import annotations

from collections.abc import Callable

from qbitsim.bits.bits import Bits
from qbitsim.errors import QmpError
from qbitsim.images.image import Image
from qbitsim.images.qcow2.bitmaps import StoredBitmap
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.light_library import partial
from qbitsim.qemu_img.files import Call, inconsistent, open_image
from qbitsim.qemu_img.options import Options, ToolError, size_argument

_ACTIONS = ("add", "remove", "remove-all", "clear", "enable", "disable", "merge")
_NODE = "#block100"  # QEMU invents a name with a random number
_MAXIMUM_NAME = 1023
_MAXIMUM_BYTES = 1 << 29


READERS = {"bitmap": {"g": partial(size_argument, "granularity")}}


def bitmap(call: Call) -> int:
    """``qemu-img bitmap``."""
    options = call.options
    options.only(*_ACTIONS, "g", "b", "F", "f", "image-opts")
    granularity = options.numbers.get("g") or None
    actions = [(key, value) for key, value in options.given if key in _ACTIONS]
    _check_usage(call, {key for key, _ in actions}, granularity)
    file_name, name = _names(options, {key for key, _ in actions})
    image = open_image(call, file_name, options.last("f"), write=True, backing=False)
    source_file = options.last("b")
    source = image
    if source_file is not None:
        if call.store.same_file(file_name, source_file):  # which is open for writing
            text = f'Failed to get shared "write" lock\nIs another process using the image [{source_file}]?'
            raise ToolError(f"Could not open '{source_file}': {text}")
        source = open_image(call, source_file, options.last("F"), backing=False)
    do: dict[str, Callable[[str], None]] = {
        "add": lambda _: _add(image, name, granularity),
        "remove": lambda _: _remove(image, _find(image, name)),
        "remove-all": lambda _: _remove_all(image),
        "clear": lambda _: _usable(image, name).bits.clear_all(),
        "enable": lambda _: setattr(_usable(image, name), "auto", True),
        "disable": lambda _: setattr(_usable(image, name), "auto", False),
        "merge": lambda value: _merge(image, name, source, value),
    }
    for action, value in actions:
        try:
            do[action](value)
        except QmpError as error:
            raise ToolError(f"Operation {action} on bitmap {name} failed: {error.desc}") from None
    return 0


def _check_usage(call: Call, actions: set[str], granularity: int | None) -> None:
    if not actions:
        also = "--remove-all, " if "remove-all" in call.profile.qemu_img_options["bitmap"] else ""
        raise ToolError(f"Need at least one of --add, --remove, {also}--clear, --enable, --disable, or --merge")
    if granularity is not None and "add" not in actions:
        raise ToolError("granularity only supported with --add")
    if "F" in call.options and "b" not in call.options:
        raise ToolError("-F only supported with -b")
    if "b" in call.options and "merge" not in actions:
        raise ToolError("Merge bitmap source file only supported with --merge")


def _names(options: Options, actions: set[str]) -> tuple[str, str]:
    """The names of the file and of the bitmap; the latter is missing if all bitmaps go and nothing else is done."""
    if actions == {"remove-all"}:
        if len(options.words) != 1:
            raise ToolError("Expecting filename")
        return options.words[0], ""
    if len(options.words) != 2:
        raise ToolError("Expecting filename and bitmap name")
    return options.words[0], options.words[1]


def _find(image: Image, name: str) -> StoredBitmap:
    found = image.find_bitmap(name)
    if found is None:
        raise QmpError(f"Dirty bitmap '{name}' not found")
    return found


def _remove(image: Image, bitmap: StoredBitmap) -> None:
    assert isinstance(image, Qcow2Image)
    image.remove_bitmap(bitmap.name)


def _remove_all(image: Image) -> None:
    if isinstance(image, Qcow2Image):
        for bitmap in list(image.bitmaps):
            image.remove_bitmap(bitmap.name)


def _usable(image: Image, name: str) -> StoredBitmap:
    found = _find(image, name)
    if found.in_use:
        raise QmpError(inconsistent(name))
    return found


def _add(image: Image, name: str, granularity: int | None) -> None:
    """The checks are those of block-dirty-bitmap-add with ``persistent``, in their order."""
    if not name:
        raise QmpError("Bitmap name cannot be empty")
    if granularity is not None and (granularity < 512 or granularity & (granularity - 1) or granularity > 1 << 31):
        raise QmpError("Granularity must be power of 2 and at least 512")
    if not isinstance(image, Qcow2Image):
        raise QmpError(f"Can't store persistent bitmaps to {_NODE}: Operation not supported")
    if image.find_bitmap(name) is not None:
        raise QmpError(f"Bitmap already exists: {name}")
    granularity = granularity or min(max(image.content.cluster_size, 4096), 65536)
    length = -(-image.size // granularity)
    refusal = None
    if image.compat == "0.10":
        refusal = "Cannot store dirty bitmaps in qcow2 v2 files"
    elif len(name.encode()) > _MAXIMUM_NAME:
        refusal = f"Name length exceeds maximum ({_MAXIMUM_NAME} characters)"
    elif -(-length // 8) > _MAXIMUM_BYTES:
        refusal = "Too much space will be occupied by the bitmap. Use larger granularity"
    if refusal is not None:
        raise QmpError(f"Can't make bitmap '{name}' persistent in '{_NODE}': {refusal}")
    image.bitmaps.append(StoredBitmap(name, granularity, in_use=False, auto=True, bits=Bits(length)))


def _merge(image: Image, name: str, source: Image, source_name: str) -> None:
    target = _find(image, name)
    other = _find(source, source_name)
    _usable(image, name)
    _usable(source, source_name)
    if image.size != source.size:
        raise QmpError(
            f"Bitmaps are of different sizes (destination size is {image.size}, "
            f"source size is {source.size}) and can't be merged"
        )
    target.bits.merge_scaled(other.bits.copy(), target.granularity, other.granularity, image.size)
