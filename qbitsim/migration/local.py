"""A connection to a destination in the same process, without a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qbitsim.errors import UnsupportedError

if TYPE_CHECKING:
    from qbitsim.migration.incoming import Incoming


class LocalConnection:
    """The source's end (:class:`qbitsim.files.network.Connection`): what is sent is taken in at once."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._answers = b""
        incoming.connected()

    def __deepcopy__(self, memo: dict[int, Any]) -> LocalConnection:
        """Refuse.

        :raises UnsupportedError: always.
        """
        raise UnsupportedError("a snapshot of a machine that migrates")

    @property
    def is_open(self) -> bool:
        """Whether the destination still listens."""
        return not self._incoming.over

    def send(self, data: bytes) -> None:
        """Hand it over."""
        self._answers += self._incoming.feed(data)

    def receive(self) -> bytes:
        """What it has answered."""
        answers, self._answers = self._answers, b""
        return answers

    def close(self) -> None:
        """Hang up."""
        self._incoming.hung_up()
