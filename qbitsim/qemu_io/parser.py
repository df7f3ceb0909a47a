"""From a qemu-io command line to a request, or to the text of its refusal.

Theory of operation: parsing knows no disk, so its result depends on nothing but the text and the
release, and is cached. Options are read as GNU getopt() does, each value checked when its turn
comes; then the checks of each command in QEMU's own order (qemu-io-cmds.c, 7.2 and 10.0).
"""

from __future__ import annotations

from qbitsim.drivers.drive_options import split_options
from qbitsim.errors import UnsupportedError
from qbitsim.light_library import lru_cache
from qbitsim.profiles import DEFAULT_PROFILE, Profile
from qbitsim.qemu_io.numbers import NOT_A_NUMBER, SizeError, has_deprecated_suffix, parse_size
from qbitsim.qemu_io.table import Command, commands, expected_arguments, help_line
from qbitsim.records import changed, record
from qbitsim.sizes import parse_integer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAX_LENGTH = 2147483136
"""BDRV_REQUEST_MAX_BYTES: the largest multiple of 512 in an int."""


@record
class Output:
    """What a command printed, by channel."""

    stdout: str = ""
    """On the standard output of the process, QEMU or qemu-io."""

    stderr: str = ""
    """On its standard error."""

    hmp: str = ""
    """error_report(): in the monitor's reply; qemu-io has it on standard error after ``qemu-io: ``."""

    failed: bool = False
    """Whether it makes ``qemu-io -c`` exit with status 1."""

    dump: Iterable[str] = ()
    """What comes before ``stdout``, in pieces that are made when they are wanted: it may be long."""

    def printed(self) -> Iterator[str]:
        """All that goes to standard output, in pieces."""
        yield from self.dump
        yield self.stdout


@record
class Request:
    """A parsed command. An empty ``verb`` does nothing."""

    verb: str = ""
    permissions: tuple[str, ...] = ()
    """What the command needs on the node: ``write``, ``resize``."""

    refusal: Output | None = None
    """What is printed instead of doing anything, once the permissions are there."""

    flags: frozenset[str] = frozenset()
    """Option letters given."""

    offset: int = 0
    length: int = 0
    pattern: int | None = None
    window: tuple[int, int] = (0, 0)
    """Start and length of the part of the data that a read with ``-P`` checks."""

    text: str = ""
    """The finished text of a command that needs no disk."""

    words: tuple[str, ...] = ()
    """What a command about breakpoints was given."""

    options: tuple[tuple[str, str], ...] = ()
    """The options of nodes that ``reopen`` was given, with dotted names."""

    cache: str = ""
    """The cache mode that ``reopen`` was given."""

    warning: str = ""
    """What the monitor prints before anything else."""


class _RefusalError(Exception):
    """The arguments are wrong; carries what is printed."""

    def __init__(self, stdout: str = "", *, stderr: str = "", hmp: str = "") -> None:
        super().__init__(stdout)
        self.output = Output(stdout, stderr, hmp, failed=True)


@lru_cache(maxsize=1024)
def parse(command: str, profile: Profile = DEFAULT_PROFILE) -> Request:
    """What ``command`` asks for; words are separated by spaces only and there is no quoting.

    :raises UnsupportedError: QEMU would do something here that qbitsim does not.
    """
    words = [word for word in command.split(" ") if word]
    if not words:
        return Request()
    entry = commands(profile).get(words[0])
    if entry is None:
        return Request(words[0], refusal=Output(stderr=f'command "{words[0]}" not found\n', failed=True))
    count = len(words) - 1
    if count < entry.minimum or (entry.maximum is not None and count > entry.maximum):
        text = f"bad argument count {count} to {words[0]}, expected {expected_arguments(entry)} arguments\n"
        return Request(entry.name, refusal=Output(stderr=text, failed=True))
    reader = _READERS.get(entry.name)
    if reader is None:
        raise UnsupportedError(f"qemu-io command '{entry.name}'")
    arguments = _Arguments(entry, words, profile)
    try:
        request = reader(arguments)
    except _RefusalError as refusal:
        request = Request(refusal=refusal.output)
    return changed(request, verb=entry.name, permissions=entry.permissions, warning="".join(arguments.warnings))


class _Arguments:
    """The words of one command while they are read."""

    __slots__ = ("entry", "flags", "operands", "profile", "values", "warnings", "words")

    def __init__(self, entry: Command, words: list[str], profile: Profile) -> None:
        self.entry = entry
        self.words = words
        self.profile = profile
        self.flags: set[str] = set()
        self.values: dict[str, int] = {}
        self.operands: list[str] = []
        self.warnings: list[str] = []

    def usage(self, stderr: str = "") -> _RefusalError:
        """The refusal that shows how the command is used."""
        return _RefusalError(help_line(self.entry.name, self.entry), stderr=stderr)

    def size(self, text: str) -> int:
        """``text`` as a size (cvtnum, print_cvtnum_err)."""
        try:
            if not self.profile.qemu_io_sizes_strict and has_deprecated_suffix(text):
                self.warnings.append(f"warning: Using a multiplier suffix on hex numbers is deprecated: {text}\n")
            return parse_size(text, strict=self.profile.qemu_io_sizes_strict)
        except SizeError as error:
            raise _RefusalError(f"Parsing error: {error} -- {text}\n") from None

    def options(self) -> Iterator[tuple[str, str]]:
        """Option letters with their values; operands are collected aside, wherever they stand (GNU getopt)."""
        rest = iter(self.words[1:])
        for word in rest:
            if word == "--":
                self.operands.extend(rest)
            elif word.startswith("-") and len(word) > 1:
                yield from self._cluster(word[1:], rest)
            else:
                self.operands.append(word)

    def _cluster(self, letters: str, rest: Iterator[str]) -> Iterator[tuple[str, str]]:
        typed = self.words[0]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter == ":" or letter not in self.entry.options:
                raise self.usage(f"{typed}: invalid option -- '{letter}'\n")
            self.flags.add(letter)
            if f"{letter}:" not in self.entry.options:
                yield letter, ""
                continue
            value = letters or next(rest, None)
            if value is None:
                raise self.usage(f"{typed}: option requires an argument -- '{letter}'\n")
            yield letter, value
            return

    def read_options(self) -> None:
        """Read all options of an I/O command, each value when its turn comes."""
        for letter, value in self.options():
            if letter == "P":
                pattern = parse_integer(value)
                if pattern is None or not 0 <= pattern <= 255:
                    raise _RefusalError(f"{value} is not a valid pattern byte\n")
                self.values[letter] = pattern
            elif value and self.entry.name == "read":
                self.values[letter] = self.size(value)

    def refuse_if(self, condition: bool, text: str) -> None:
        """Refuse with a line on standard output."""
        if condition:
            raise _RefusalError(text + "\n")

    def vector(self) -> int:
        """The sum of the lengths after the offset (create_iovec)."""
        total = 0
        for word in self.operands[1:]:
            length = self.size(word)
            self.refuse_if(length > MAX_LENGTH, f"Argument '{word}' exceeds maximum size {MAX_LENGTH}")
            total += length
            self.refuse_if(total > MAX_LENGTH, f"The total number of bytes exceed the maximum size {MAX_LENGTH}")
        return total

    def request(self, offset: int, length: int) -> Request:
        """The request with what the options said."""
        return Request(flags=frozenset(self.flags), offset=offset, length=length, pattern=self.values.get("P"))


def _read_read(words: _Arguments) -> Request:
    words.read_options()
    if len(words.operands) != 2:
        raise words.usage()
    offset = words.size(words.operands[0])
    length = words.size(words.operands[1])
    words.refuse_if(length > MAX_LENGTH, f"length cannot exceed {MAX_LENGTH}, given {words.operands[1]}")
    if "P" not in words.flags and words.flags & {"l", "s"}:
        raise words.usage()
    start = words.values.get("s", 0)
    count = words.values.get("l", length - start)
    words.refuse_if(count < 0 or start + count > length, "pattern verification range exceeds end of read data")
    _check_vmstate(words, "b", offset, length)
    return changed(words.request(offset, length), window=(start, count))


def _read_write(words: _Arguments) -> Request:
    words.read_options()
    flags = words.flags
    if len(words.operands) != 2:
        raise words.usage()
    words.refuse_if({"b", "z"} <= flags, "-b and -z cannot be specified at the same time")
    words.refuse_if("f" in flags and bool(flags & {"b", "c"}), "-f and -b or -c cannot be specified at the same time")
    words.refuse_if("n" in flags and "z" not in flags, "-n requires -z to be specified")
    words.refuse_if("u" in flags and "z" not in flags, "-u requires -z to be specified")
    words.refuse_if(len(flags & {"z", "P", "s"}) > 1, "Only one of -z, -P, and -s can be specified at the same time")
    offset = words.size(words.operands[0])
    length = words.size(words.operands[1])
    words.refuse_if(
        length > MAX_LENGTH and "n" not in flags,
        f"length cannot exceed {MAX_LENGTH} without -n, given {words.operands[1]}",
    )
    _check_vmstate(words, "bc", offset, length)
    words.refuse_if({"z", "r"} <= flags, "cannot combine zero write with registered I/O buffer")
    for letter, what in (("s", "with a pattern file"), ("n", "without fallback")):
        if letter in flags:
            raise UnsupportedError(f"a qemu-io write {what} (-{letter})")
    return words.request(offset, length)


def _check_vmstate(words: _Arguments, letters: str, offset: int, length: int) -> None:
    """Options that want whole sectors; the VM state itself is not emulated."""
    if words.flags & set(letters):
        for name, value in (("offset", offset), ("count", length)):
            words.refuse_if(value % 512 != 0, f"{value} is not a sector-aligned value for '{name}'")
    if "b" in words.flags:
        raise UnsupportedError("the VM state of an image (qemu-io -b)")


def _read_vector(words: _Arguments) -> Request:
    words.read_options()
    if len(words.operands) < 2:
        raise words.usage()
    if "i" in words.flags:
        # Only the accounting of a refused request is exercised; nothing else is looked at.
        return Request(text="injecting invalid read request\n")
    offset = words.size(words.operands[0])
    length = words.vector()
    return changed(words.request(offset, length), window=(0, length))


def _read_aio_write(words: _Arguments) -> Request:
    words.read_options()
    flags = words.flags
    if len(words.operands) < 2:
        raise words.usage()
    words.refuse_if("z" in flags and len(words.operands) != 2, "-z supports only a single length parameter")
    words.refuse_if("u" in flags and "z" not in flags, "-u requires -z to be specified")
    words.refuse_if({"z", "r"} <= flags, "cannot combine zero write with registered I/O buffer")
    if "i" in flags:
        return Request(text="injecting invalid write request\n")
    offset = words.size(words.operands[0])
    length = words.size(words.operands[1]) if "z" in flags else words.vector()
    return words.request(offset, length)


def _read_discard(words: _Arguments) -> Request:
    words.read_options()
    if len(words.operands) != 2:
        raise words.usage()
    offset = words.size(words.operands[0])
    length = words.size(words.operands[1])
    if words.entry.name == "discard":
        words.refuse_if(length > MAX_LENGTH, f"length cannot exceed {MAX_LENGTH}, given {words.operands[1]}")
    return words.request(offset, length)


def _read_alloc(words: _Arguments) -> Request:
    offset = words.size(words.words[1])
    length = words.size(words.words[2]) if len(words.words) > 2 else 512
    return words.request(offset, length)


def _read_truncate(words: _Arguments) -> Request:
    mode = "off"
    for _, value in words.options():
        mode = value
        if mode not in ("off", "metadata", "falloc", "full"):
            raise _RefusalError(hmp=f"Invalid preallocation mode '{mode}'\n")
    options = [word for word in words.words[1:] if word.startswith("-") and len(word) > 1]
    if not words.operands:
        if not words.profile.qemu_io_truncate_needs_size:
            raise UnsupportedError("truncate without a size, on which this QEMU crashes")
        raise _RefusalError(f"Parsing error: {NOT_A_NUMBER} -- {options[0]}\n")
    try:
        size = parse_size(words.operands[0], strict=words.profile.qemu_io_sizes_strict)
    except SizeError as error:
        # A quirk: the first word is named, which is an option if there is one (truncate_f, 7.2 and 10.0).
        raise _RefusalError(f"Parsing error: {error} -- {(options or words.operands)[0]}\n") from None
    if mode != "off":
        raise UnsupportedError(f"truncate with preallocation mode '{mode}'")
    return Request(length=size)


def _read_sleep(words: _Arguments) -> Request:
    milliseconds = parse_integer(words.words[1])
    if milliseconds is None or milliseconds < 0:
        raise _RefusalError(f"{words.words[1]} is not a valid number\n")
    return Request(length=milliseconds * 1_000_000)


def _read_help(words: _Arguments) -> Request:
    table = commands(words.profile)
    if len(words.words) == 1:
        lines = [help_line(name, entry) for name, entry in table.items() if name == entry.name]
        return Request(text="".join(lines) + "\nUse 'help commandname' for extended help.\n")
    name = words.words[1]
    entry = table.get(name)
    if entry is None:
        raise _RefusalError(f"command {name} not found\n")
    if entry.has_help:
        raise UnsupportedError(f"the extended help of qemu-io's '{name}'")
    return Request(text=help_line(name, entry))


_CACHE_MODES = {
    "none": ("on", "off"),
    "off": ("on", "off"),
    "directsync": ("on", "off"),
    "writeback": ("off", "off"),
    "writethrough": ("off", "off"),
    "unsafe": ("off", "on"),
}
"""What ``-c`` takes, and which ``cache.direct`` and ``cache.no-flush`` it stands for (bdrv_parse_cache_mode)."""


def _read_reopen(words: _Arguments) -> Request:
    modes, options, cache = 0, dict[str, str](), ""
    for letter, value in words.options():
        modes += letter in "rw"
        if modes > 1:
            raise _RefusalError(hmp="Only one -r/-w option may be given\n")
        if letter == "c":
            cache = value
            if cache not in _CACHE_MODES:
                raise _RefusalError(hmp=f"Invalid cache option: {cache}\n")
        if letter == "o":
            options |= split_options(value)
    if words.operands:
        raise words.usage()
    if words.flags & {"r", "w"} and "read-only" in options:
        raise _RefusalError(hmp="Cannot set both -r/-w and 'read-only'\n")
    if cache:
        if not options.keys().isdisjoint({"cache.direct", "cache.no-flush"}):
            raise _RefusalError(hmp="Cannot set both -c and the cache options\n")
        options["cache.direct"], options["cache.no-flush"] = _CACHE_MODES[cache]
    return Request(flags=frozenset(words.flags), options=tuple(options.items()), cache=cache)


def _read_words(words: _Arguments) -> Request:
    return Request(words=tuple(words.words[1:]))


def _read_nothing(_: _Arguments) -> Request:
    return Request()


_READERS: dict[str, Callable[[_Arguments], Request]] = {
    "aio_discard": _read_discard,
    "aio_flush": _read_nothing,
    "aio_read": _read_vector,
    "aio_write": _read_aio_write,
    "alloc": _read_alloc,
    "break": _read_words,
    "discard": _read_discard,
    "flush": _read_nothing,
    "help": _read_help,
    "length": _read_nothing,
    "map": _read_nothing,
    "read": _read_read,
    "readv": _read_vector,
    "remove_break": _read_words,
    "reopen": _read_reopen,
    "resume": _read_words,
    "sleep": _read_sleep,
    "truncate": _read_truncate,
    "wait_break": _read_words,
    "write": _read_write,
    "writev": _read_vector,
}
