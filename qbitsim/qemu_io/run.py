"""The command language of qemu-io: guest I/O from the monitor and from the command line.

Theory of operation: a command is parsed without the disk (:func:`parse`, cached) into a
:class:`Request`, and a request is executed on a disk (:func:`run`). What QEMU does in between
decides the order of errors (qemu-io-cmds.c, 7.2 and 10.0):

1. unknown command, then number of arguments: on standard error;
2. permissions for the command: texts of a refusal go to the monitor;
3. options and numbers, left to right, then combinations: usage and texts on standard output,
   what getopt() finds on standard error;
4. the operation itself: results on standard output.

So three texts come out of a command (:class:`Output`); over QMP only ``hmp`` is in the reply.
Time does not pass here: a clock is handed in, and sleeping is somebody else's.
"""

from __future__ import annotations

import errno
import os
from itertools import chain

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files.failures import io_error
from qbitsim.light_library import lru_cache
from qbitsim.light_typing import Protocol
from qbitsim.profiles import DEFAULT_PROFILE, Profile
from qbitsim.qemu_io.numbers import format_dump, format_report, format_size
from qbitsim.qemu_io.parser import Output, Request, parse
from qbitsim.records import changed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from qbitsim.block.breakpoints import Breakpoints

__all__ = ["Disk", "Output", "Request", "parse", "qemu_io", "run"]

_DEFAULT_PATTERN = 0xCD
_BLOCK = 65536


class Disk(Protocol):
    """What a command works on. Every member raises OSError with an errno when the operation fails.

    Offsets and lengths are bytes and lie within ``size``: out of range is answered here.
    """

    @property
    def size(self) -> int:
        """Length in bytes; ENOMEDIUM if the device is empty."""

    def read(self, offset: int, length: int) -> bytes:
        """The content."""

    def write(self, offset: int, data: bytes, compressed: bool = False) -> None:
        """Write ``data``; patterns of up to 64 KiB are always the same object."""

    def write_zeroes(self, offset: int, length: int, unmap: bool = False) -> None:
        """Make the range read as zeroes."""

    def discard(self, offset: int, length: int) -> None:
        """Give the range up."""

    def flush(self) -> None:
        """Flush."""

    def truncate(self, size: int) -> None:
        """Resize; may raise QmpError with the text that QEMU's driver gives."""

    def status(self, offset: int, length: int) -> tuple[bool, int]:
        """Whether the first byte is allocated, and for how many of ``length`` bytes that holds."""

    @property
    def breakpoints(self) -> Breakpoints | None:
        """Where requests can be made to wait; None where nothing knows how."""


def run(
    disk: Disk,
    command: str,
    *,
    profile: Profile = DEFAULT_PROFILE,
    clock: Callable[[], int] = lambda: 0,
    sleep: Callable[[int], object] = lambda _: None,
    permit: Callable[[tuple[str, ...]], object] = lambda _: None,
    reopen: Callable[[Request], object] | None = None,
) -> Output:
    """Execute one command line on ``disk`` and return what it prints.

    :param clock: nanoseconds, read before and after a request for its rate.
    :param sleep: waits for so many nanoseconds.
    :param permit: takes ``("write",)`` or ``("write", "resize")`` or raises QmpError: its text goes to the
        monitor, as for a node on which a device has the only right to write, or a read-only one.
    :param reopen: gives the node the options of a ``reopen`` or raises QmpError.
    :raises UnsupportedError: as :func:`parse`.
    """
    request = parse(command, profile)
    if request.permissions:
        try:
            permit(request.permissions)
        except UnsupportedError:
            raise
        except QmpError as error:
            return Output(hmp=error.desc + "\n", failed=True)
    if request.refusal is not None:
        output = request.refusal
    elif request.verb == "sleep":
        sleep(request.length)
        output = Output()
    elif request.text:
        output = Output(request.text)
    elif request.verb == "reopen":
        output = _reopen(request, reopen)
    else:
        output = _EXECUTE[request.verb](disk, request, clock) if request.verb else Output()
    return changed(output, hmp=request.warning + output.hmp) if request.warning else output


def qemu_io(
    disk: Disk,
    commands: Sequence[str],
    *,
    profile: Profile = DEFAULT_PROFILE,
    clock: Callable[[], int] = lambda: 0,
    sleep: Callable[[int], object] = lambda _: None,
    permit: Callable[[tuple[str, ...]], object] = lambda _: None,
) -> tuple[str, str, int]:
    """``qemu-io -c COMMAND -c COMMAND ... FILE``: standard output, standard error, exit status (0 or 1).

    :raises UnsupportedError: also for the tool's own ``open`` and ``close``.
    """
    stdout, stderr, status = "", "", 0
    for command in commands:
        word = command.split(" ", 1)[0]
        if word in ("quit", "q"):
            break
        if word in ("open", "o", "close", "c"):
            raise UnsupportedError(f"qemu-io command '{word}'")
        output = run(disk, command, profile=profile, clock=clock, sleep=sleep, permit=permit)
        stdout += "".join(output.printed())
        stderr += "".join(f"qemu-io: {line}\n" for line in output.hmp.splitlines()) + output.stderr
        status |= output.failed
    return stdout, stderr, int(status)


@lru_cache(maxsize=256)
def _small_pattern(byte: int, length: int) -> bytes:
    return bytes((byte,)) * length


def filled(byte: int, length: int) -> bytes:
    """``length`` times ``byte``; up to a block the same object each time, so that blocks can be shared."""
    return _small_pattern(byte, length) if length <= _BLOCK else bytes((byte,)) * length


def _in_range(disk: Disk, request: Request) -> bool:
    """Whether there is anything to do (blk_check_byte_request, block/block-backend.c, 10.0).

    :raises OSError: EIO if the range leaves the disk; an empty one may lie at its very end.
    """
    if request.offset + request.length > disk.size:
        raise io_error(errno.EIO)
    return request.length > 0


def _reason(error: OSError) -> str:
    assert error.errno is not None, "a disk fails with an errno"
    return os.strerror(error.errno)


def _report(request: Request, verb: str, elapsed: int) -> str:
    if "q" in request.flags:
        return ""
    return format_report(verb, request.offset, request.length, elapsed, csv="C" in request.flags)


def _do_read(disk: Disk, request: Request, clock: Callable[[], int]) -> Output:
    started = clock()
    try:
        data = disk.read(request.offset, request.length) if _in_range(disk, request) else b""
    except OSError as error:
        # aio_read calls itself readv here, as QEMU does.
        name = "read" if request.verb == "read" else "readv"
        return Output(f"{name} failed: {_reason(error)}\n", failed=request.verb != "aio_read")
    elapsed = clock() - started
    start, count = request.window
    text, failed = "", False
    dump: Iterable[str] = ()
    if request.pattern is not None and data.count(request.pattern, start, start + count) != count:
        text = f"Pattern verification failed at offset {request.offset + start}, {count} bytes\n"
        failed = request.verb != "aio_read"
    if "v" in request.flags and "q" not in request.flags:
        dump, text = chain((text,), format_dump(data, request.offset)), ""
    return Output(text + _report(request, "read", elapsed), failed=failed, dump=dump)


def _do_write(disk: Disk, request: Request, clock: Callable[[], int]) -> Output:
    flags = request.flags
    # A quirk: aio_write -z never notes when it started, so it reports the clock itself (aio_write_f, 7.2 and 10.0).
    started = 0 if request.verb == "aio_write" and "z" in flags else clock()
    try:
        if _in_range(disk, request):
            if "z" in flags:
                disk.write_zeroes(request.offset, request.length, "u" in flags)
            else:
                byte = _DEFAULT_PATTERN if request.pattern is None else request.pattern
                disk.write(request.offset, filled(byte, request.length), "c" in flags)
            if "f" in flags:
                disk.flush()
    except OSError as error:
        return Output(f"{request.verb} failed: {_reason(error)}\n", failed=request.verb != "aio_write")
    return Output(_report(request, "wrote", clock() - started))


def _do_discard(disk: Disk, request: Request, clock: Callable[[], int]) -> Output:
    started = clock()
    try:
        if _in_range(disk, request):
            disk.discard(request.offset, request.length)
    except OSError as error:
        return Output(f"{request.verb} failed: {_reason(error)}\n", failed=request.verb == "discard")
    # QEMU prints two spaces after the asynchronous one.
    verb = "discard" if request.verb == "discard" else "discarded "
    return Output(_report(request, verb, clock() - started))


def _do_flush(disk: Disk, _request: Request, _clock: Callable[[], int]) -> Output:
    """A failure is silent (flush_f, 7.2 and 10.0)."""
    try:
        disk.flush()
    except OSError:
        return Output(failed=True)
    return Output()


def _do_truncate(disk: Disk, request: Request, _clock: Callable[[], int]) -> Output:
    try:
        disk.truncate(request.length)
    except UnsupportedError:
        raise
    except QmpError as error:
        return Output(hmp=error.desc + "\n", failed=True)
    except OSError as error:
        text = "No medium inserted" if error.errno == errno.ENOMEDIUM else _reason(error)
        return Output(hmp=text + "\n", failed=True)
    return Output()


def _do_length(disk: Disk, _request: Request, _clock: Callable[[], int]) -> Output:
    try:
        return Output(format_size(disk.size) + "\n")
    except OSError as error:
        return Output(f"getlength: {_reason(error)}\n", failed=True)


def _runs(disk: Disk, offset: int, end: int) -> Iterator[tuple[bool, int]]:
    """The longest runs of one status between ``offset`` and ``end``."""
    current, total = False, 0
    while offset < end:
        allocated, count = disk.status(offset, end - offset)
        assert count > 0, "a status within the disk covers something"
        if total and allocated != current:
            yield current, total
            total = 0
        current = allocated
        total += count
        offset += count
    if total:
        yield current, total


def _do_alloc(disk: Disk, request: Request, _clock: Callable[[], int]) -> Output:
    end = min(request.offset + request.length, disk.size)
    allocated = total = 0
    try:
        for present, count in _runs(disk, request.offset, end):
            total += count
            allocated += count if present else 0
    except OSError as error:
        return Output(f"is_allocated failed: {_reason(error)}\n", failed=True)
    return Output(f"{allocated}/{total} bytes allocated at offset {format_size(request.offset)}\n")


def _do_map(disk: Disk, _request: Request, _clock: Callable[[], int]) -> Output:
    try:
        size = disk.size
    except OSError as error:
        return Output(hmp=f"Failed to query image length: {_reason(error)}\n", failed=True)
    text, offset = "", 0
    try:
        for present, count in _runs(disk, 0, size):
            state = "    allocated" if present else "not allocated"
            place = f"{format_size(offset)} (0x{offset:x})"
            text += f"{format_size(count)} (0x{count:x}) bytes {state} at offset {place}\n"
            offset += count
    except OSError as error:
        return Output(text, hmp=f"Failed to get allocation status: {_reason(error)}\n", failed=True)
    return Output(text)


def _do_break(disk: Disk, request: Request, _clock: Callable[[], int]) -> Output:
    """The commands about breakpoints (qemu-io-cmds.c); one that cannot wait says so instead of hanging."""
    points, verb, tag = disk.breakpoints, request.verb, request.words[-1]
    if verb == "wait_break":
        if points is None or not points.holds(tag):
            raise UnsupportedError(f"qemu-io command 'wait_break {tag}' where no request would come")
        return Output()
    reason = errno.EOPNOTSUPP
    if points is not None:
        if _BREAK_ACTIONS[verb](points, request.words):
            return Output()
        reason = errno.ENOENT
    return Output(f"{_BREAK_FAILURES[verb].format(tag)}: {os.strerror(reason)}\n", failed=True)


_BREAK_ACTIONS: dict[str, Callable[[Breakpoints, tuple[str, ...]], bool]] = {
    "break": lambda points, words: points.set(*words),
    "resume": lambda points, words: points.resume(*words),
    "remove_break": lambda points, words: points.remove(*words),
}
_BREAK_FAILURES = {
    "break": "Could not set breakpoint",
    "resume": "Could not resume request",
    "remove_break": "Could not remove breakpoint {}",
}


def _reopen(request: Request, reopen: Callable[[Request], object] | None) -> Output:
    if not request.flags:
        return Output()
    if reopen is None:
        raise UnsupportedError("qemu-io's reopen with options")
    try:
        reopen(request)
    except UnsupportedError:
        raise
    except QmpError as error:
        return Output(hmp=error.desc + "\n", failed=True)
    return Output()


def _do_nothing(_disk: Disk, _request: Request, _clock: Callable[[], int]) -> Output:
    return Output()


_EXECUTE: dict[str, Callable[[Disk, Request, Callable[[], int]], Output]] = {
    "aio_discard": _do_discard,
    "aio_flush": _do_nothing,
    "aio_read": _do_read,
    "aio_write": _do_write,
    "alloc": _do_alloc,
    "break": _do_break,
    "discard": _do_discard,
    "flush": _do_flush,
    "length": _do_length,
    "map": _do_map,
    "read": _do_read,
    "readv": _do_read,
    "remove_break": _do_break,
    "resume": _do_break,
    "truncate": _do_truncate,
    "wait_break": _do_break,
    "write": _do_write,
    "writev": _do_write,
}
