"""File names of NBD exports, and the options and addresses that they stand for (block/nbd.c, QEMU 10.0)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files.network import Address, InetAddress, UnixAddress
from qbitsim.qapi.hashorder import qdict_order

if TYPE_CHECKING:
    from qbitsim.drivers.options import Options

DEFAULT_PORT = "10809"

_EXPORT = ":exportname="
_HOST = r"(?P<bracket>\[)?(?P<host>(?(bracket)[^\]]{1,64}|[^:]{1,64}))(?(bracket)\]):(?P<port>[^,]{1,32})"
_PORT_ALONE = r":(?P<port>[^,]{1,32})"


def options_of(name: str) -> Options:
    """The options that a whole file name stands for: ``nbd:…``, ``nbd://…``, ``nbd+unix://…`` (nbd_parse_filename).

    Without a server there are none of it.

    :raises QmpError: with QEMU's text.
    """
    if "://" in name:
        return _uri_options(name)
    file, found, export = name.partition(_EXPORT)
    if found and not export:
        return {}
    options: Options = {"export": export} if found else {}
    if not file.startswith("nbd:"):
        raise QmpError("File name string for NBD must start with 'nbd:'")
    place = file.removeprefix("nbd:")
    if place.startswith("unix:"):
        options["server"] = {"type": "unix", "path": place.removeprefix("unix:")}
    elif place:
        options["server"] = _inet(place)
    return options


def _inet(text: str) -> Options:
    """``HOST:PORT`` with what may follow behind a comma (inet_parse, util/qemu-sockets.c, QEMU 10.0)."""
    found = re.match(_PORT_ALONE if text.startswith(":") else _HOST, text)
    if found is None:
        what = "port in address" if text.startswith(":") else "IPv6 address" if text.startswith("[") else "address"
        raise QmpError(f"error parsing {what} '{text}'")
    return {"type": "inet", "host": found.groupdict().get("host") or "", "port": found["port"]}


def _uri_options(name: str) -> Options:
    """``nbd[+tcp]://HOST[:PORT]/EXPORT`` or ``nbd+unix:///EXPORT?socket=PATH`` (nbd_parse_uri)."""
    from urllib.parse import parse_qsl, unquote, urlsplit  # noqa: PLC0415 - costly, and hardly ever wanted

    invalid = QmpError("No valid URL specified")
    try:
        parts = urlsplit(name)
        port = parts.port
    except ValueError:
        raise invalid from None
    if parts.scheme not in {"nbd", "nbd+tcp", "nbd+unix"}:
        raise invalid
    export, query = unquote(parts.path.removeprefix("/")), parse_qsl(parts.query, keep_blank_values=True)
    options: Options = {"export": export} if export else {}
    host = unquote(parts.hostname or "")
    if parts.scheme == "nbd+unix":
        if host or port is not None or [key for key, _ in query] != ["socket"]:
            raise invalid
        return {**options, "server": {"type": "unix", "path": query[0][1]}}
    if not host or query:
        raise invalid
    return {**options, "server": {"type": "inet", "host": host, "port": str(port or DEFAULT_PORT)}}


def check_beside_name(options: Options) -> None:
    """Refuse to say beside a file name what the name says (nbd_has_filename_options_conflict).

    :raises QmpError: naming the option that QEMU comes to first.
    """
    server = options.get("server")
    inside = [f"server.{name}" for name in server] if isinstance(server, dict) else []
    said = [*(name for name in options if name in {"host", "port", "path", "export"}), *inside]
    if said:
        raise QmpError(f"Option '{qdict_order(said)[0]}' cannot be used with a file name")


def take_server(options: Options) -> None:
    """Make a ``server`` of ``path``, ``host`` and ``port``, which only command lines have.

    :raises QmpError: with the texts of nbd_process_legacy_socket_options() and nbd_config().
    """
    path, host, port = (options.pop(name, None) for name in ("path", "host", "port"))
    if (path or host or port) and "server" in options:
        raise QmpError("Cannot use 'server' and path/host/port at the same time")
    if path and host:
        raise QmpError("path and host may not be used at the same time")
    if port and not host and path:
        raise QmpError("port may not be used without host")
    if path:
        options["server"] = {"type": "unix", "path": path}
    elif host:
        options["server"] = {"type": "inet", "host": host, "port": port or DEFAULT_PORT}
    if "server" not in options:
        raise QmpError("NBD server address missing")


def address_of(server: Mapping[str, Any]) -> Address:
    """The address that a SocketAddress stands for.

    :raises QmpError: it excludes all servers; UnsupportedError: it is none of a server that could be reached here.
    """
    match server["type"]:
        case "unix":
            return UnixAddress(server["path"], bool(server.get("abstract")), server.get("tight") is not False)
        case "inet":
            if server.get("ipv4") is False and server.get("ipv6") is False:
                raise QmpError("Cannot disable IPv4 and IPv6 at same time")
            return InetAddress(server["host"], server["port"])
        case kind:
            raise UnsupportedError(f"an NBD server on a socket of type '{kind}'")


def name_of(server: Mapping[str, Any], export: str | None) -> str:
    """The file name that says where an export is, empty if none can (nbd_refresh_filename)."""
    if server["type"] == "unix":
        path = server["path"]
        return f"nbd+unix://?socket={path}" if export is None else f"nbd+unix:///{export}?socket={path}"
    if {"ipv4", "ipv6", "to"} & server.keys():
        return ""
    place = f"nbd://{server['host']}:{server['port']}"
    return place if export is None else f"{place}/{export}"
