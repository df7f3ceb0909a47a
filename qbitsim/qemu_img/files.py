"""How qemu-img opens image files: formats, locks, backing files, and what it says when it cannot."""

from __future__ import annotations

import errno

from qbitsim.drivers.not_emulated import known_format
from qbitsim.errors import UnsupportedError
from qbitsim.files.locks import READER, WRITER
from qbitsim.files.permissions import ALL
from qbitsim.images.chain import Chain
from qbitsim.images.image import Image
from qbitsim.images.store import ImageStore
from qbitsim.profiles import Profile
from qbitsim.qemu_img.options import Options, ToolError

_RAW_WARNING = """\
WARNING: Image format was not specified for '{}' and probing guessed raw.
         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.
         Specify the 'raw' format explicitly to remove the restrictions.
"""


class Call:
    """One run of qemu-img.

    :ivar store: the files.
    :ivar options: the command line.
    :ivar profile: whose qemu-img it is.
    :ivar output: what was printed so far, standard output and standard error in the order of printing.
    """

    __slots__ = ("options", "output", "profile", "store")

    def __init__(self, store: ImageStore, options: Options, profile: Profile) -> None:
        self.store = store
        self.options = options
        self.profile = profile
        self.output: list[str] = []

    def print(self, text: str) -> None:
        """Print *text*, which brings its own line ends."""
        self.output.append(text)

    def say(self, text: str) -> None:
        """Print a line unless ``-q`` was given."""
        if "q" not in self.options:
            self.output.append(text + "\n")


def open_image(
    call: Call, name: str, format_name: str | None, *, write: bool = False, backing: bool = True, status: int = 1
) -> Image:
    """The image called *name*, checked as QEMU does when it opens it.

    :param format_name: what the command line says the format is, None to probe.
    :param write: it is opened for writing.
    :param backing: its backing files are opened, too.
    :param status: the exit status of a failure.
    :raises ToolError: ``Could not open 'x': ...``.
    """
    try:
        image = _open_file(call, name, format_name, write=write)
        if image.format == "raw" and format_name is None and write:
            call.print(_RAW_WARNING.format(name))
        if backing:
            open_backing(call, image, name)
    except ToolError as error:
        raise ToolError(f"Could not open '{name}': {error.text}", status) from None
    image.reopen()
    return image


def _open_file(call: Call, name: str, format_name: str | None, *, write: bool) -> Image:
    if format_name is not None and not known_format(format_name):
        raise ToolError(f"Unknown driver '{format_name}'")
    image = find_file(call.store, name)
    if format_name not in {None, image.format}:
        if format_name == "qcow2":
            raise ToolError("Image is not in qcow2 format")
        raise UnsupportedError(f"the qcow2 file '{name}' as a raw image")
    perm, shared = WRITER if write else READER
    if image.format == "raw":
        # The raw driver is a filter: nothing that others do to its file disturbs it (block/raw-format.c).
        shared = ALL
    conflict = None if "U" in call.options else image.locks.conflict(perm, shared)
    if conflict is not None:
        raise ToolError(f"{conflict}\nIs another process using the image [{name}]?")
    return image


def find_file(store: ImageStore, name: str) -> Image:
    """The image in file *name*; ToolError as the file driver puts it."""
    if name.startswith("json:") or "://" in name:
        raise UnsupportedError(f"the file name '{name}'")
    try:
        return store.lookup(name)
    except OSError as error:
        if error.errno == errno.EISDIR:
            raise ToolError(f"'file' driver requires '{name}' to be a regular file") from None
        raise ToolError(f"Could not open '{name}': {error.strerror}") from None


def open_backing(call: Call, image: Image, name: str) -> list[Image]:
    """The backing files of *image*, which was opened as *name*; ToolError ``Could not open backing file: ...``."""
    found: list[Image] = []
    while image.backing is not None:
        name = call.store.backing_name(name, image.backing)
        try:
            below = _open_file(call, name, image.backing_format, write=False)
        except ToolError as error:
            raise ToolError("Could not open backing file: " * (len(found) + 1) + error.text) from None
        found.append(below)
        image = below
    return found


def contents(call: Call, name: str) -> Chain:
    """What is in the image called *name* and its backing files, which have been opened."""
    return [image.content for image in call.store.chain(name)]


def output_format(call: Call) -> str:
    """``human`` or ``json``, as ``--output`` says."""
    wanted = call.options.last("output")
    if wanted in {None, "human"}:
        return "human"
    if len(call.options.words) != 1 and not call.profile.qemu_img_commands_complain:
        return "human"  # the number of files comes first, and is about to be refused
    if wanted == "json":
        return "json"
    if call.profile.qemu_img_commands_complain:
        comma = "," if call.profile.qemu_img_texts_polished else ""
        raise ToolError(f"--output expects 'human' or 'json'{comma} not '{wanted}'", usage=True)
    raise ToolError("--output must be used with human or json as argument.")
