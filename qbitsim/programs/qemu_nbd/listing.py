"""``qemu-nbd -L``: what another server exports (qemu_nbd_client_list, qemu-nbd.c, QEMU 10.0)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.errors import QmpError
from qbitsim.nbd.listing import ListingSession, Offer
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
        try:
            while not session.ready and session.error is None:
                data = server.recv(_AT_ONCE)
                if not data:
                    raise FailureError("Unexpected end-of-file before all data were read")
                session.receive(data)
        except OSError as error:
            raise FailureError(f"Failed to read data: {error.strerror}") from None
    if session.error is not None:
        raise FailureError(str(session.error.strerror))
    lines = [f"exports available: {len(session.offers)}"]
    for offer in session.offers:
        lines += _lines(offer, session.mode, profile)
    return "\n".join(lines) + "\n"


def _lines(offer: Offer, mode: Mode, profile: Profile) -> Iterator[str]:
    yield f" export: '{offer.name}'"
    if offer.description:
        yield f"  description: {offer.description}"
    if offer.flags & ExportFlag.HAS_FLAGS:
        words = "".join(f" {word}" for flag, word in _FLAGS.items() if flag & offer.flags)
        yield f"  size:  {offer.size}"
        yield f"  flags: 0x{int(offer.flags):x} ({words} )"
    if offer.block_sizes is not None:
        least, preferred, largest = offer.block_sizes
        yield f"  min block: {least}"
        yield f"  opt block: {preferred}"
        yield f"  max block: {largest}"
    if profile.nbd_extended_headers:
        yield f"  transaction size: {'64-bit' if mode is Mode.EXTENDED else '32-bit'}"
    if offer.contexts:
        yield f"  available meta contexts: {len(offer.contexts)}"
        for name in offer.contexts:
            yield f"   {name}"
