"""The command line of ``qemu-nbd`` (main, qemu-nbd.c, QEMU 10.0): each value is checked where it stands."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.nbd.exports import DEFAULT_HANDSHAKE, MAXIMUM_STRING
from qbitsim.programs.file_opening import AIO_MODES, CACHE_MODES, DIRECT_CACHE_MODES, DISCARD_MODES, OpenFlags
from qbitsim.programs.getopt import GetoptError, scan
from qbitsim.programs.option_text import OptionHelpError, option_list, parse_options, read_number
from qbitsim.records import record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from qbitsim.profiles import Profile

_LETTERS = "hVb:o:p:rsnc:dvk:e:f:tl:x:T:D:AB:L"
_LONG = {
    "help": "h",
    "version": "V",
    "bind:": "b",
    "port:": "p",
    "socket:": "k",
    "offset:": "o",
    "read-only": "r",
    "allocation-depth": "A",
    "bitmap:": "B",
    "connect:": "c",
    "disconnect": "d",
    "list": "L",
    "snapshot": "s",
    "load-snapshot:": "l",
    "nocache": "n",
    "cache:": "cache",
    "aio:": "aio",
    "discard:": "discard",
    "detect-zeroes:": "detect-zeroes",
    "shared:": "e",
    "format:": "f",
    "persistent": "t",
    "verbose": "v",
    "object:": "object",
    "export-name:": "x",
    "description:": "D",
    "tls-creds:": "tls-creds",
    "tls-hostname:": "tls-hostname",
    "tls-authz:": "tls-authz",
    "image-opts": "image-opts",
    "trace:": "T",
    "fork": "fork",
    "pid-file:": "pid-file",
    "selinux-label:": "selinux-label",
}
_HANDSHAKE_LIMIT = {"handshake-limit:": "handshake-limit"}
_NOT_EMULATED = {"T": "trace", "object": "object", "selinux-label": "selinux-label"}
_WRITETHROUGH = {"writethrough", "directsync"}
_DETECT_ZEROES = {"off", "on", "unmap"}
_SNAPSHOT = option_list("snapshot", string="snapshot.id snapshot.name")
_HINT = "Try `qemu-nbd --help' for more information."
_RANGES = {
    "e": range(2**31),
    "handshake-limit": range(2**31),
    "o": range(1 - 2**64, 2**64),  # unsigned, where a number less than zero is one from the other end
}


class FailureError(Exception):
    """The program ends with an error.

    :ivar text: what it says, without its name in front.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class HelpError(Exception):
    """Nothing but help (``h``) or the version (``V``) is wanted."""

    def __init__(self, letter: str) -> None:
        super().__init__(letter)
        self.letter = letter


@record(frozen=False, eq=False)
class Arguments:
    """What the command line asks for.

    :ivar flags: how the image is to be opened; ``writethrough``: and each write to be flushed.
    :ivar offset: where the export begins in the image; less than zero for a number that is too large.
    :ivar shared: how many clients there may be at once; 0 for any number.
    :ivar bitmaps: the last one first, which gets the first context.
    :ivar lists: the exports of another server are to be shown.
    :ivar loaded_snapshot: the internal snapshot that is exported, by its name or id or as ``snapshot.name=...``.
    :ivar device: what the kernel is to connect; ``disconnects``: or what is given up.
    """

    words: list[str]
    bitmaps: list[str]
    flags: OpenFlags
    socket: str | None = None
    host: str | None = None
    port: str | None = None
    name: str | None = None
    description: str | None = None
    format: str | None = None
    offset: int = 0
    shared: int = 1
    handshake_seconds: int = DEFAULT_HANDSHAKE
    detect_zeroes: str = "off"
    writethrough: bool = False
    allocation_depth: bool = False
    persistent: bool = False
    as_options: bool = False
    forks: bool = False
    verbose: bool = False
    lists: bool = False
    pid_file: str | None = None
    device: str | None = None
    disconnects: bool = False
    tls_creds: str | None = None
    tls_authz: str | None = None
    tls_hostname: str | None = None
    loaded_snapshot: str | None = None


def read_arguments(argv: Sequence[str], profile: Profile, complain: Callable[[str], None]) -> Arguments:
    """Read the command line.

    :param complain: writes a line on standard error.
    :raises FailureError: it is wrong.
    :raises HelpError: nothing is to be done.
    :raises UnsupportedError: it has an option that is not emulated.
    """
    reader = _Reader(lambda text: complain(f"qemu-nbd: warning: {text}\n"))
    words: list[str] = []
    try:
        for key, value in scan(argv, _LETTERS, words, long_options(profile)):
            reader.take(key, value)
    except GetoptError as error:
        raise FailureError(f"{error}\nqemu-nbd: {_HINT}") from None
    reader.arguments.words = words
    _check(reader.arguments, reader.seen)
    return reader.arguments


def long_options(profile: Profile) -> Mapping[str, str]:
    """The long options, with a colon behind those that take a value, and how each is called here."""
    return {**_LONG, **_HANDSHAKE_LIMIT} if profile.nbd_handshake_limited else _LONG


_SWITCHES = {
    "A": "allocation_depth",
    "t": "persistent",
    "v": "verbose",
    "L": "lists",
    "d": "disconnects",
    "fork": "forks",
    "image-opts": "as_options",
}
_TEXTS = {
    "b": "host",
    "p": "port",
    "k": "socket",
    "x": "name",
    "D": "description",
    "f": "format",
    "c": "device",
    "pid-file": "pid_file",
    "tls-creds": "tls_creds",
    "tls-authz": "tls_authz",
    "tls-hostname": "tls_hostname",
    "l": "loaded_snapshot",
}


class _Reader:
    """Takes one option after the other.

    :ivar seen: options that can be given once only.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self.arguments = Arguments([], [], OpenFlags(discard="ignore"))
        self.seen: set[str] = set()

    def take(self, key: str, value: str) -> None:
        """Take an option."""
        given = self.arguments
        if key in _SWITCHES:
            setattr(given, _SWITCHES[key], True)
        elif key in _TEXTS:
            _check_text(key, value)
            if key == "l" and value.startswith("snapshot."):
                self._check_snapshot(value)
            setattr(given, _TEXTS[key], value)
            given.flags.read_only |= key == "l"
        elif key == "B":
            given.bitmaps.insert(0, value)
        elif key in {"r", "s"}:
            given.flags.take(key, value)
        elif key in {"h", "V"}:
            raise HelpError(key)
        elif key in _NOT_EMULATED:
            raise UnsupportedError(f"option '--{_NOT_EMULATED[key]}' of qemu-nbd")
        elif key in _RANGES:
            self._take_number(key, value)
        else:
            self._take_mode(key, value)

    def _check_snapshot(self, value: str) -> None:
        try:
            parse_options(value, _SNAPSHOT, self._warn)
        except OptionHelpError:
            raise UnsupportedError("help on the options of qemu-nbd's '--load-snapshot'") from None
        except QmpError as error:
            raise FailureError(f"{error.desc}\nqemu-nbd: Failed in parsing snapshot param `{value}'") from None

    def _take_number(self, key: str, value: str) -> None:
        what = {"e": "shared device number", "handshake-limit": "handshake limit", "o": "offset"}[key]
        number = _integer(value)
        if number is None or number not in _RANGES[key]:
            raise FailureError(f"Invalid {what} '{value}'")
        if key == "o":
            number = (number + 2**63) % 2**64 - 2**63
        setattr(self.arguments, {"e": "shared", "handshake-limit": "handshake_seconds", "o": "offset"}[key], number)

    def _take_mode(self, key: str, value: str) -> None:
        given, flags = self.arguments, self.arguments.flags
        if key in {"n", "cache"}:
            self._once("cache", "-n and --cache")
            mode = value if key == "cache" else "none"
            if mode not in CACHE_MODES:
                raise FailureError(f"Invalid cache mode `{mode}'")
            flags.direct, given.writethrough = mode in DIRECT_CACHE_MODES, mode in _WRITETHROUGH
        elif key == "aio":
            self._once("aio", "--aio")
            if value not in AIO_MODES:
                raise FailureError(f"Invalid aio mode '{value}'")
            flags.native_aio = value == "native"
        elif key == "discard":
            self._once("discard", "--discard")
            if value not in DISCARD_MODES:
                raise FailureError(f"Invalid discard mode `{value}'")
            flags.discard = DISCARD_MODES[value]
        else:
            assert key == "detect-zeroes"
            if value not in _DETECT_ZEROES:
                raise FailureError(f"Failed to parse detect_zeroes mode: invalid parameter value: {value}")
            if value == "unmap" and flags.discard != "unmap":
                text = "setting detect-zeroes to unmap is not allowed without setting discard operation to unmap"
                raise FailureError(text)
            given.detect_zeroes = value

    def _once(self, what: str, names: str) -> None:
        if what in self.seen:
            raise FailureError(f"{names} can only be specified once")
        self.seen.add(what)


def _check_text(key: str, value: str) -> None:
    """Refuse a text that cannot be right."""
    if key == "k" and not value.startswith("/"):
        raise FailureError("socket path must be absolute")
    too_long = len(value.encode("utf-8", "surrogateescape")) > MAXIMUM_STRING
    if too_long and key in {"x", "D"}:
        raise FailureError(f"export {'name' if key == 'x' else 'description'} '{value}' too long")


def _integer(text: str) -> int | None:
    """A number as C writes it; None if it is none."""
    try:
        return read_number("", text)
    except QmpError:
        return None


def _check(given: Arguments, seen: set[str]) -> None:
    """Refuse what does not go together."""
    if given.lists:
        _check_list_mode(given, seen)
    elif len(given.words) != 1:
        raise FailureError(f"Invalid number of arguments\n{_HINT}")
    if given.tls_creds is None:
        for name in ("authz", "hostname"):
            if getattr(given, f"tls_{name}") is not None:
                raise FailureError(f"--tls-{name} is not permitted without --tls-creds")
    elif given.device is not None:
        raise FailureError("TLS is not supported with a host device")
    elif given.tls_authz is not None and given.lists:
        raise FailureError("TLS authorization is incompatible with export list")
    elif given.tls_hostname is not None and not given.lists:
        raise FailureError("TLS hostname is only supported with export list")
    else:  # there are no objects, and so none with credentials
        raise FailureError(f"Failed to get TLS creds: No TLS credentials with id '{given.tls_creds}'")


def _check_list_mode(given: Arguments, seen: set[str]) -> None:
    if given.words:
        raise FailureError("List mode is incompatible with a file name")
    of_a_disk = (given.name, given.description, given.offset, given.device, given.disconnects, given.format)
    if any(of_a_disk) or given.bitmaps or given.allocation_depth or seen:
        raise FailureError("List mode is incompatible with per-device settings")
    if given.forks:
        raise FailureError("List mode is incompatible with forking")
