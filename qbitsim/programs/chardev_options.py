"""Character devices on the command line: ``-chardev`` and the short forms of ``-qmp`` and its like.

(chardev/char.c, QEMU 10.0.)
"""

from __future__ import annotations

import re

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.programs.option_text import OptionText, option_list, read_number, read_size, read_switch, split_options

CHARDEV = option_list(
    "chardev",
    "backend",
    string="backend path input_path host port fd localaddr localport tls_creds tls_authz name chardev logfile "
    "chardevs.0 chardevs.1 chardevs.2 chardevs.3",
    bool="ipv4 ipv6 wait server delay nodelay telnet tn3270 websocket mux signal append logappend mouse clipboard "
    "tight abstract",
    number="to reconnect reconnect_ms width height cols rows debug",
    size="size",
)
_SHORT_NAMES = frozenset({"null", "pty", "msmouse", "wctablet", "braille", "testdev", "stdio"})
_HOST_AND_PORT = r"(?P<host>[^:]{1,64})?:(?P<port>[^,]{1,32})"
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
        found = re.match(_HOST_AND_PORT, rest)
        if found is None:
            return None
        values = {"backend": "socket", "host": found["host"] or "", "port": found["port"]}
        values |= _socket_options(rest[found.end() + 1 :])
        return OptionText("", values if name == "tcp" else values | {name: "on"})
    if ":" in text and name == "udp":
        return OptionText("", {"backend": "udp"}) if re.match(_HOST_AND_PORT, rest) else None
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
