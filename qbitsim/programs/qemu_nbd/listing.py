"""``qemu-nbd -L``: what another server exports (qemu_nbd_client_list, qemu-nbd.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.errors import QmpError
from qbitsim.nbd.listing import ListingSession, OfferedExport
from qbitsim.nbd.negotiation import RefusedError
from qbitsim.nbd.protocol import ExportFlag, Mode
from qbitsim.programs.qemu_nbd.command_line import FailureError
from qbitsim.serving.sockets import connected

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.profiles import Profile

_AT_ONCE = 1 << 16
_FLAGS = {
    ExportFlag.READ_ONLY: "readonly",
    ExportFlag.SEND_FLUSH: "flush",
    ExportFlag.SEND_FUA: "fua",
    ExportFlag.ROTATIONAL: "rotational",
    ExportFlag.SEND_TRIM: "trim",
    ExportFlag.SEND_WRITE_ZEROES: "zeroes",
    ExportFlag.SEND_DF: "df",
    ExportFlag.CAN_MULTI_CONN: "multi",
    ExportFlag.SEND_RESIZE: "resize",
    ExportFlag.SEND_CACHE: "cache",
    ExportFlag.SEND_FAST_ZERO: "fast-zero",
    ExportFlag.BLOCK_STAT_PAYLOAD: "block-status-payload",
}


def exports_of(path: str | None, host: str, port: str, profile: Profile) -> str:
    """Ask a server for its exports, and describe them.

    :param path: of its UNIX socket; None for TCP.
    :raises FailureError: it cannot be reached, or refuses.
    """
    try:
        server = connected(path, host, port)
    except QmpError as error:
        raise FailureError(error.desc) from None
    with server:
        session = ListingSession(
            server.sendall, mode=Mode.EXTENDED if profile.nbd_extended_headers else Mode.STRUCTURED
        )
        session.hear(lambda: server.recv(_AT_ONCE), lambda: session.ready)
    if isinstance(session.error, RefusedError):
        raise FailureError(f"{session.error.summary}\n{session.error.hint}".rstrip("\n"))
    if session.error is not None:
        raise FailureError(str(session.error.strerror))
    lines = [f"exports available: {len(session.exports)}"]
    for export in session.exports:
        lines += _lines(export, session.mode, profile)
    return "\n".join(lines) + "\n"


def _lines(export: OfferedExport, mode: Mode, profile: Profile) -> Iterator[str]:
    yield f" export: '{export.name}'"
    if export.description:
        yield f"  description: {export.description}"
    if export.flags & ExportFlag.HAS_FLAGS:
        words = "".join(f" {word}" for flag, word in _FLAGS.items() if flag & export.flags)
        yield f"  size:  {export.size}"
        yield f"  flags: 0x{int(export.flags):x} ({words} )"
    if export.block_sizes is not None:
        least, preferred, largest = export.block_sizes
        yield f"  min block: {least}"
        yield f"  opt block: {preferred}"
        yield f"  max block: {largest}"
    if profile.nbd_extended_headers:
        yield f"  transaction size: {'64-bit' if mode is Mode.EXTENDED else '32-bit'}"
    if export.contexts:
        yield f"  available meta contexts: {len(export.contexts)}"
        for name in export.contexts:
            yield f"   {name}"
