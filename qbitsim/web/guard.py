"""Which HTTP requests may look at a machine, and which may act on it.

Rules:

1. Every client that reaches the server may look, if the request is for an address by which the server is known. A page
   from elsewhere whose name was made to point here (DNS rebinding) is not: its requests have that name as their Host.
2. A request that a page of another origin has made is refused where the browser says so (Origin).
3. Acting needs a server that allows it (``control``), and the token, which is made anew for each server.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+)(?::[0-9]{1,5})?")
_SCHEME = "bearer"


class RefusedError(Exception):
    """A request that is not granted.

    :ivar status: of HTTP; :ivar text: why, in one line.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class Guard:
    """The rules for one server.

    :param host: the name or address on which it listens, as the user has written it.
    :param control: whether one may act at all.
    :ivar token: what must be known to act.
    """

    def __init__(self, host: str, *, control: bool) -> None:
        self.control = control
        self.token = secrets.token_urlsafe(24)
        self._host = host.lower()
        address = address_of(host)
        self._everywhere = address is not None and address.is_unspecified

    def check_host(self, hosts: Sequence[str]) -> None:
        """Check the Host headers of a request.

        :raises RefusedError: it is not for this server.
        """
        match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if match is None or not self._is_known(match[1].strip("[]").lower()):
            asked = repr(hosts[0]) if hosts else "no host"
            raise RefusedError(403, f"the request is for {asked}: open the address that qbitsim has printed")

    def _is_known(self, name: str) -> bool:
        """Whether the server is known by a name; an address cannot have been made to point here by somebody else."""
        address = address_of(name)
        if address is None:
            return name in (self._host, "localhost")
        return self._everywhere or address.is_loopback or address == address_of(self._host)

    def check_origin(self, origin: str | None, host: str) -> None:
        """Check where the page is from that has made a request, if the browser says so.

        :raises RefusedError: it is from elsewhere.
        """
        if origin is not None and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower()):
            raise RefusedError(403, f"the request comes from a page of {origin!r}: only qbitsim's own page may do that")

    def check_token(self, authorization: str | None) -> None:
        """Check the Authorization header of a request to act.

        :raises RefusedError: the server does not allow it, or the token is missing or wrong.
        """
        if not self.control:
            raise RefusedError(403, "this server was started without --control: one can look, but not act")
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != _SCHEME:
            raise RefusedError(401, "acting needs the token: it is in the address that qbitsim printed when it began")
        if not hmac.compare_digest(_bytes(token.strip()), _bytes(self.token)):
            raise RefusedError(401, "the token is not that of this server: it is in the address that qbitsim printed")


def address_of(name: str) -> IPv4Address | IPv6Address | None:
    """The IP address that a name is, or None if it is no address."""
    try:
        return ip_address(name)
    except ValueError:
        return None


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
