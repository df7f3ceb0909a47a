"""The program from its first to its last moment."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files.permissions import ALL, CONSISTENT_READ, WRITE
from qbitsim.images.host.store import HostImageStore
from qbitsim.programs.process import end_on_interrupt, standard_streams
from qbitsim.programs.qemu_nbd.command_line import Arguments, FailureError, HelpError, read_arguments
from qbitsim.programs.qemu_nbd.help import usage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qbitsim.block.drive import Drive
    from qbitsim.block.node import Node
    from qbitsim.drivers.world import World
    from qbitsim.nbd.exports import Exports
    from qbitsim.profiles import Profile
    from qbitsim.qapi.block import SocketAddressLegacy
    from qbitsim.serving.process import Fork

_PORT = "10809"
_EVERYWHERE = "0.0.0.0"


def main(argv: Sequence[str], profile: Profile) -> int:
    """Run the program, and return its exit status.

    :param argv: without the name of the program.
    """
    end_on_interrupt()
    streams = standard_streams()
    status = 0
    try:
        streams.print(_run(argv, profile, streams.complain))
    except HelpError as wanted:
        streams.print(usage(profile) if wanted.letter == "h" else _version(profile))
    except FailureError as error:
        status = 1
        streams.complain(f"qemu-nbd: {error.text}\n")
    except UnsupportedError as error:
        status = 1
        streams.complain(f"{error.desc}\n")
    streams.flush()
    return status


def _version(profile: Profile) -> str:
    return (
        f"qemu-nbd {profile.full_version}\nWritten by Anthony Liguori.\n{profile.copyright}"
        "This is free software; see the source for copying conditions.  There is NO\n"
        "warranty; not even for MERCHANTABILITY or FITNESS FOR A PARTICULAR PURPOSE.\n"
    )


def _run(argv: Sequence[str], profile: Profile, complain: Callable[[str], None]) -> str:
    """Do what the command line says; what is to be printed.

    :raises FailureError: it cannot be done.
    """
    given = read_arguments(argv, profile, complain)
    host, port = given.host or _EVERYWHERE, given.port or _PORT
    if given.lists:
        from qbitsim.programs.qemu_nbd.listing import exports_of  # noqa: PLC0415 - a server needs it not

        return exports_of(given.socket, host, port, profile)
    missing = os.strerror(errno.ENOENT)  # there is no /dev/nbd0 here, as without the kernel's module
    if given.disconnects:
        raise FailureError(f"Cannot open {given.words[0]}: {missing}")
    if given.device is not None:
        raise FailureError(f"Failed to open {given.device}: {missing}")
    _Server(given, profile, complain).run()
    return ""


class _Server:
    """The program as a server."""

    def __init__(self, given: Arguments, profile: Profile, complain: Callable[[str], None]) -> None:
        from qbitsim.drivers.world import World  # noqa: PLC0415 - nothing else of the program needs nodes

        self._given = given
        self._profile = profile
        self._complain = complain
        self._images = HostImageStore(os.getcwd())
        self._world: World = World(self._images, profile)
        self._fork: Fork | None = None

    def run(self) -> None:
        """Serve to the end.

        :raises FailureError: it cannot begin.
        """
        from qbitsim.serving import process  # noqa: PLC0415 - it loads asyncio
        from qbitsim.serving.nbd_service import serve  # noqa: PLC0415

        if self._given.forks:
            self._fork = process.Fork(keeps_errors=self._given.verbose and self._profile.nbd_verbose_keeps_errors)
        try:
            process.run(serve(self._world.graph, self._profile, self._prepare, persistent=self._given.persistent))
        finally:
            self._world.graph.close()
            self._images.save()

    def _prepare(self, exports: Exports) -> None:
        """Listen, open the image and export it, in QEMU's order.

        :raises FailureError: that cannot be done; the file of the socket stays, as there.
        """
        from qbitsim.nbd.exports import Listening  # noqa: PLC0415

        given = self._given
        listening = Listening(_address(given), given.shared, given.handshake_seconds)
        try:
            exports.start(listening)
            drive = self._open()
            exports.add(
                "qemu-nbd-export",
                drive.node,
                name=given.name or "",
                description=given.description,
                writable=not given.flags.read_only,
                writethrough=given.writethrough,
                bitmaps=given.bitmaps,
                allocation_depth=given.allocation_depth,
            )
        except UnsupportedError:
            raise
        except QmpError as error:
            raise FailureError(error.desc + (f"\n{error.hint}".rstrip("\n") if error.hint else "")) from None
        self._ready()

    def _ready(self) -> None:
        """Clients may come."""
        from qbitsim.serving.process import PidFile  # noqa: PLC0415

        if self._given.pid_file is not None:
            try:
                self._pid_file = PidFile(self._given.pid_file, blame="")  # which stays behind when the program ends
            except QmpError as error:
                raise FailureError(error.desc) from None
        os.chdir("/")
        if self._fork is not None:
            self._fork.ready()

    # -- the image

    def _open(self) -> Drive:
        """Open the image, and what is to be put above it.

        :raises QmpError: as QEMU refuses it.
        """
        from qbitsim.block.drive import Drive  # noqa: PLC0415
        from qbitsim.programs.file_opening import RAW_WARNING, lock_hint, open_node  # noqa: PLC0415

        given, [word] = self._given, self._given.words
        name, options = self._name_and_options(word)
        try:
            node = open_node(self._world, name, options, given.flags)
        except UnsupportedError:
            raise
        except QmpError as error:
            hint = lock_hint(self._images, word, error.desc, read_only=given.flags.read_only)
            raise FailureError(f"Failed to blk_new_open '{word}': {error.desc}{hint}") from None
        guessed = name is not None and given.format is None and node.probed
        if guessed and node.driver == "raw" and not given.flags.read_only:
            self._complain(RAW_WARNING.format(node.children[0].node.filename))
        perm = CONSISTENT_READ | (0 if given.flags.read_only else WRITE)
        drive = self._world.graph.drives[""] = Drive(self._world.graph, "", perm=perm, shared=ALL)
        drive.insert(node)
        if given.offset:
            _check_offset(given.offset, self._profile)
            above = {"driver": "raw", "file": node.name, "offset": given.offset, "read-only": given.flags.read_only}
            node = self._world.opener.open(above)
            drive.eject()
            drive.insert(node)
        if given.loaded_snapshot is not None:
            _load_snapshot(node, given.loaded_snapshot)
        node.detect_zeroes = given.detect_zeroes
        return drive

    def _name_and_options(self, word: str) -> tuple[str | None, list[tuple[str, str]]]:
        """What to open, by its name or by options.

        :raises FailureError: both are given.
        """
        from qbitsim.programs.option_text import split_options  # noqa: PLC0415

        driver = self._given.format
        if not self._given.as_options:
            return word, [] if driver is None else [("driver", driver)]
        if driver is not None:
            raise FailureError("--image-opts and -f are mutually exclusive")
        return None, [(name, value) for name, value, _ in split_options(word, implied="file")]


def _check_offset(offset: int, profile: Profile) -> None:
    """Refuse one that is too large, as the option of ``raw`` that it becomes.

    :raises FailureError: it is.
    """
    from qbitsim.qemu_img.options import ToolError, size_parameter  # noqa: PLC0415 - few ask for an offset

    try:
        size_parameter("offset", str(offset), profile)
    except ToolError as error:
        raise FailureError(error.text) from None


def _load_snapshot(node: Node, name: str) -> None:
    """Let a read-only node show what a snapshot in its image holds (bdrv_snapshot_load_tmp, block/snapshot.c).

    :raises FailureError: there is no such snapshot.
    """
    from qbitsim.images.qcow2.image import Qcow2Image  # noqa: PLC0415 - few ask for snapshots
    from qbitsim.qemu_img.convert import find_snapshot  # noqa: PLC0415

    image = node.image
    if not isinstance(image, Qcow2Image):
        what = "does not support temporarily loading internal snapshots"
        raise FailureError(f"Failed to load snapshot: Block format '{node.driver}' used by device '' {what}")
    found = find_snapshot(image, name)
    if found is None:
        raise FailureError("Failed to load snapshot: Can't find snapshot")
    if found.content.size != image.size:
        raise UnsupportedError("a snapshot of another size than its disk")
    image.content = found.content


def _address(given: Arguments) -> SocketAddressLegacy:
    """Where to listen."""
    from qbitsim.qapi.block import (  # noqa: PLC0415
        InetSocketAddress,
        InetSocketAddressLegacy,
        SocketAddressType,
        UnixSocketAddress,
        UnixSocketAddressLegacy,
    )

    if given.socket is not None:
        return UnixSocketAddressLegacy(type=SocketAddressType.UNIX, data=UnixSocketAddress(path=given.socket))
    place = InetSocketAddress(host=given.host or _EVERYWHERE, port=given.port or _PORT)
    return InetSocketAddressLegacy(type=SocketAddressType.INET, data=place)
