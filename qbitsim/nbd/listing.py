"""A client that asks a server for all its exports and goes (nbd_receive_export_list, nbd/client.c, QEMU 10.0)."""

from __future__ import annotations

import errno
from collections.abc import Callable

from qbitsim.errors import NbdError
from qbitsim.nbd.client import ClientSession
from qbitsim.nbd.protocol import U16, U32, ExportFlag, Info, Mode, Option, OptionReply, Reading, string
from qbitsim.records import record


@record
class OfferedExport:
    """One export, as its server describes it.

    :ivar flags: what can be done with it; 0 if the server does not tell.
    :ivar block_sizes: the least, the preferred and the largest size of a request, in bytes; None if it does not tell.
    :ivar contexts: the metadata contexts that it offers.
    """

    name: str
    description: str
    size: int
    flags: ExportFlag
    block_sizes: tuple[int, int, int] | None
    contexts: list[str]


class ListingSession(ClientSession):
    """The conversation; it is over when ``ready`` is set or there is an ``error``.

    :ivar exports: the exports, in the server's order.
    """

    def __init__(self, send: Callable[[bytes], None], *, mode: Mode = Mode.EXTENDED) -> None:
        self.exports: list[OfferedExport] = []
        super().__init__(send, "", mode=mode)

    def _converse(self) -> Reading[None]:
        yield from self._greet()
        yield from self._settle_mode()
        for _, data in (yield from self._ask(Option.LIST)):
            self.exports.append((yield from self._describe(*_name_and_description(data))))
        self._send_option(Option.ABORT)
        self.ready = True
        while True:
            yield 1  # nobody wants to hear what the server says to that

    def _describe(self, name: bytes, description: bytes) -> Reading[OfferedExport]:
        """Ask for all that there is to know of an export; a server that tells nothing is asked no more of it."""
        self.size, self.flags, sizes, contexts = 0, ExportFlag(0), None, list[str]()
        payload = string(name) + U16.pack(1) + U16.pack(Info.BLOCK_SIZE)
        try:
            answers = yield from self._ask(Option.INFO, payload)
        except NbdError as error:
            if error.errno != errno.ENOTSUP:
                raise
            return OfferedExport(_text(name), _text(description), 0, self.flags, None, [])
        for kind, data in answers:
            if kind == OptionReply.INFO:
                (info,) = U16.unpack(data[: U16.size])
                self._take_info(info, data[U16.size :])
                sizes = self.block_sizes if info == Info.BLOCK_SIZE else sizes
        if self.mode is not Mode.SIMPLE:
            for kind, data in (yield from self._ask(Option.LIST_META_CONTEXT, string(name) + U32.pack(0))):
                if kind == OptionReply.META_CONTEXT:
                    contexts.append(_text(data[U32.size :]))
        return OfferedExport(_text(name), _text(description), self.size, self.flags, sizes, contexts)


def _name_and_description(data: bytes) -> tuple[bytes, bytes]:
    """What an answer to LIST holds.

    :raises NbdError: it makes no sense.
    """
    if len(data) < U32.size or len(data) < U32.size + U32.unpack(data[: U32.size])[0]:
        raise NbdError(errno.EPROTO, "incorrect option name length")
    end = U32.size + U32.unpack(data[: U32.size])[0]
    return data[U32.size : end], data[end:]


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
