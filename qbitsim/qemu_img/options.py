"""The command line of qemu-img: options, sizes, and how each version words its complaints.

Options follow ``getopt_long``: they may stand after the file names, short ones may be bundled, long ones may be cut as
long as they stay unique. An option is known by its first name in the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from qbitsim.errors import UnsupportedError
from qbitsim.records import changed, record

INT64_MAX = 2**63 - 1


class ToolError(Exception):
    """What makes qemu-img give up.

    :param text: the message without the leading ``qemu-img: ``; None prints nothing.
    :param status: exit status.
    :param usage: the message is followed by the hint to ask for help.
    :param before_output: the message comes before what was printed, which was still in a buffer.
    """

    def __init__(self, text: str, status: int = 1, *, usage: bool = False, before_output: bool = False) -> None:
        super().__init__(text)
        self.before_output = before_output
        self.text = text
        self.status = status
        self.usage = usage


@record(kw_only=True)
class Style:
    """What differs between the versions of qemu-img.

    :ivar version_text: the output of ``qemu-img --version``.
    :ivar modern_options: long names for all options; getopt prints its own messages and the command's name.
    :ivar modern_sizes: messages about sizes quote the text.
    :ivar shows_children: info has a part about the protocol node.
    :ivar shows_compression: map says of each range whether it is compressed.
    :ivar ends_hints: the hint about a missing backing format ends with a newline.
    """

    version_text: str
    modern_options: bool
    modern_sizes: bool
    shows_children: bool
    shows_compression: bool
    ends_hints: bool


_COPYRIGHT = "\nCopyright (c) 2003-{} Fabrice Bellard and the QEMU Project developers\n"

STYLES: dict[str, Style] = {
    "10.0": Style(
        version_text="qemu-img version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)" + _COPYRIGHT.format(2025),
        modern_options=True,
        modern_sizes=True,
        shows_children=True,
        shows_compression=True,
        ends_hints=True,
    ),
    "7.2": Style(
        version_text="qemu-img version 7.2.22 (Debian 1:7.2+dfsg-7+deb12u18+b3)" + _COPYRIGHT.format(2022),
        modern_options=False,
        modern_sizes=False,
        shows_children=False,
        shows_compression=False,
        ends_hints=False,
    ),
}
STYLES["2.5"] = changed(STYLES["7.2"], version_text="qemu-img version 2.5.0, Copyright (c) 2004-2008 Fabrice Bellard\n")

_OPTIONS = {
    "bitmap": "h,help f:,format: image-opts add g:,granularity: remove clear enable disable merge: b:,source-file: "
    "F:,source-format: object:",
    "check": "h,help q,quiet f:,format: image-opts T:,cache: U,force-share output: r:,repair: object:",
    "compare": "h,help q,quiet p,progress f:,a-format: F:,b-format: image-opts s,strict T:,cache: U,force-share "
    "object:",
    "convert": "h,help q,quiet p,progress f:,source-format: image-opts l:,source-snapshot: T:,source-cache: "
    "O:,target-format: target-image-opts o:,target-options: c,compress t:,target-cache: B:,backing: F:,backing-format: "
    "n,no-create target-is-zero S:,sparse-size: bitmaps skip-broken-bitmaps U,force-share r:,rate: m:,parallel: "
    "C,copy-range-offloading salvage W,oob-writes object:",
    "create": "h,help q,quiet f:,format: o:,options: b:,backing: F:,backing-format: u,backing-unsafe object:",
    "info": "h,help f:,format: image-opts backing-chain,b U,force-share output: object:",
    "map": "h,help f:,format: image-opts s:,start-offset: l:,max-length: output: U,force-share object:",
    "rebase": "h,help q,quiet p,progress f:,format: image-opts t:,cache: b:,backing: F:,backing-format: "
    "T:,backing-cache: u,backing-unsafe c,compress U,force-share object:",
    "resize": "h,help q,quiet f:,format: image-opts shrink preallocation: object:",
}

_OLD_OPTIONS = {
    "bitmap": _OPTIONS["bitmap"].replace(",format:", ""),
    "check": "h,help f:,format: r:,repair: output: T: q object: image-opts U,force-share",
    "compare": "h,help object: image-opts f: F: T: p q s U,force-share",
    "convert": "h,help object: image-opts target-image-opts target-is-zero bitmaps skip-broken-bitmaps salvage "
    "f: O: B: C c o: l: S: p q n t: T: m: W U,force-share r: F:",
    "create": "h,help object: F: b: f: o: q u",
    "info": "h,help f:,format: output: backing-chain object: image-opts U,force-share",
    "map": "h,help f:,format: output: object: image-opts U,force-share s:,start-offset: l:,max-length:",
    "rebase": "h,help object: image-opts f: F: b: t: T: u p q c U,force-share",
    "resize": "h,help f: q object: image-opts preallocation: shrink",
}


class Options:
    """The parsed command line of one subcommand.

    :ivar given: pairs (first name of the option, value), in the order given; the value of a flag is an empty string.
    :ivar words: everything else.
    """

    __slots__ = ("command", "given", "words")

    def __init__(self, command: str, given: list[tuple[str, str]], words: list[str]) -> None:
        self.command = command
        self.given = given
        self.words = words

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self.given)

    def last(self, name: str) -> str | None:
        """The value of the option given last under this name; None if it was not given."""
        return next((value for key, value in reversed(self.given) if key == name), None)

    def only(self, *names: str) -> None:
        """Refuse, loudly, options that qbitsim does not do; *names* are those that the command does."""
        for name, _ in self.given:
            if name not in names:
                raise UnsupportedError(f"qemu-img {self.command} {'-' if len(name) == 1 else '--'}{name}")


def parse_options(command: str, arguments: Sequence[str], style: Style) -> Options:
    """Take the *arguments* of *command* apart; ToolError in the words of getopt or of older qemu-img."""
    table = _table((_OPTIONS if style.modern_options else _OLD_OPTIONS)[command])
    given: list[tuple[str, str]] = []
    words: list[str] = []
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--":
            words += rest
            break
        if argument.startswith("--"):
            given.append(_long(command, argument, rest, table, style))
        elif argument.startswith("-") and argument != "-":
            given += _short(command, argument, rest, table, style)
        else:
            words.append(argument)
    return Options(command, given, words)


def _table(spec: str) -> dict[str, tuple[str, bool]]:
    """``f:,format:`` becomes ``{"f": ("f", True), "format": ("f", True)}``."""
    table = {}
    for word in spec.split():
        names = [name.rstrip(":") for name in word.split(",")]
        table.update({name: (names[0], word.endswith(":")) for name in names})
    return table


def _long(
    command: str, argument: str, rest: list[str], table: Mapping[str, tuple[str, bool]], style: Style
) -> tuple[str, str]:
    name, equals, value = argument[2:].partition("=")
    fitting = [long for long in table if len(long) > 1 and long.startswith(name)]
    if name in fitting:
        fitting = [name]
    if len(fitting) > 1 and style.modern_options:
        found = " ".join(f"'--{long}'" for long in fitting)
        raise _getopt_error(command, f"option '--{name}' is ambiguous; possibilities: {found}")
    if len(fitting) != 1:
        shown = f"--{name}" if style.modern_options else argument
        raise _bad_option(command, shown, style)
    key, takes_value = table[fitting[0]]
    if takes_value and not equals:
        if not rest:
            raise _missing_value(command, f"option '--{fitting[0]}' requires an argument", argument, style)
        value = rest.pop(0)
    elif equals and not takes_value:
        if not style.modern_options:
            raise _bad_option(command, argument, style)
        raise _getopt_error(command, f"option '--{fitting[0]}' doesn't allow an argument")
    return key, value


def _short(
    command: str, argument: str, rest: list[str], table: Mapping[str, tuple[str, bool]], style: Style
) -> list[tuple[str, str]]:
    found = []
    letters = argument[1:]
    while letters:
        letter, letters = letters[0], letters[1:]
        if letter not in table:
            if style.modern_options:
                raise _getopt_error(command, f"invalid option -- '{letter}'")
            raise _bad_option(command, argument, style)
        key, takes_value = table[letter]
        value = ""
        if takes_value:
            if not letters and not rest:
                raise _missing_value(command, f"option requires an argument -- '{letter}'", argument, style)
            value, letters = letters or rest.pop(0), ""
        found.append((key, value))
    return found


def _getopt_error(command: str, text: str) -> ToolError:
    return ToolError(f"\0qemu-img {command}: {text}", usage=True)


def _bad_option(command: str, argument: str, style: Style) -> ToolError:
    if style.modern_options:
        return _getopt_error(command, f"unrecognized option '{argument}'")
    return ToolError(f"unrecognized option '{argument}'", usage=True)


def _missing_value(command: str, modern: str, argument: str, style: Style) -> ToolError:
    if style.modern_options:
        return _getopt_error(command, modern)
    return ToolError(f"missing argument for option '{argument}'", usage=True)


_SIZE = re.compile(
    r"[ \t\n\v\f\r]*\+?"
    r"(?:0[xX](?P<hex>[0-9a-fA-F]+)|(?P<whole>\d+)(?P<fraction>\.\d*)?(?P<unit>[bBkKmMgGtTpPeE]?))"
)


def parse_size(text: str) -> int | None:
    """Bytes for ``64k``, ``1.5G``, ``0x200``; None if *text* is no size (util/cutils.c, qemu_strtosz, 10.0)."""
    found = _SIZE.fullmatch(text)
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


def size_argument(what: str, text: str, style: Style) -> int:
    """The value of an argument that is a size, *what* being how messages call it; ToolError if it is none."""
    size = parse_size(text)
    negative = size is None and parse_size(text.lstrip().removeprefix("-")) is not None
    if size is not None and size <= INT64_MAX:
        return size
    if size is not None or (negative and style.modern_sizes):
        raise ToolError(f"Invalid {what} specified. Must be between 0 and {INT64_MAX}.")
    if style.modern_sizes:
        raise ToolError(f"Invalid {what} specified: '{text}'.")
    raise ToolError(
        f"Invalid {what} specified. You may use k, M, G, T, P or E suffixes for\n"
        "qemu-img: kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes."
    )


def size_parameter(name: str, text: str, style: Style) -> int:
    """The value of a size inside ``-o`` or the like; ToolError if it is none."""
    size = parse_size(text)
    if size is not None and size < 2**64:
        return size
    if size is not None or (style.modern_sizes and parse_size(text.removeprefix("-")) is not None):
        raise ToolError(f"Value '{text}' is out of range for parameter '{name}'")
    raise ToolError(
        f"Parameter '{name}' expects a non-negative number below 2^64\n"
        "Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-\n"
        "and exabytes, respectively."
    )


def key_values(text: str) -> list[tuple[str, str]]:
    """``a=1,b=x,,y,c`` as pairs; a lone name is ``on``, a doubled comma is a comma (util/keyval.c)."""
    pairs = []
    for part in re.findall(r"(?:[^,]|,,)+", text):
        name, equals, value = part.replace(",,", ",").partition("=")
        pairs.append((name, value if equals else "on"))
    return pairs
