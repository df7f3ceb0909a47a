"""The commands of qemu-io: names, arguments and options, as ``help`` prints them.

Theory of operation: one literal table of all commands that there are; a release has those that its record names
(:attr:`.Profile.qemu_io_commands`), and an option that not every release has is a placeholder.
"""

from __future__ import annotations

from qbitsim.light_library import lru_cache
from qbitsim.profiles import Profile
from qbitsim.records import changed, record


@record
class Command:
    """One entry of the command table; ``{r}`` in args and options is the option ``-r`` where there is one."""

    name: str
    alias: str | None
    args: str | None
    oneline: str
    minimum: int = 0
    maximum: int | None = 0
    options: str = ""
    permissions: tuple[str, ...] = ()
    has_help: bool = False


_READS = "reads a number of bytes at a specified offset"
_WRITES = "writes a number of bytes at a specified offset"

COMMANDS = (
    Command("abort", None, None, "simulate a program crash using abort(3)"),
    Command(
        "aio_discard",
        None,
        "[-Cq] off len",
        "asynchronously discards a number of bytes",
        2,
        None,
        "Cq",
        ("write",),
        has_help=True,
    ),
    Command("aio_flush", None, None, "completes all outstanding aio requests"),
    Command(
        "aio_read",
        None,
        "[-Ciq{r}v] [-P pattern] off len [len..]",
        "asynchronously reads a number of bytes",
        2,
        None,
        "CP:iq{r}v",
        has_help=True,
    ),
    Command(
        "aio_write",
        None,
        "[-Cfiq{r}uz] [-P pattern] off len [len..]",
        "asynchronously writes a number of bytes",
        2,
        None,
        "CfiP:q{r}uz",
        ("write",),
        has_help=True,
    ),
    Command("alloc", "a", "offset [count]", "checks if offset is allocated in the file", 1, 2),
    Command("break", None, "event tag", "sets a breakpoint on event and tags the stopped request as tag", 2, 2),
    Command(
        "discard",
        "d",
        "[-Cq] off len",
        "discards a number of bytes at a specified offset",
        2,
        None,
        "Cq",
        ("write",),
        has_help=True,
    ),
    Command("flush", "f", None, "flush all in-core file state to disk"),
    Command("help", "?", "[command]", "help for one or all commands", 0, 1),
    Command("info", "i", None, "prints information about the current file"),
    Command("length", "l", None, "gets the length of the current file"),
    Command("map", None, "", "prints the allocated areas of a file"),
    Command(
        "read",
        "r",
        "[-abCq{r}v] [-P pattern [-s off] [-l len]] off len",
        _READS,
        2,
        None,
        "bCl:pP:q{r}s:v",
        has_help=True,
    ),
    Command("readv", None, "[-Cq{r}v] [-P pattern] off len [len..]", _READS, 2, None, "CP:q{r}v", has_help=True),
    Command("remove_break", None, "tag", "remove a breakpoint by tag", 1, 1),
    Command(
        "reopen",
        None,
        "[(-r|-w)] [-c cache] [-o options]",
        "reopens an image with new options",
        0,
        None,
        "c:o:rw",
        has_help=True,
    ),
    Command("resume", None, "tag", "resumes the request tagged as tag", 1, 1),
    Command("sigraise", None, "signal", "raises a signal", 1, 1, has_help=True),
    Command("sleep", None, None, "waits for the given value in milliseconds", 1, 1),
    Command(
        "truncate",
        "t",
        "[-m prealloc_mode] off",
        "truncates the current file at the given offset",
        1,
        3,
        "m:",
        ("write", "resize"),
    ),
    Command("wait_break", None, "tag", "waits for the suspension of a request", 1, 1),
    Command(
        "write",
        "w",
        "[-bcCfnq{r}uz] [-P pattern | -s source_file] off len",
        _WRITES,
        2,
        None,
        "bcCfnpP:q{r}s:uz",
        ("write",),
        has_help=True,
    ),
    Command(
        "writev",
        None,
        "[-Cfq{r}] [-P pattern] off len [len..]",
        _WRITES,
        2,
        None,
        "CfqP:{r}",
        ("write",),
        has_help=True,
    ),
    Command(
        "zone_append",
        "zap",
        "offset len [len..]",
        "append write a number of bytes at a specified offset",
        3,
        4,
    ),
    Command("zone_close", "zc", "offset len", "close a range of zones in zone block device", 2, 2),
    Command("zone_finish", "zf", "offset len", "finish a range of zones in zone block device", 2, 2),
    Command("zone_open", "zo", "offset len", "explicit open a range of zones in zone block device", 2, 2),
    Command("zone_report", "zrp", "offset number", "report zone information", 2, 2),
    Command("zone_reset", "zrs", "offset len", "reset a zone write pointer in zone block device", 2, 2),
)
"""The commands that both the monitor and qemu-io have, in the order of ``help``."""


_OF_THE_PROGRAM = (
    Command("close", "c", None, "close the current open file"),
    Command(
        "open",
        "o",
        "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]",
        "open the file specified by path",
        1,
        None,
        has_help=True,
    ),
    Command("quit", "q", None, "exit the program", 0, None),
)


def own_commands() -> dict[str, Command]:
    """The commands that only the program has, by name and alias."""
    return {name: entry for entry in _OF_THE_PROGRAM for name in (entry.name, entry.alias) if name is not None}


@lru_cache(maxsize=8)
def commands(profile: Profile) -> dict[str, Command]:
    """The commands of a release by name and alias."""
    unknown = profile.qemu_io_commands - {entry.name for entry in COMMANDS}
    assert not unknown, f"the record of {profile.name} names commands of qemu-io that are not declared: {unknown}"
    table = {}
    letter = "r" if profile.qemu_io_registered_buffers else ""
    for entry in COMMANDS:
        if entry.name in profile.qemu_io_commands:
            args = None if entry.args is None else entry.args.replace("{r}", letter)
            known = changed(entry, args=args, options=entry.options.replace("{r}", letter))
            table[entry.name] = known
            if entry.alias is not None:
                table[entry.alias] = known
    return table


def expected_arguments(entry: Command) -> str:
    """How many arguments the command takes, in the words of the refusal."""
    if entry.maximum is None:
        return f"at least {entry.minimum}"
    if entry.minimum == entry.maximum:
        return str(entry.minimum)
    return f"between {entry.minimum} and {entry.maximum}"


def help_line(name: str, entry: Command) -> str:
    """The line of ``help`` and of a wrong use, under the name that was typed."""
    args = "" if entry.args is None else f"{entry.args} "
    return f"{name} {args}-- {entry.oneline}\n"
