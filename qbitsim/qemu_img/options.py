"""The command line of qemu-img: options, sizes, and how each version words its complaints.

Options follow ``getopt_long``: they may stand after the file names, short ones may be bundled, long ones may be cut as
long as they stay unique. An option is known by its first name in the table.
"""

from __future__ import annotations

from qbitsim.errors import UnsupportedError
from qbitsim.profiles import Profile
from qbitsim.sizes import parse_integer, parse_plain_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias, overload

INT64_MAX = 2**63 - 1

Readers: TypeAlias = "Mapping[str, Callable[[str, Profile], int]]"
"""First name of an option -> what reads its value, as soon as it is met: before what is wrong behind it is seen."""
Watcher: TypeAlias = "Callable[[Options], None]"
"""Looks at the options each time that one is met."""


class ToolError(Exception):
    """What makes qemu-img give up.

    :param text: the message without the leading ``qemu-img: ``; None prints nothing.
    :param status: exit status.
    :param usage: the message is followed by the hint to ask for help; :param helps: by the help.
    """

    def __init__(self, text: str, status: int = 1, *, usage: bool = False, helps: bool = False) -> None:
        super().__init__(text)
        self.text = text
        self.status = status
        self.usage = usage
        self.helps = helps


class Options:
    """The parsed command line of one subcommand.

    :ivar given: pairs (first name of the option, value), in the order given; the value of a flag is an empty string.
    :ivar words: everything else.
    :ivar numbers: first name -> the number that its last value means, of the options that have a reader.
    """

    __slots__ = ("command", "given", "numbers", "words")

    def __init__(self, command: str, given: list[tuple[str, str]], words: list[str]) -> None:
        self.command = command
        self.given = given
        self.words = words
        self.numbers: dict[str, int] = {}

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self.given)

    if TYPE_CHECKING:

        @overload
        def last(self, name: str) -> str | None: ...

        @overload
        def last(self, name: str, default: str) -> str: ...

    def last(self, name: str, default: str | None = None) -> str | None:
        """The value of the option given last under this name; *default* if it was not given."""
        return next((value for key, value in reversed(self.given) if key == name), default)

    @property
    def wants_help(self) -> bool:
        """Whether one of the lists of ``-o`` has ``help`` in it (has_help_option, util/qemu-option.c, QEMU 10.0)."""
        lists = [value for key, value in self.given if key == "o"]
        return any(part in {"help", "?"} for text in lists for part in text.replace(",,", "\0").split(","))

    def only(self, *names: str) -> None:
        """Refuse, loudly, options that qbitsim does not do; *names* are those that the command does."""
        for name, _ in self.given:
            if name not in names:
                raise UnsupportedError(f"qemu-img {self.command} {'-' if len(name) == 1 else '--'}{name}")


def parse_options(
    command: str, arguments: Sequence[str], profile: Profile, readers: Readers, watcher: Watcher | None = None
) -> Options:
    """Take the *arguments* of *command* apart.

    :raises ToolError: in the words of getopt or of older qemu-img, or of a reader.
    """
    table = _table(profile.qemu_img_options[command])
    options = Options(command, [], [])
    sizes = command == "resize" and profile.qemu_img_commands_complain
    rest = list(arguments)
    before = command
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            options.words += rest
            break
        if argument.startswith("--"):
            found = [_long(command, argument, rest, table, profile)]
        elif argument.startswith("-") and argument != "-":
            before = options.words[-1] if options.words else before
            found = _short(command, argument, rest, table, profile, before=before)
        else:
            found = []
            options.words.append(argument)
            if sizes and len(options.words) == 1 and rest and _shrinks(rest[0]):
                options.words.append(rest.pop(0))
        options.given += found
        options.numbers.update({key: readers[key](value, profile) for key, value in found if key in readers})
        if watcher is not None:
            watcher(options)
        before = arguments[len(arguments) - len(rest) - 1]
    return options


def _table(spec: str) -> dict[str, tuple[str, bool]]:
    """``f:,format:`` becomes ``{"f": ("f", True), "format": ("f", True)}``; a colon says that it takes a value."""
    table = {}
    for word in spec.split():
        names = word.split(",")
        first = names[0].rstrip(":")
        table.update({name.rstrip(":"): (first, name.endswith(":")) for name in names})
    return table


def _long(
    command: str, argument: str, rest: list[str], table: Mapping[str, tuple[str, bool]], profile: Profile
) -> tuple[str, str]:
    name, equals, value = argument[2:].partition("=")
    fitting = [long for long in table if len(long) > 1 and long.startswith(name)]
    if name in fitting:
        fitting = [name]
    different = {table[long] for long in fitting}
    if len(different) > 1 and _getopt_speaks(command, profile):
        found = " ".join(f"'--{long}'" for long in fitting)
        raise _getopt_error(command, profile, f"option '{argument}' is ambiguous; possibilities: {found}")
    if len(different) != 1:
        raise _bad_option(command, argument, profile)
    key, takes_value = table[fitting[0]]
    if takes_value and not equals:
        if not rest:
            raise _missing_value(command, f"option '--{fitting[0]}' requires an argument", argument, profile)
        value = rest.pop(0)
    elif equals and not takes_value:
        if not _getopt_speaks(command, profile):
            raise _bad_option(command, argument, profile)
        raise _getopt_error(command, profile, f"option '--{fitting[0]}' doesn't allow an argument")
    return key, value


def _short(
    command: str,
    argument: str,
    rest: list[str],
    table: Mapping[str, tuple[str, bool]],
    profile: Profile,
    *,
    before: str,
) -> list[tuple[str, str]]:
    """The short options of an argument; *before* is what stands before it, which older releases blame."""
    found = []
    letters = argument[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter not in table:
            if _getopt_speaks(command, profile):
                raise _getopt_error(command, profile, f"invalid option -- '{letter}'")
            raise _bad_option(command, before if letters else argument, profile)
        key, takes_value = table[letter]
        value = ""
        if takes_value:
            if not letters and not rest:
                raise _missing_value(command, f"option requires an argument -- '{letter}'", argument, profile)
            value, letters = letters or rest.pop(0), ""
        found.append((key, value))
    return found


def _getopt_speaks(command: str, profile: Profile) -> bool:
    """Whether getopt itself says what is wrong: older releases let it do so for one command only (img_measure)."""
    return profile.qemu_img_commands_complain or command == "measure"


def _getopt_error(command: str, profile: Profile, text: str) -> ToolError:
    if profile.qemu_img_commands_complain:
        return ToolError(f"\0qemu-img {command}: {text}", usage=True)
    return ToolError(f"\0{command}: {text}", 0, helps=True)


def _bad_option(command: str, argument: str, profile: Profile) -> ToolError:
    if _getopt_speaks(command, profile):
        return _getopt_error(command, profile, f"unrecognized option '{argument}'")
    return ToolError(f"unrecognized option '{argument}'", usage=True)


def _shrinks(argument: str) -> bool:
    """Whether what stands behind the file that is resized is a size and no option (img_resize, qemu-img.c, 11.0)."""
    return argument.startswith("-") and argument[1:2] in set("0123456789")


def _missing_value(command: str, modern: str, argument: str, profile: Profile) -> ToolError:
    if _getopt_speaks(command, profile):
        return _getopt_error(command, profile, modern)
    return ToolError(f"missing argument for option '{argument}'", usage=True)


_SIZE = (
    r"[ \t\n\v\f\r]*\+?"
    r"(?:0[xX](?P<hex>[0-9a-fA-F]+)|(?P<whole>\d+)(?P<fraction>\.\d*)?(?P<unit>[bBkKmMgGtTpPeE]?))"
)


def _is_negative(text: str) -> bool:
    """Whether it is a number that is out of range; with a unit or a fraction, or in hexadecimal, it is none at all."""
    import re  # noqa: PLC0415 - for a complaint

    return re.fullmatch(r"(?a)\s*-\d+", text) is not None


def parse_size(text: str) -> int | None:
    """Bytes for ``64k``, ``1.5G``, ``0x200``; None if *text* is no size (util/cutils.c, qemu_strtosz, 10.0)."""
    plain = parse_plain_size(text)
    if plain is not None:
        return plain
    import re  # noqa: PLC0415 - most sizes are plain

    found = re.fullmatch(_SIZE, text)
    if found is None:
        return None
    if found["hex"]:
        return int(found["hex"], 16)
    shift = 10 * "bkmgtpe".index(found["unit"].lower() or "b")
    fraction = found["fraction"] or ""
    if fraction.strip(".0") and not shift:
        return None
    digits = fraction[1:]
    scale: int = 10 ** len(digits)
    return (int(found["whole"]) << shift) + ((int(digits or 0) << shift) + scale // 2) // scale


def size_argument(what: str, text: str, profile: Profile, *, least: int = 0, most: int = INT64_MAX) -> int:
    """The value of an argument that is a size, *what* being how messages call it; ToolError if it is none."""
    size = parse_size(text)
    if size is not None and least <= size <= most:
        return size
    if size is not None or (profile.qemu_img_quotes_sizes and _is_negative(text)):
        raise ToolError(f"Invalid {what} specified. Must be between {least} and {most}.")
    if profile.qemu_img_quotes_sizes:
        end = "" if profile.qemu_img_texts_polished else "."
        raise ToolError(f"Invalid {what} specified: '{text}'{end}")
    raise ToolError(
        f"Invalid {what} specified. You may use k, M, G, T, P or E suffixes for\n"
        "qemu-img: kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes."
    )


def size_parameter(name: str, text: str, profile: Profile) -> int:
    """The value of a size inside ``-o`` or the like; ToolError if it is none."""
    size = parse_size(text)
    if size is not None and size < 2**64:
        return size
    if size is not None or (profile.qemu_img_quotes_sizes and _is_negative(text)):
        raise ToolError(f"Value '{text}' is out of range for parameter '{name}'")
    raise ToolError(
        f"Parameter '{name}' expects a non-negative number below 2^64\n"
        "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
        "and exabytes, respectively."
    )


def number_parameter(name: str, text: str) -> int:
    """The value of a number inside ``-o`` as QEMU's signed integers hold it; ToolError if it is none.

    (parse_option_number, util/qemu-option.c, 10.0)
    """
    number = parse_number(text)
    if number is None:
        raise ToolError(f"Parameter '{name}' expects a number")
    if number >= 2**64:
        raise ToolError(f"Value '{text}' is too large for parameter '{name}'")
    return signed(number)


def parse_number(text: str) -> int | None:
    """A number as in C, a negative one counted down from 2^64; None if *text* is none (qemu_strtou64, 10.0)."""
    number = parse_integer(text)
    if number is None or number >= 0:
        return number
    return number % 2**64 if number > -(2**64) else -number


def signed(number: int) -> int:
    """64 bits as QEMU's signed integers hold them."""
    return number if number <= INT64_MAX else number - 2**64


def key_values(text: str) -> list[tuple[str, str]]:
    """``a=1,b=x,,y,c,nod`` as pairs; a lone name is ``on``, behind ``no`` it is ``off``, a doubled comma is a comma.

    (util/qemu-option.c, 10.0)
    """
    pairs = []
    for part in filter(None, text.replace(",,", "\0").split(",")):
        name, equals, value = part.replace("\0", ",").partition("=")
        if not equals:
            name, value = (name[2:], "off") if name.startswith("no") else (name, "on")
        pairs.append((name, value))
    return pairs


def check_option_list(text: str, _profile: Profile) -> int:
    """Refuse a list of ``-o`` that cannot be put behind another one (is_valid_option_list, util/qemu-option.c, 10.0).

    :raises ToolError: it is empty, or begins or ends with a comma.
    """
    if any(not part or part.startswith("\0") for part in text.replace(",,", "\0").split(",")):
        raise ToolError(f"Invalid option list: {text}")
    return 0
