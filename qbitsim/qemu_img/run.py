"""qemu-img on an :class:`.ImageStore`: the same command lines, the same output, the same exit status.

What it does not do is refused with ``qbitsim does not emulate ...``. Output is that of QEMU byte for byte, except for
facts of the host (how many bytes a file takes on its disk).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from qbitsim.errors import UnsupportedError
from qbitsim.images.store import ImageStore
from qbitsim.profiles import DEFAULT_PROFILE, Profile
from qbitsim.qemu_img.amend import amend
from qbitsim.qemu_img.bench import bench
from qbitsim.qemu_img.bitmap import bitmap
from qbitsim.qemu_img.commit import commit
from qbitsim.qemu_img.convert import convert
from qbitsim.qemu_img.create import create
from qbitsim.qemu_img.dd import dd
from qbitsim.qemu_img.files import Call
from qbitsim.qemu_img.measure import measure
from qbitsim.qemu_img.options import Options, ToolError, parse_options
from qbitsim.qemu_img.rebase import rebase
from qbitsim.qemu_img.report import check, compare, info, map_image
from qbitsim.qemu_img.resize import resize
from qbitsim.qemu_img.snapshot import snapshot

_COMMANDS: Mapping[str, Callable[[Call], int]] = {
    "amend": amend,
    "bench": bench,
    "bitmap": bitmap,
    "check": check,
    "commit": commit,
    "compare": compare,
    "convert": convert,
    "create": create,
    "dd": dd,
    "info": info,
    "map": map_image,
    "measure": measure,
    "rebase": rebase,
    "resize": resize,
    "snapshot": snapshot,
}


def run(store: ImageStore, argv: Sequence[str], profile: Profile = DEFAULT_PROFILE, now: int = 0) -> tuple[int, str]:
    """Run one command line.

    :param argv: the arguments, with or without ``qemu-img`` in front.
    :param profile: whose qemu-img it is.
    :param now: nanoseconds since 1970, for the date of a snapshot.
    :returns: the exit status and what was printed, standard output and standard error together.
    """
    arguments = list(argv[1:] if argv and argv[0] == "qemu-img" else argv)
    call = Call(store, Options("", [], []), profile, now)
    try:
        status = _run(call, arguments)
    except UnsupportedError as error:
        status = 1
        call.print(f"{error.desc}\n")
    except ToolError as error:
        status = error.status
        complaint = _complaint(error, arguments[0] if arguments else "", call.profile)
        call.output.insert(0 if error.before_output else len(call.output), complaint)
    except OSError as error:  # of a file of the host
        status = 1
        call.print(f"qemu-img: {error.strerror}\n")
    try:
        call.close()
    except OSError as error:
        status = 1
        call.print(f"qemu-img: {error.strerror}\n")
    return status, "".join(call.output)


def _run(call: Call, arguments: list[str]) -> int:
    if not arguments:
        raise ToolError("Not enough arguments", usage=True)
    command = arguments[0]
    if command in {"-V", "--version"}:
        call.print(f"qemu-img version {call.profile.full_version}{call.profile.copyright}")
        return 0
    if command in {"-h", "--help", "-T", "--trace"}:
        raise UnsupportedError(f"qemu-img {command}")
    if command.startswith("-"):
        raise ToolError(f"unrecognized option '{command}'", usage=True)
    if command not in call.profile.qemu_img_options:
        raise ToolError(f"Command not found: {command}", usage=True)
    if command not in _COMMANDS:
        raise UnsupportedError(f"qemu-img {command}")
    rest = arguments[1:]
    if command == "resize":
        rest = _resize_arguments(rest, call.profile)
    call.options = parse_options(command, rest, call.profile)
    if "h" in call.options:
        raise UnsupportedError(f"qemu-img {command} --help")
    return _COMMANDS[command](call)


def _resize_arguments(rest: list[str], profile: Profile) -> list[str]:
    """The last word of ``resize`` is the size even if it looks like an option: ``-512k``."""
    if not rest or (len(rest) == 1 and not profile.qemu_img_commands_complain):
        text = "Expecting image file name and size" if profile.qemu_img_commands_complain else "Not enough arguments"
        raise ToolError(text, usage=True)
    return rest if len(rest) == 1 or rest[-1] in {"-h", "--help"} else [*rest[:-1], "--", rest[-1]]


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
