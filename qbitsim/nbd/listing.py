"""A client that asks a server for all its exports and goes (nbd_receive_export_list, nbd/client.c, QEMU 10.0)."""

from __future__ import annotations

import errno
from collections.abc import Callable

from qbitsim.errors import NbdError
from qbitsim.nbd.client import ClientSession
from qbitsim.nbd.protocol import U32, ExportFlag, HandshakeFlag, Mode, Option, Reading, string
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

    def _negotiate(self) -> Reading[None]:
        greeting = yield from self.negotiation.greet()
        if greeting is None:
            yield from self.negotiation.take_only_export()
            self.exports.append(self._described("", "", []))
        elif not greeting & HandshakeFlag.FIXED_NEWSTYLE:
            raise NbdError(errno.ENOTSUP, "Server does not support export lists")
        else:
            yield from self._ask_for_all()
            self.negotiation.abort()
            self.mode = self.negotiation.mode

    def _ask_for_all(self) -> Reading[None]:
        negotiation = self.negotiation
        yield from negotiation.settle_mode()
        negotiation.ask(Option.LIST)
        listed = []
        while (found := (yield from negotiation.next_listed())) is not None:
            listed.append(found)
        known = True  # a server that tells nothing of an export is asked no more of the others
        for name, description in listed:
            contexts: list[str] = []
            negotiation.size, negotiation.block_sizes = 0, None
            known = known and (yield from negotiation.knows(name))
            if known and negotiation.mode is not Mode.SIMPLE:
                contexts = yield from self._contexts_of(name)
            self.exports.append(self._described(_text(name), _text(description), contexts))

    def _contexts_of(self, name: bytes) -> Reading[list[str]]:
        """All contexts of an export; QEMU 3.0 has to be asked for its own ones (nbd_list_meta_contexts)."""
        found: list[str] = []
        for queries in (U32.pack(0), U32.pack(1) + string(b"qemu:")):
            self.negotiation.ask(Option.LIST_META_CONTEXT, string(name) + queries)
            while (context := (yield from self.negotiation.next_context(Option.LIST_META_CONTEXT))) is not None:
                found.append(context[1])
            if not found or any(each.startswith("qemu:") for each in found):
                break
        return found

    def _described(self, name: str, description: str, contexts: list[str]) -> OfferedExport:
        """An export with what was told of it last."""
        told = self.negotiation
        return OfferedExport(name, description, told.size, told.flags, told.block_sizes, contexts)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
