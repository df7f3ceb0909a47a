"""How ``qemu-io`` and ``qemu-nbd`` open a file, and what they say about it."""

from __future__ import annotations

from qbitsim.drivers.completion import named_file
from qbitsim.drivers.drive_options import nested
from qbitsim.drivers.not_emulated import known_driver, other_format
from qbitsim.drivers.temporary_overlay import add_temporary_overlay
from qbitsim.errors import QmpError
from qbitsim.files.locks import READER, WRITER
from qbitsim.records import record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qbitsim.block.node import Node
    from qbitsim.drivers.options import Options
    from qbitsim.drivers.world import World
    from qbitsim.images.store import ImageStore

DIRECT_CACHE_MODES = {"none", "off", "directsync"}
CACHE_MODES = {*DIRECT_CACHE_MODES, "writeback", "unsafe", "writethrough"}
DISCARD_MODES = {"ignore": "ignore", "off": "ignore", "unmap": "unmap", "on": "unmap"}
AIO_MODES = {"threads", "native", "io_uring"}
NULL_NAMES = ("null-co://", "null-aio://")
RAW_WARNING = """\
WARNING: Image format was not specified for '{}' and probing guessed raw.
         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.
         Specify the 'raw' format explicitly to remove the restrictions.
"""


class InvalidModeError(Exception):
    """A mode that does not exist; the text says so."""


@record(frozen=False, eq=False)
class OpenFlags:
    """How a file is to be opened.

    :ivar direct: without the host's cache.
    """

    read_only: bool = False
    snapshot: bool = False
    copy_on_read: bool = False
    force_share: bool = False
    direct: bool = False
    native_aio: bool = False
    discard: str = "unmap"

    def take(self, letter: str, value: str) -> bool:
        """Take an option; whether it is one of these.

        :raises InvalidModeError: its value is wrong.
        """
        simple = {"r": "read_only", "s": "snapshot", "C": "copy_on_read", "U": "force_share", "k": "native_aio"}
        if letter in simple:
            setattr(self, simple[letter], True)
            return True
        match letter:
            case "n":
                self.direct = True
            case "t":
                _check("cache", value, CACHE_MODES)
                self.direct = value in DIRECT_CACHE_MODES
            case "d":
                _check("discard", value, set(DISCARD_MODES))
                self.discard = DISCARD_MODES[value]
            case "i":
                _check("aio", value, AIO_MODES)
                self.native_aio = value == "native"
            case _:
                return False
        return True

    def options(self) -> Options:
        """As options of a node."""
        options: Options = {"discard": self.discard}
        if self.read_only:
            options["read-only"] = True
        if self.force_share:
            options["force-share"] = True
        if self.direct:
            options["cache"] = {"direct": True}
        return options


def _check(what: str, value: str, modes: set[str]) -> None:
    if value not in modes:
        raise InvalidModeError(f"Invalid {what} option: {value}")


def open_node(world: World, name: str | None, given: list[tuple[str, str]], flags: OpenFlags) -> Node:
    """Open a file by its name, by options, or by both.

    :param given: options of the node, as texts with dotted names.
    :raises QmpError: as QEMU refuses it.
    """
    driver = dict(given).get("driver")
    if driver is not None and other_format(driver) is None and not known_driver(driver, world.profile):
        raise QmpError(f"Unknown driver '{driver}'")
    if flags.force_share and not flags.read_only:
        raise QmpError("force-share=on can only be used with read-only images")
    if flags.copy_on_read and flags.read_only and (name is None or name in world.graph.images):
        raise QmpError("Can't use copy-on-read on read-only device")
    options: Options = {**flags.options(), **nested(dict(given))}
    if flags.native_aio and not flags.direct and _opens_file(world.graph.images, name, options):
        raise QmpError("aio=native was specified, but it requires cache.direct=on, which was not specified.")
    if flags.snapshot:
        options["read-only"] = True
    node = _open(world, name, options)
    if flags.snapshot:
        node = add_temporary_overlay(world.opener, node, read_only=flags.read_only)
    node.copy_on_read = flags.copy_on_read
    return node


def _opens_file(images: ImageStore, name: str | None, options: Options) -> bool:
    """Whether there is a file of the host to be opened."""
    if name is None:
        return _names_file(options)
    below = named_file(name)
    return below["driver"] == "file" and below["filename"] in images


def _names_file(options: Options) -> bool:
    """Whether the node with these options has a file of the host."""
    below = options.get("file")
    if isinstance(below, dict):
        return _names_file(below)
    return isinstance(below, str) or options.get("driver", "file") == "file"


def lock_hint(images: ImageStore, name: str, text: str, *, read_only: bool) -> str:
    """The second line of an error text about a lock: which file it is; nothing behind other texts."""
    if " lock" not in text or name not in images:
        return ""
    wanted = READER if read_only else WRITER
    if "backing file" not in text and images.file(name).locks.conflict(*wanted):
        return f"\nIs another process using the image [{name}]?"
    image = images.lookup(name)
    while image.backing is not None:
        name = images.backing_name(name, image.backing)
        image = images.lookup(name)
        if image.file.locks.conflict(*READER):
            return f"\nIs another process using the image [{name}]?"
    return ""


def _open(world: World, name: str | None, options: Options) -> Node:
    if name is not None and name.startswith(NULL_NAMES):
        protocol = {"driver": name.partition(":")[0]}
        node = _open_options(world, {"driver": "raw", **options, "file": protocol})
        node.mark_probed(probed="driver" not in options)
        return node
    if name is None or name.startswith("json:") or "file" in options:
        return _open_options(world, options, name)
    return world.opener.open_file(name, options)


def _open_options(world: World, options: dict[str, Any], name: str | None = None) -> Node:
    if isinstance(options.get("file"), str):
        world.graph.lookup(options["file"], options["file"])  # which finds nothing, as there are no other nodes
    options, probed = world.opener.complete(options, name)
    node = world.opener.open(world.opener.checked(options))
    node.mark_probed(probed=probed)
    return node
