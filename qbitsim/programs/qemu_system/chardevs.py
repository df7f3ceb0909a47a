"""Character devices as the command line describes them: ``-chardev`` and the short forms of ``-qmp`` and its like.

(chardev/char.c and chardev/char-socket.c, QEMU 10.0.) What is described here is opened by
:mod:`qbitsim.serving.chardev`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.programs.option_text import OptionText, read_number, read_size, read_switch, split_options
from qbitsim.programs.qemu_system.options import CHARDEV
from qbitsim.serving.chardev import SILENT, Chardev

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOT_EMULATED = frozenset(
    {"braille", "hub", "memory", "msmouse", "mux", "parallel", "pipe", "ringbuf", "serial", "testdev", "udp", "vc"}
    | {"wctablet"}
)
_EMULATED = frozenset({"file", "null", "pty", "socket", "stdio", *SILENT})
_SHORT_NAMES = frozenset({"null", "pty", "msmouse", "wctablet", "braille", "testdev", "stdio"})
_HOST_AND_PORT = re.compile(r"(?P<host>[^:]{1,64})?:(?P<port>[^,]{1,32})")
_READERS = {"bool": read_switch, "number": read_number, "size": read_size}


def parse_short(text: str) -> OptionText | None:
    """``unix:PATH,server=on``, ``tcp:HOST:PORT``, ``stdio`` and the like (qemu_chr_parse_compat).

    :returns: None if the host or port is malformed.
    :raises QmpError: it begins with nothing that is known, or its options do not fit.
    """
    name, _, rest = text.partition(":")
    if text in _SHORT_NAMES:
        return OptionText("", {"backend": text})
    if text.startswith("vc"):
        return OptionText("", {"backend": "vc"})
    if name == "mon" and rest:
        raise UnsupportedError("a monitor that shares its character device")
    if ":" in text and name in ("file", "pipe", "pty"):
        return OptionText("", {"backend": name, "path": rest})
    if ":" in text and name == "unix":
        return OptionText("", {"backend": "socket", **_socket_options(rest, "path")})
    if ":" in text and name in ("tcp", "telnet", "tn3270", "websocket"):
        found = _HOST_AND_PORT.match(rest)
        if found is None:
            return None
        values = {"backend": "socket", "host": found["host"] or "", "port": found["port"]}
        values |= _socket_options(rest[found.end() + 1 :])
        return OptionText("", values if name == "tcp" else values | {name: "on"})
    if ":" in text and name == "udp":
        return OptionText("", {"backend": "udp"}) if _HOST_AND_PORT.match(rest) else None
    if text.startswith("/dev/"):
        return OptionText("", {"backend": "serial", "path": text})
    raise QmpError(f"'{text}' is not a valid char driver")


def _socket_options(text: str, implied: str = "") -> dict[str, str]:
    values = {}
    for name, value, _ in split_options(text, implied):
        kind = CHARDEV.kinds.get(name)
        if kind is None:
            raise QmpError(f"Invalid parameter '{name}'")
        if kind != "string":
            _READERS[kind](name, value)
        values[name] = value
    return values


def describe(given: OptionText) -> Chardev:
    """The character device that options describe.

    :raises QmpError: they do not fit together, or the backend is not emulated.
    """
    backend = given.values.get("backend")
    if backend is None:
        raise QmpError(f'chardev: "{given.id}" missing backend')
    if backend not in _EMULATED:
        if backend in _NOT_EMULATED:
            raise UnsupportedError(f"the character device '{backend}'")
        raise QmpError(f"'{backend}' is not a valid char driver name")
    if read_switch("mux", given.values.get("mux", "off")):
        raise UnsupportedError("a character device that several share")
    if backend == "socket":
        return _socket(given.id, given.values)
    if backend == "file" and "path" not in given.values:
        raise QmpError("chardev: file: no filename given")
    append = read_switch("append", given.values.get("append", "off"))
    return Chardev(id=given.id, backend=backend, path=given.values.get("path", ""), append=append)


def _socket(identifier: str, values: Mapping[str, str]) -> Chardev:
    if sum(name in values for name in ("path", "fd", "host")) > 1:
        raise QmpError("None or one of 'path', 'fd' or 'host' option required.")
    if "host" in values and "port" not in values:
        raise QmpError("chardev: socket: no port given")
    if "delay" in values and "nodelay" in values:
        raise QmpError("'delay' and 'nodelay' are mutually exclusive")
    server = read_switch("server", values.get("server", "off"))
    reconnect = _reconnect(values)
    _check_socket(values, server=server)
    for name in ("telnet", "tn3270", "websocket", "tls-creds"):
        if values.get(name, "off") != "off":
            raise UnsupportedError(f"'{name}' of a socket")
    return Chardev(
        id=identifier,
        backend="socket",
        path=values.get("path", ""),
        abstract=read_switch("abstract", values.get("abstract", "off")),
        host=values.get("host"),
        port=values.get("port", ""),
        descriptor=values.get("fd", "") if "path" not in values and "host" not in values else None,
        server=server,
        wait=server and read_switch("wait", values.get("wait", "on")),
        reconnect=reconnect,
    )


def _reconnect(values: Mapping[str, str]) -> float:
    """Seconds between two attempts to connect; 0 for one attempt only."""
    if "reconnect-ms" in values:
        return read_number("reconnect-ms", values["reconnect-ms"]) / 1000
    return float(read_number("reconnect", values.get("reconnect", "0")))


def _check_socket(values: Mapping[str, str], *, server: bool) -> None:
    """Refuse what does not go together (qmp_chardev_validate_socket)."""
    if "path" not in values and "host" not in values and "reconnect" in values:
        raise QmpError("'reconnect' option is incompatible with 'fd' address type")
    if "tls-authz" in values and "tls-creds" not in values:
        raise QmpError("'tls_authz' option requires 'tls_creds' option")
    if server and "reconnect" in values:
        raise QmpError("'reconnect' option is incompatible with socket in server listen mode")
    if not server and values.get("websocket") == "on":
        raise QmpError("Websocket client is not implemented")
    if not server and "wait" in values:
        raise QmpError("'wait' option is incompatible with socket in client connect mode")
    if "reconnect" in values and "reconnect-ms" in values:
        raise QmpError("'reconnect' and 'reconnect-ms' are mutually exclusive")
