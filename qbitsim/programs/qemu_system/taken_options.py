"""What is refused of options that have no effect here (system/vl.c, hw/core/machine.c and others, QEMU 10.0)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from qbitsim.errors import QmpError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qbitsim.qapi.keyval import Tree

_NUMBER = r"[+-]?(0[xX][0-9a-fA-F]+|[0-9]+)"
_BOOT = frozenset({"order", "once", "menu", "splash", "splash-time", "reboot-timeout", "strict"})
_BOOT_DEVICES = "abcdefghijklmnop"
_NETWORKS = frozenset(
    {"none", "nic", "user", "tap", "l2tpv3", "socket", "stream", "dgram", "vde", "bridge", "hubport", "netmap"}
    | {"vhost-user", "vhost-vdpa", "af-xdp", "passt"}
)
_ACTIONS: Mapping[str, frozenset[str]] = {
    "reboot": frozenset({"reset", "shutdown"}),
    "shutdown": frozenset({"poweroff", "pause"}),
    "panic": frozenset({"pause", "shutdown", "exit-failure", "none"}),
    "watchdog": frozenset({"reset", "shutdown", "poweroff", "pause", "debug", "none", "inject-nmi"}),
}


def check_argument(name: str, argument: str, values: Mapping[str, str]) -> None:
    """Refuse an argument as soon as it is read.

    :param values: what it says, if it has names with values.
    :raises QmpError: it is wrong.
    """
    if name == "seed" and not re.fullmatch(_NUMBER, argument):
        raise QmpError(f"Invalid seed number: {argument}")
    if name == "watchdog-action":
        values = {"watchdog": argument}
    if name in ("action", "watchdog-action"):
        for what, action in values.items():
            if action not in _ACTIONS[what]:
                raise QmpError(f"Parameter '{what}' does not accept value '{action}'")


def check_network(tree: Tree) -> None:
    """Refuse a network card or backend of a type that there is not.

    :raises QmpError: it is one.
    """
    kind = tree.get("type")
    if isinstance(kind, str) and kind not in _NETWORKS:
        raise QmpError(f"Parameter 'type' does not accept value '{kind}'")


def check_boot(tree: Tree) -> None:
    """Refuse devices to boot from that there are not.

    :raises QmpError: it is about such.
    """
    for name in tree:
        if name not in _BOOT:
            raise QmpError(f"Parameter 'boot.{name}' is unexpected")
    for name in ("order", "once"):
        seen = ""
        for letter in str(tree.get(name, "")):
            if letter not in _BOOT_DEVICES:
                raise QmpError(f"Invalid boot device '{letter}'")
            if letter in seen:
                raise QmpError(f"Boot device '{letter}' was given twice")
            seen += letter
