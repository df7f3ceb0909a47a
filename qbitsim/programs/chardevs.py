"""The character devices of a program: what the options of :mod:`.chardev_options` describe, and what is open.

(chardev/char.c and chardev/char-socket.c, QEMU 10.0.) They are opened by :mod:`qbitsim.serving.chardev`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.programs.option_text import read_number, read_switch
from qbitsim.serving.chardev import SILENT, Chardev, OpenChardev, open_chardev

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from qbitsim.profiles import Profile
    from qbitsim.programs.option_text import OptionText

_NOT_EMULATED = frozenset(
    {"braille", "hub", "memory", "msmouse", "mux", "parallel", "pipe", "ringbuf", "serial", "testdev", "udp", "vc"}
    | {"wctablet"}
)
_EMULATED = frozenset({"file", "null", "pty", "socket", "stdio", *SILENT})


class Chardevs(Mapping[str, OpenChardev]):
    """The character devices that a program has opened, by name.

    :param lacks: the backends that the program was built without.
    :param print_: prints on standard output.
    :param complain: is told a text, the words of the command line that it is about, and ``info`` or nothing.
    :param in_background: whether the program has no standard input of its own.
    """

    def __init__(
        self,
        profile: Profile,
        print_: Callable[[str], object],
        complain: Callable[[str, str, str], None],
        *,
        in_background: bool,
        lacks: frozenset[str] = frozenset(),
    ) -> None:
        self._profile = profile
        self._lacks = lacks
        self._print = print_
        self._complain = complain
        self._in_background = in_background
        self._open: dict[str, OpenChardev] = {}

    def __getitem__(self, name: str) -> OpenChardev:
        return self._open[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._open)

    def __len__(self) -> int:
        return len(self._open)

    def open(self, given: OptionText, words: str) -> None:
        """Open the one that an option describes.

        :raises QmpError: it cannot be had, or is not emulated.
        """
        if not given.id:
            raise QmpError("chardev: no id specified")
        if given.values.get("backend") in self._lacks:
            raise QmpError(f"'{given.values['backend']}' is not a valid char driver name")
        chardev = describe(given)
        if chardev.backend == "stdio" and self._in_background:
            raise QmpError("cannot use stdio with -daemonize")
        if chardev.backend == "stdio" and any(each.chardev.backend == "stdio" for each in self._open.values()):
            raise QmpError("cannot use stdio by multiple character devices")
        opened = open_chardev(
            chardev,
            lambda text: self._complain(text, words, "info"),
            lambda text: self._complain(text, "", ""),
        )
        if chardev.id in self._open:
            opened.close()
            raise QmpError(f"attempt to add duplicate property '{chardev.id}' to object (type 'container')")
        self._open[chardev.id] = opened
        if opened.terminal is not None:
            self._print(f"char device redirected to {opened.terminal} (label {chardev.id})\n")

    def take(self, name: str) -> OpenChardev:
        """The one of that name, which nobody else may have from now on.

        :raises QmpError: there is none, or somebody has it.
        """
        device = self._open.get(name)
        if device is None:
            raise QmpError(f'chardev "{name}" not found')
        if device.in_use:
            raise QmpError(self._profile.chardev_in_use_text.format(name))
        device.in_use = True
        return device


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
