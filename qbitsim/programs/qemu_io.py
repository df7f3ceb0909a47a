"""``qemu-io`` as a program: it opens one file or none, runs commands and says how they ended.

The commands on a disk are those of the monitor (:mod:`qbitsim.qemu_io`); here are the program's own (``open``,
``close``, ``quit``) and those that end it. Output is as seen through one pipe: standard error is not buffered, so all
of it comes first.
"""

from __future__ import annotations

from qbitsim.block.drive import Drive
from qbitsim.drivers.drive_options import nested
from qbitsim.drivers.world import World
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files.permissions import ALL, WRITE, WRITE_UNCHANGED
from qbitsim.images.host.store import HostImageStore
from qbitsim.images.qcow2.allocator import TABLE_ENTRY
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.programs import process
from qbitsim.programs.file_opening import (
    CACHE_MODES,
    RAW_WARNING,
    InvalidModeError,
    OpenFlags,
    lock_hint,
    open_node,
)
from qbitsim.programs.getopt import GetoptError, scan
from qbitsim.qemu_io import run as qemu_io
from qbitsim.qemu_io.drive_disk import DriveDisk
from qbitsim.qemu_io.numbers import format_size
from qbitsim.qemu_io.table import commands as known_commands
from qbitsim.qemu_io.table import help_line, own_commands
from qbitsim.serving.socket_network import SocketNetwork
from qbitsim.standard_streams import StandardStreams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from qbitsim.block.node import Node
    from qbitsim.images.store import ImageStore
    from qbitsim.profiles import Profile

_LETTERS = "hVc:d:f:rsnCmki:t:T:U"
_LONG = {
    "help": "h",
    "version": "V",
    "cmd:": "c",
    "format:": "f",
    "read-only": "r",
    "snapshot": "s",
    "nocache": "n",
    "copy-on-read": "C",
    "misalign": "m",
    "native-aio": "k",
    "aio:": "i",
    "discard:": "d",
    "cache:": "t",
    "trace:": "T",
    "object:": "object",
    "image-opts": "image-opts",
    "force-share": "U",
}
_PROTOCOLS = {"nbd": "nbd+unix", "null-co": "null-co", "null-aio": "null-aio"}
"""What ``info`` calls the protocol of drivers: of several names, the one that was registered last."""

_USAGE = "Usage: qemu-io [OPTIONS]... [-c STRING]... [file]\nQEMU Disk exerciser\n\n"
PROMPT = "qemu-io> "
_SIGABRT = 6


class _EndError(Exception):
    """The program ends now, with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Arguments:
    """The command line.

    :ivar commands: those of ``-c``; None for those of standard input.
    """

    def __init__(self) -> None:
        self.flags = OpenFlags()
        self.format: str | None = None
        self.commands: list[str] | None = None
        self.as_options = False
        self.words: list[str] = []


class QemuIo:
    """One run of the program.

    :param images: the files.
    :param profile: the release.
    :param streams: where it prints.
    :param lines: what is on standard input, without the ends of lines.
    :param clock: nanoseconds, for rates.
    :param sleep: waits for so many nanoseconds.
    :param raise_signal: ends the program by a signal of that number.
    """

    def __init__(
        self,
        images: ImageStore,
        profile: Profile,
        streams: StandardStreams,
        *,
        lines: Iterable[str] = (),
        clock: Callable[[], int] = lambda: 0,
        sleep: Callable[[int], object] = lambda _: None,
        raise_signal: Callable[[int], object] = lambda _: None,
    ) -> None:
        self.images = images
        self.profile = profile
        self.streams = streams
        self.world: World | None = None
        self.drive: Drive | None = None
        self.as_options = False
        self._quits = False
        self._lines = lines
        self._clock = clock
        self._sleep = sleep
        self._raise_signal = raise_signal

    def run(self, arguments: Sequence[str]) -> int:
        """Run it: the exit status, negative for a signal."""
        with self.images.seen_by_another_process():
            try:
                status = self._run(arguments)
            except _EndError as end:
                status = end.status
            except UnsupportedError as error:
                status = 1
                self.streams.complain(f"{error.desc}\n")
            self._close()
        self.streams.flush()
        return status

    def _run(self, arguments: Sequence[str]) -> int:
        given = self._parse(arguments)
        if len(given.words) > 1:
            return self._usage(1)
        if given.as_options and given.format is not None:
            return self._fail("--image-opts and -f are mutually exclusive")
        self.as_options = given.as_options
        if given.words and not self._open_given(given):
            return 1
        failed = False
        for command in given.commands if given.commands is not None else self._prompted():
            failed |= self._command(command)
            if self._quits:
                break
        return int(failed)

    def _parse(self, arguments: Sequence[str]) -> _Arguments:
        """Read the command line.

        :raises _EndError: it is wrong, or was about nothing else.
        """
        given = _Arguments()
        try:
            for letter, value in scan(arguments, _LETTERS, given.words, _LONG):
                if not given.flags.take(letter, value):
                    self._take(given, letter, value)
        except GetoptError as error:
            self.streams.complain(f"qemu-io: {error}\n")
            raise _EndError(self._usage(1)) from None
        except InvalidModeError as error:
            raise _EndError(self._fail(str(error))) from None
        return given

    def _take(self, given: _Arguments, letter: str, value: str) -> None:
        match letter:
            case "f":
                given.format = value
            case "c":
                given.commands = [*(given.commands or []), value]
            case "image-opts":
                given.as_options = True
            case "V":
                self.streams.print(f"qemu-io version {self.profile.full_version}{self.profile.copyright}")
                raise _EndError(0)
            case "h":
                raise _EndError(self._usage(0))
            case "m":
                pass  # how buffers lie in memory is nothing that is seen
            case _:
                raise UnsupportedError(f"option '{'--' if len(letter) > 1 else '-'}{letter}' of qemu-io")

    def _usage(self, status: int) -> int:
        """Say how it is used, in qbitsim's own words; the status."""
        options = [
            (f"  -{key}, " if len(key) == 1 else "      ") + f"--{name.rstrip(':')}" + (" VALUE" if ":" in name else "")
            for name, key in _LONG.items()
        ]
        self.streams.print(_USAGE + "\n".join(options) + "\n")
        return status

    def _prompted(self) -> Iterable[str]:
        """The lines of standard input, each behind a prompt."""
        lines = iter(self._lines)
        while True:
            self.streams.print(PROMPT)
            self.streams.flush()
            line = next(lines, None)
            if line is None:
                return
            yield line

    # -- files

    def _open_given(self, given: _Arguments) -> bool:
        """Open the file of the command line; whether that worked."""
        [word] = given.words
        if given.as_options:
            return self._open(None, self._image_options(word), given.flags)
        return self._open(word, [] if given.format is None else [("driver", given.format)], given.flags)

    def _image_options(self, word: str) -> list[tuple[str, str]]:
        if "=" not in word:
            self.streams.complain(
                f"qemu-io: warning: short-form boolean option '{word}' deprecated\nPlease use {word}=on instead\n"
            )
            return []
        return _key_values(word)

    def _open(self, word: str | None, given: list[tuple[str, str]], flags: OpenFlags) -> bool:
        """Open a file; whether that worked."""
        if self.drive is not None:
            self._fail("file open already, try 'help close'")
            return False
        keys = dict(given)
        if flags.force_share and keys.get("force-share", "on") != "on":
            self._fail("-U conflicts with image options")
            return False
        world = World(self.images, self.profile, self.streams.print)
        world.graph.complain = lambda text: self.streams.complain(f"qemu-io: {text}\n")
        what = "" if word is None else f" device {word}"
        name = keys.get("file.filename", "") if word is None else word
        try:
            node = open_node(world, word, given, flags)
            drive = world.graph.add_drive("", node)
        except UnsupportedError:
            raise
        except QmpError as error:
            hint = lock_hint(self.images, name, error.desc, read_only=flags.read_only)
            told = f"\n{error.hint}".rstrip("\n") if error.hint.startswith("server reported") else ""
            self._fail(f"can't open{what}: {error.desc}{told}{hint}")
            return False
        self.world, self.drive = world, drive
        for each in world.graph.nodes.values():
            image = _qcow2_image(each)
            if image is not None and image.has_stale_bitmaps:
                from qbitsim.qemu_img.files import STALE_BITMAPS  # noqa: PLC0415 - few files have any

                self.streams.complain(STALE_BITMAPS.format("qemu-io"))
                image.has_stale_bitmaps = each.read_only
        probed = word is not None and "driver" not in keys and not word.startswith("json:")
        if probed and node.driver == "raw" and not flags.read_only:
            self.streams.complain(RAW_WARNING.format(node.children[0].node.filename))
        return True

    def _close(self) -> None:
        if self.world is not None:
            self.world.graph.close()
        self.world = self.drive = None

    def _fail(self, text: str) -> int:
        self.streams.complain(f"qemu-io: {text}\n")
        return 1

    # -- commands

    def _command(self, command: str) -> bool:
        """Run one command; whether it failed."""
        words = [word for word in command.split(" ") if word]
        own: dict[str, Callable[[list[str]], bool]] = {
            "open": self._do_open,
            "o": self._do_open,
            "close": self._do_close,
            "c": self._do_close,
            "quit": self._do_quit,
            "q": self._do_quit,
            "abort": self._do_abort,
            "sigraise": self._do_sigraise,
            "reopen": self._do_reopen,
            "info": self._do_info,
            "i": self._do_info,
            "help": self._do_help,
            "?": self._do_help,
        }
        if not words:
            return False
        if words[0] in own:
            return own[words[0]](words)
        if self.drive is None and words[0] in known_commands(self.profile) and words[0] != "sleep":
            return self._no_file()
        return self._on_disk(command)

    def _no_file(self) -> bool:
        self.streams.complain("no file open, try 'help open'\n")
        return True

    def _on_disk(self, command: str) -> bool:
        drive = self.drive or Drive(World(self.images, self.profile).graph, "", perm=0, shared=ALL)
        output = qemu_io.run(
            DriveDisk(drive),
            command,
            profile=self.profile,
            permit=self._permit,
            reopen=self._reopen_with,
            clock=self._clock,
            sleep=self._sleep,
        )
        for piece in output.printed():
            self.streams.print(piece)
        self.streams.complain("".join(f"qemu-io: {line}\n" for line in output.hmp.splitlines()) + output.stderr)
        return output.failed

    def _permit(self, wanted: tuple[str, ...]) -> None:
        if wanted and self.drive is not None and self.drive.node.read_only:
            raise QmpError("Block node is read-only")

    def _do_open(self, words: list[str]) -> bool:
        if len(words) == 1:
            self.streams.complain(f"bad argument count 0 to {words[0]}, expected at least 1 arguments\n")
            return True
        flags, given, rest = OpenFlags(), list[tuple[str, str]](), list[str]()
        try:
            for letter, value in scan(words[1:], "snCro:ki:t:d:U", rest):
                if flags.take(letter, value):
                    continue
                if self.as_options:
                    self.streams.print("--image-opts and 'open -o' are mutually exclusive\n")
                    return True
                given += _key_values(value)
        except GetoptError as error:
            self.streams.complain(f"{words[0]}: {error}\n")
            self.streams.print(help_line(words[0], own_commands()[words[0]]))
            return True
        except InvalidModeError as error:
            return bool(self._fail(str(error)))
        if self.as_options and len(rest) == 1:
            given, rest = self._image_options(rest[0]), []
        if len(rest) > 1:
            self.streams.print(help_line("open", own_commands()["open"]))
            return True
        return not self._open(rest[0] if rest else None, given, flags)

    def _do_close(self, words: list[str]) -> bool:
        if len(words) > 1:
            self.streams.complain(f"bad argument count {len(words) - 1} to {words[0]}, expected 0 arguments\n")
            return True
        if self.drive is None:
            return self._no_file()
        self._close()
        return False

    def _do_quit(self, _words: list[str]) -> bool:
        self._quits = True
        return False

    def _do_abort(self, _words: list[str]) -> bool:
        return self._end_by_signal(_SIGABRT)

    def _do_sigraise(self, words: list[str]) -> bool:
        if len(words) != 2 or not words[1].isdecimal():
            raise UnsupportedError(f"qemu-io command '{' '.join(words)}'")
        return self._end_by_signal(int(words[1]))

    def _end_by_signal(self, number: int) -> bool:
        self.streams.drop()
        self._raise_signal(number)
        raise _EndError(-number)

    def _do_help(self, words: list[str]) -> bool:
        """The program's own commands are among those that ``help`` lists."""
        own = own_commands()
        if len(words) == 2 and words[1] in own:
            if own[words[1]].has_help:
                raise UnsupportedError(f"the extended help of qemu-io's '{words[1]}'")
            self.streams.print(help_line(words[1], own[words[1]]))
            return False
        if len(words) != 1:
            return self._on_disk(" ".join(words))
        table = {**known_commands(self.profile), **own}
        lines = [help_line(name, entry) for name, entry in sorted(table.items()) if name == entry.name]
        self.streams.print("".join(lines) + "\nUse 'help commandname' for extended help.\n")
        return False

    def _do_reopen(self, words: list[str]) -> bool:
        """Changes between reading and writing; what else it could change has no effect here."""
        if self.drive is None:
            return self._no_file()
        if any(word.startswith("-o") for word in words[1:]):
            return self._on_disk(" ".join(words))
        if words[1:] == ["-r"] and self.drive.node.copy_on_read:
            name = self.drive.node.name
            return bool(self._fail(f"Can't set node '{name}' to r/o with copy-on-read enabled"))
        if any(word in {"-r", "-w"} for word in words[1:]) and len(words) == 2:
            return self._reopen(self.drive, read_only=words[1] == "-r")
        if len(words) == 3 and words[1] == "-c" and words[2] in CACHE_MODES:
            return False
        return self._on_disk(" ".join(words))

    def _reopen(self, drive: Drive, *, read_only: bool) -> bool:
        """Reopen the node; whoever only reads needs no right to write any more (reopen_f, qemu-io-cmds.c, 10.0)."""
        if read_only:
            _give_up_writing(drive)
        assert self.world is not None
        from qbitsim.jobs.loop import set_writable  # noqa: PLC0415 - wanted by this command alone

        try:
            set_writable(self.world.graph, drive.node, writable=not read_only)
        except QmpError as error:
            return bool(self._fail(error.desc))
        return False

    def _reopen_with(self, request: qemu_io.Request) -> None:
        """Reopen the node with other options."""
        from qbitsim.commands.reopen import reopen_with  # noqa: PLC0415 - wanted by this command alone

        assert self.world is not None
        assert self.drive is not None
        given = nested(dict(request.options))
        if "r" in request.flags:
            _give_up_writing(self.drive)
        elif not self.drive.node.read_only:
            self.drive.require(WRITE)  # as it was opened (blk_new_open, block/block-backend.c, 10.0)
        if request.flags & {"r", "w"}:
            given["read-only"] = "r" in request.flags
        reopen_with(self.world.graph, self.drive.node, given, self.profile)

    def _do_info(self, _words: list[str]) -> bool:
        if self.drive is None:
            return self._no_file()
        node = self.drive.node
        image = _qcow2_image(node)
        if image is None and not node.knows_cluster_size:
            protocol = _PROTOCOLS.get(node.driver)
            names = [node.driver] if protocol is None else [node.driver, protocol]
            self.streams.print("".join(f"format name: {name}\n" for name in names))
            return True
        state = 0
        if image is not None:
            reach = node.cluster_size * node.cluster_size // TABLE_ENTRY
            state = -(-node.length // reach) * reach
        self.streams.print(f"format name: {node.driver}\ncluster size: {format_size(node.cluster_size)}\n")
        self.streams.print(f"vm state offset: {format_size(state)}\n")
        self._print_specific_info(node, image)
        return False

    def _print_specific_info(self, node: Node, image: Qcow2Image | None) -> None:
        from qbitsim.qemu_img.report import format_specific, tree  # noqa: PLC0415 - wanted by this command alone

        assert self.world is not None
        specific = node.specific_info(self.world.profile)
        if specific is not None:
            lines = tree(specific["data"], 1) if image is None else format_specific(image)
            self.streams.print("\n".join(["Format specific information:", *lines]) + "\n")


def _key_values(text: str) -> list[tuple[str, str]]:
    from qbitsim.qemu_img.options import key_values  # noqa: PLC0415 - most files are given by name alone

    return key_values(text)


def _give_up_writing(drive: Drive) -> None:
    drive.perm &= ~(WRITE | WRITE_UNCHANGED)
    if drive.root is not None:
        drive.root.perm = drive.perm


def _qcow2_image(node: Node) -> Qcow2Image | None:
    """What the node has open, if it is a qcow2 image."""
    image = node.disk_image if node.driver == "qcow2" else None
    return image if isinstance(image, Qcow2Image) else None


def main(argv: Sequence[str], profile: Profile) -> int:
    """Run it in the current directory, with the commands of ``-c`` or of standard input; the exit status."""
    process.end_on_interrupt()
    store = HostImageStore(".")
    store.network = SocketNetwork(store.network)
    streams = process.standard_streams()
    program = QemuIo(
        store,
        profile,
        streams,
        lines=process.lines(),
        clock=process.ticks,
        sleep=process.sleep,
        raise_signal=process.raise_signal,
    )
    status = program.run(argv)
    process.save(store, "qemu-io", streams)
    return status
