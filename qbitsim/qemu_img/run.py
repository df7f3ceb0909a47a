"""qemu-img on an :class:`.ImageStore`: the same command lines, the same output, the same exit status.

What it does not do is refused with ``qbitsim does not emulate ...``. Output is that of QEMU byte for byte, except for
facts of the host (how many bytes a file takes on its disk).
"""

from __future__ import annotations

from qbitsim.errors import UnsupportedError
from qbitsim.light_library import import_module
from qbitsim.profiles import DEFAULT_PROFILE
from qbitsim.qemu_img.files import Call
from qbitsim.qemu_img.help import command_help, program_help
from qbitsim.qemu_img.options import Options, ToolError, parse_options
from qbitsim.standard_streams import StandardStreams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType

    from qbitsim.images.store import ImageStore
    from qbitsim.profiles import Profile
    from qbitsim.qemu_img.options import Readers, Watcher

_MODULES = {
    **{name: name for name in ("amend", "bench", "bitmap", "commit", "compare", "convert", "create", "dd", "map")},
    **{name: name for name in ("measure", "rebase", "resize", "snapshot")},
    **dict.fromkeys(("check", "info"), "report"),
}
_FUNCTIONS = {"map": "map_image"}
_OWN_LETTERS = {"h": "help", "V": "version", "T": "trace"}


def run(store: ImageStore, argv: Sequence[str], profile: Profile = DEFAULT_PROFILE, now: int = 0) -> tuple[int, str]:
    """Run one command line.

    :param argv: the arguments, with or without ``qemu-img`` in front.
    :param profile: whose qemu-img it is.
    :param now: nanoseconds since 1970, for the date of a snapshot.
    :returns: the exit status and what was printed, standard output and standard error together.
    """
    arguments = list(argv[1:] if argv and argv[0] == "qemu-img" else argv)
    printed: list[str] = []
    status = run_on(StandardStreams(lambda _, text: printed.append(text)), store, arguments, profile, now)
    return status, "".join(printed)


def run_on(
    streams: StandardStreams, store: ImageStore, arguments: Sequence[str], profile: Profile, now: int = 0
) -> int:
    """Run one command line, without the name of the program, that prints on these streams; the exit status."""
    with store.seen_by_another_process():
        return _run_to_the_end(Call(store, Options("", [], []), profile, streams, now), arguments)


def _run_to_the_end(call: Call, arguments: Sequence[str]) -> int:
    try:
        status = _run(call, list(arguments))
    except UnsupportedError as error:
        status = 1
        call.complain(f"{error.desc}\n")
    except ToolError as error:
        status = error.status
        call.complain(_complaint(error, arguments[0] if arguments else "", call.profile))
        if error.helps:
            call.print(program_help(call.profile))
    except OSError as error:  # of a file of the host
        status = 1
        call.complain(f"qemu-img: {error.strerror}\n")
    try:
        call.close()
    except OSError as error:
        status = 1
        call.complain(f"qemu-img: {error.strerror}\n")
    call.streams.flush()
    return status


def _run(call: Call, arguments: list[str]) -> int:
    if not arguments:
        raise ToolError("Not enough arguments", usage=True)
    command = arguments[0]
    own = _own_option(command)
    if own == "version":
        call.print(f"qemu-img version {call.profile.full_version}{call.profile.copyright}")
        return 0
    if own == "help":
        call.print(program_help(call.profile))
        return 0
    if own == "trace":
        raise UnsupportedError(f"qemu-img {command}")
    if command.startswith("-"):
        raise _unknown_option(command, call.profile)
    if command not in call.profile.qemu_img_options:
        raise ToolError(f"Command not found: {command}", usage=True)
    rest = arguments[1:]
    if command == "resize" and not call.profile.qemu_img_commands_complain:
        rest = _resize_arguments(rest)
    module = _module(command)
    readers: Readers = getattr(module, "READERS", {}).get(command, {})
    watcher: Watcher | None = getattr(module, "WATCHERS", {}).get(command)
    call.options = parse_options(command, rest, call.profile, readers, watcher)
    if "h" in call.options:
        call.print(command_help(command, call.profile))
        return 0
    if module is None:
        raise UnsupportedError(f"qemu-img {command}")
    function: Callable[[Call], int] = getattr(module, _FUNCTIONS.get(command, command))
    return function(call)


def _own_option(word: str) -> str:
    """Which of the program's own options a word in front of the command is, in full; empty for none of them."""
    if not word.startswith("--"):
        return _OWN_LETTERS.get(word[1:2], "") if word.startswith("-") else ""
    name = word[2:].partition("=")[0]
    return next((each for each in _OWN_LETTERS.values() if name and each.startswith(name)), "")


def _module(command: str) -> ModuleType | None:
    """What does a command, and has the readers of its options; only that is imported. None if nothing here does it."""
    return import_module(f"qbitsim.qemu_img.{_MODULES[command]}") if command in _MODULES else None


def _unknown_option(option: str, profile: Profile) -> ToolError:
    if profile.qemu_img_commands_complain and not option.startswith("--"):
        return ToolError(f"\0qemu-img: invalid option -- '{option[1:2]}'", usage=True)
    return ToolError(f"unrecognized option '{option}'", usage=True)


def _resize_arguments(rest: list[str]) -> list[str]:
    """The last word of ``resize`` is the size even if it looks like an option: ``-512k``."""
    if len(rest) < 2:
        raise ToolError("Not enough arguments", usage=True)
    return rest if rest[-1] in {"-h", "--help"} else [*rest[:-1], "--", rest[-1]]


def _complaint(error: ToolError, command: str, profile: Profile) -> str:
    """The text of an error; a leading zero byte says that it names the program itself, a final one: no line end."""
    text = error.text[1:] if error.text.startswith("\0") else f"qemu-img: {error.text}"
    text = text[:-1] if text.endswith("\0") else text + "\n"
    if not error.usage:
        return text
    if not profile.qemu_img_commands_complain:
        return text + "Try 'qemu-img --help' for more information\n"
    about = f"{command} " if command in profile.qemu_img_options else ""
    more = "information" if profile.qemu_img_texts_polished else "info"
    return text + f"Try 'qemu-img {about}--help' for more {more}\n"
