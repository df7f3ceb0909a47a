"""``qemu-io`` as a program: it opens one file or none, runs commands and says how they ended.

The commands on a disk are those of the monitor (:mod:`qbitsim.qemu_io`); here are the program's own (``open``,
``close``, ``quit``) and those that end it. Output is as seen through one pipe: standard error is not buffered, so all
of it comes first.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from qbitsim.commands.hmp.guest_io import DriveDisk
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files.locks import READER, WRITER
from qbitsim.images.qcow2.allocator import TABLE_ENTRY
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.machine.machine import Machine
from qbitsim.qemu_img.files import STALE_BITMAPS
from qbitsim.qemu_img.options import key_values
from qbitsim.qemu_img.report import format_specific
from qbitsim.qemu_io import run as qemu_io
from qbitsim.qemu_io.numbers import format_size

if TYPE_CHECKING:
    from collections.abc import Callable

    from qbitsim.block.drive import Drive
    from qbitsim.block.node import Node
    from qbitsim.drivers.options import Options
    from qbitsim.images.store import ImageStore
    from qbitsim.profiles import Profile

_FLAGS = {"r": "read-only", "s": "snapshot", "n": "nocache", "C": "copy-on-read", "m": "misalign", "U": "force-share"}
_VALUES = {"c": "cmd", "f": "format", "t": "cache", "d": "discard"}
_OTHER = {"k": "native-aio", "i": "aio", "T": "trace", "h": "help", "object": "object"}
_CACHE_MODES = {"none", "off", "writeback", "unsafe", "directsync", "writethrough"}
_DISCARD_MODES = {"ignore": "ignore", "off": "ignore", "unmap": "unmap", "on": "unmap"}
_SIGABRT = 6
_RAW_WARNING = """\
WARNING: Image format was not specified for '{}' and probing guessed raw.
         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.
         Specify the 'raw' format explicitly to remove the restrictions.
"""


class _EndError(Exception):
    """The program ends now, with this status."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class QemuIo:
    """One run of the program.

    :param images: the files.
    :param profile: the release.
    """

    def __init__(self, images: ImageStore, profile: Profile) -> None:
        self.images = images
        self.profile = profile
        self.machine: Machine | None = None
        self.drive: Drive | None = None
        self.stdout = ""
        self.stderr = ""

    def run(self, arguments: list[str]) -> tuple[int, str]:
        """Run it: the exit status, negative for a signal, and what it printed."""
        try:
            status = self._run(arguments)
        except _EndError as end:
            status = end.status
        self._close()
        return status, self.stderr + self.stdout

    def _run(self, arguments: list[str]) -> int:
        given, words = _parse(arguments)
        if "version" in given:
            self.stdout += f"qemu-io version {self.profile.full_version}{self.profile.copyright}"
            return 0
        options = self._node_options(given)
        if len(words) > 1:
            raise UnsupportedError("the usage text of qemu-io")
        if "image-opts" in given and "format" in given:
            return self._fail("--image-opts and -f are mutually exclusive")
        if "snapshot" in given:
            self.images = self.images.clone()
        if words and not self._open(words[0], options, as_options="image-opts" in given):
            return 1
        if not given.get("cmd"):
            raise UnsupportedError("qemu-io without commands")
        failed = [self._command(command, options) for command in given["cmd"]]
        return int(any(failed))

    def _node_options(self, given: dict[str, list[str]]) -> Options:
        cache, discard = given.get("cache", ["writeback"])[-1], given.get("discard", ["unmap"])[-1]
        if discard not in _DISCARD_MODES:
            raise _EndError(self._fail(f"Invalid discard option: {discard}"))
        if cache not in _CACHE_MODES:
            raise _EndError(self._fail(f"Invalid cache option: {cache}"))
        if "copy-on-read" in given:
            raise UnsupportedError("option '-C' of qemu-io")
        options: Options = {"discard": _DISCARD_MODES[discard]}
        options.update({key: True for key in ("read-only", "force-share") if key in given})
        if "format" in given:
            options["driver"] = given["format"][-1]
        return options

    # -- files

    def _open(self, word: str, options: Options, *, as_options: bool = False) -> bool:
        """Open a file; whether that worked."""
        if self.drive is not None:
            self._fail("file open already, try 'help close'")
            return False
        machine = Machine(self.profile, images=self.images)
        what = "" if as_options else f" device {word}"
        try:
            name, options = self._named(word, options, as_options=as_options)
            node = machine.open_file(name, options)
            self.machine, self.drive = machine, machine.add_drive("", node)
        except UnsupportedError:
            raise
        except QmpError as error:
            self._fail(f"can't open{what}: {error.desc}{self._lock_hint(word, options, error.desc)}")
            return False
        image = _qcow2_image(node)
        if image is not None and image.has_stale_bitmaps:
            self.stderr += STALE_BITMAPS.format("qemu-io")
            image.has_stale_bitmaps = node.read_only
        if "driver" not in options and node.driver == "raw" and "read-only" not in options:
            self.stderr += _RAW_WARNING.format(word)
        return True

    def _named(self, word: str, options: Options, *, as_options: bool) -> tuple[str, Options]:
        if not as_options:
            return word, options
        given = dict(key_values(word))
        if "=" not in word:
            self.stderr += f"qemu-io: warning: short-form boolean option '{word}' deprecated\n"
            self.stderr += f"Please use {word}=on instead\n"
            raise QmpError("Must specify either driver or file")
        if not given.keys() <= {"driver", "file.driver", "file.filename", "read-only"} or "file.filename" not in given:
            raise UnsupportedError(f"the image options '{word}'")
        if given.get("file.driver", "file") != "file":
            raise UnsupportedError(f"the image options '{word}'")
        merged = dict(options)
        if "driver" in given:
            merged["driver"] = given["driver"]
        if "read-only" in given:
            merged["read-only"] = given["read-only"] == "on"
        return given["file.filename"], merged

    def _lock_hint(self, word: str, options: Options, text: str) -> str:
        """The second line of what is said about a lock: which file it is."""
        if "lock" not in text or word not in self.images:
            return ""
        wanted = READER if "read-only" in options else WRITER
        if "backing file" not in text and self.images.file(word).locks.conflict(*wanted):
            return f"\nIs another process using the image [{word}]?"
        name, image = word, self.images.lookup(word)
        while image.backing is not None:
            name = self.images.backing_name(name, image.backing)
            image = self.images.lookup(name)
            if image.file.locks.conflict(*READER):
                return f"\nIs another process using the image [{name}]?"
        return ""

    def _close(self) -> None:
        if self.machine is not None:
            self.machine.graph.close()
        self.machine = self.drive = None

    def _fail(self, text: str) -> int:
        self.stderr += f"qemu-io: {text}\n"
        return 1

    # -- commands

    def _command(self, command: str, options: Options) -> bool:
        """Run one command; whether it failed."""
        words = [word for word in command.split(" ") if word]
        own: dict[str, Callable[[list[str], Options], bool]] = {
            "open": self._do_open,
            "o": self._do_open,
            "close": self._do_close,
            "c": self._do_close,
            "quit": self._do_quit,
            "q": self._do_quit,
            "abort": self._do_abort,
            "sigraise": self._do_sigraise,
            "break": self._do_break,
            "resume": self._do_break,
            "remove_break": self._do_break,
            "reopen": self._do_reopen,
            "info": self._do_info,
            "i": self._do_info,
        }
        if not words:
            return False
        if words[0] in own:
            return own[words[0]](words, options)
        if self.drive is None and words[0] not in {"help", "?", "sleep"}:
            self.stderr += "no file open, try 'help open'\n"
            return True
        return self._on_disk(command)

    def _on_disk(self, command: str) -> bool:
        drive = self.drive or Machine(self.profile, images=self.images).anonymous_drive()
        output = qemu_io.run(DriveDisk(drive), command, profile=self.profile, permit=self._permit)
        self.stdout += output.stdout
        self.stderr += "".join(f"qemu-io: {line}\n" for line in output.hmp.splitlines()) + output.stderr
        return output.failed

    def _permit(self, wanted: tuple[str, ...]) -> None:
        if wanted and self.drive is not None and self.drive.node.read_only:
            raise QmpError("Block node is read-only")

    def _do_open(self, words: list[str], options: Options) -> bool:
        rest, flags = [], dict[str, object]()
        if len(words) == 1:
            self.stderr += "bad argument count 0 to open, expected at least 1 arguments\n"
            return True
        iterator = iter(words[1:])
        for word in iterator:
            if word == "-r":
                flags["read-only"] = True
            elif word == "-U":
                flags["force-share"] = True
            elif word == "-n":
                pass  # without the host's cache, of which there is none
            elif word == "-o":
                pairs = dict(key_values(next(iterator, "")))
                if not pairs.keys() <= {"driver", "read-only"}:
                    raise UnsupportedError(f"qemu-io command '{' '.join(words)}'")
                flags.update({key: value == "on" if key == "read-only" else value for key, value in pairs.items()})
            elif word.startswith("-"):
                raise UnsupportedError(f"qemu-io command '{' '.join(words)}'")
            else:
                rest.append(word)
        if len(rest) != 1:
            raise UnsupportedError(f"qemu-io command '{' '.join(words)}'")
        kept = {"discard": options.get("discard", "unmap")}
        return not self._open(rest[0], {**kept, **flags})

    def _do_close(self, _words: list[str], _options: Options) -> bool:
        if self.drive is None:
            self.stderr += "no file open, try 'help open'\n"
            return True
        self._close()
        return False

    def _do_quit(self, _words: list[str], _options: Options) -> bool:
        raise _EndError(0)

    def _do_abort(self, _words: list[str], _options: Options) -> bool:
        self.stdout = ""
        raise _EndError(-_SIGABRT)

    def _do_sigraise(self, words: list[str], _options: Options) -> bool:
        if len(words) != 2 or not words[1].isdecimal():
            raise UnsupportedError(f"qemu-io command '{' '.join(words)}'")
        self.stdout = ""
        raise _EndError(-int(words[1]))

    def _do_break(self, words: list[str], _options: Options) -> bool:
        if self.drive is None:
            self.stderr += "no file open, try 'help open'\n"
            return True
        wanted = 2 if words[0] == "break" else 1
        if len(words) - 1 != wanted:
            self.stderr += f"bad argument count {len(words) - 1} to {words[0]}, expected {wanted} arguments\n"
            return True
        if any(node.driver == "blkdebug" for node in self.drive.graph.nodes.values()):
            raise UnsupportedError(f"qemu-io command '{words[0]}' on blkdebug")
        reason = os.strerror(errno.EOPNOTSUPP)
        texts = {
            "break": "Could not set breakpoint: ",
            "resume": "Could not resume request: ",
            "remove_break": f"Could not remove breakpoint {words[1]}: ",
        }
        self.stdout += f"{texts[words[0]]}{reason}\n"
        return True

    def _do_reopen(self, words: list[str], _options: Options) -> bool:
        """Changes between reading and writing; what else it could change has no effect here."""
        if self.drive is None:
            self.stderr += "no file open, try 'help open'\n"
            return True
        if any(word.startswith("-o") for word in words[1:]):
            raise UnsupportedError(f"qemu-io command '{' '.join(words)}'")
        if any(word in {"-r", "-w"} for word in words[1:]) and len(words) == 2:
            self.drive.node.set_read_only(words[1] == "-r")
            return False
        if len(words) == 3 and words[1] == "-c" and words[2] in _CACHE_MODES:
            return False
        return self._on_disk(" ".join(words))

    def _do_info(self, _words: list[str], _options: Options) -> bool:
        if self.drive is None:
            self.stderr += "no file open, try 'help open'\n"
            return True
        node = self.drive.node
        image = _qcow2_image(node)
        if image is None:
            raise UnsupportedError("qemu-io command 'info' of an image that is not qcow2")
        reach = node.cluster_size * node.cluster_size // TABLE_ENTRY
        self.stdout += f"format name: qcow2\ncluster size: {format_size(node.cluster_size)}\n"
        self.stdout += f"vm state offset: {format_size(-(-node.length // reach) * reach)}\n"
        self.stdout += "\n".join(["Format specific information:", *format_specific(image)]) + "\n"
        return False


def _qcow2_image(node: Node) -> Qcow2Image | None:
    """What the node has open, if it is a qcow2 image."""
    image = node.disk_image if node.driver == "qcow2" else None
    return image if isinstance(image, Qcow2Image) else None


def _parse(arguments: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Options by their long names with their values, and what is left."""
    given: dict[str, list[str]] = {}
    words: list[str] = []
    rest = list(arguments)
    long_values = {name: name for name in _VALUES.values()}
    while rest:
        word = rest.pop(0)
        if word in {"-V", "--version"}:
            given["version"] = []
        elif word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if name in long_values:
                given.setdefault(name, []).append(value if equals else _next(rest))
            elif name in {*_FLAGS.values(), "image-opts"}:
                given[name] = []
            else:
                raise UnsupportedError(f"option '{word}' of qemu-io")
        elif word.startswith("-") and word != "-":
            _parse_letters(word[1:], rest, given)
        else:
            words.append(word)
    return given, words


def _parse_letters(letters: str, rest: list[str], given: dict[str, list[str]]) -> None:
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter in _VALUES:
            given.setdefault(_VALUES[letter], []).append(letters or _next(rest))
            return
        if letter not in _FLAGS:
            raise UnsupportedError(f"option '-{letter}' of qemu-io")
        given[_FLAGS[letter]] = []


def _next(rest: list[str]) -> str:
    if not rest:
        raise UnsupportedError("the usage text of qemu-io")
    return rest.pop(0)
