"""The options of a node, as blockdev-add has them and as texts of ``-drive``.

Without a host there is nothing that ``cache``, ``aio`` or the sizes of qcow2's caches could change, so they are
accepted. An option that would change what a client sees, and that is not emulated, is refused: it must never be
mistaken for one that works. Each driver says which of its options these are (:func:`qbitsim.drivers.driver.driver`).
"""

from __future__ import annotations

from copy import copy

from qbitsim.errors import QmpError
from qbitsim.light_typing import Any

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Options = dict[str, Any]
"""The options of a node, under QAPI's names."""


class Written(dict[str, Any]):
    """Options that were given as text, which is what QEMU shows of them.

    :ivar texts: name -> what was written: ``{"once": "off"}`` where the value is False.
    """

    __slots__ = ("texts",)

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.texts: dict[str, str] = {}

    def __copy__(self) -> Written:
        made = Written(self)
        made.texts = dict(self.texts)
        return made


def flag(options: Mapping[str, object], name: str) -> bool:
    """Whether an option that is off by default is on."""
    return bool(options.get(name, False))


def passes_discards(options: Mapping[str, object]) -> bool:
    """Whether the node passes discards on."""
    return options.get("discard") == "unmap"


def without_empty_backing(options: Any, complain: Callable[[str], None]) -> Any:
    """The options with no backing file where the name of one is empty, here and below (bdrv_open_inherit)."""
    if isinstance(options, list):
        return [without_empty_backing(item, complain) for item in options]
    if not isinstance(options, dict):
        return options
    found = copy(options)
    for name, value in options.items():
        if name == "backing" and value == "":
            complain('warning: Use of "backing": "" is deprecated; use "backing": null instead')
            found[name] = None
        elif isinstance(value, dict | list):
            found[name] = without_empty_backing(value, complain)
    return found


def check_detect_zeroes(options: Mapping[str, object]) -> None:
    """Refuse an unknown mode, and to unmap zeroes where discards are not passed on.

    :raises QmpError: with the text of bdrv_parse_detect_zeroes (block.c, QEMU 10.0).
    """
    mode = options.get("detect-zeroes", "off")
    if mode not in {"off", "on", "unmap"}:
        raise QmpError(f"invalid parameter value: {mode}")
    if mode == "unmap" and not passes_discards(options):
        raise QmpError("setting detect-zeroes to unmap is not allowed without setting discard operation to unmap")


def file_options(options: Options) -> Options:
    """What a file below a format or filter inherits (bdrv_inherited_options, block.c, QEMU 10.0)."""
    passed: Options = {name: options[name] for name in ("force-share", "cache", "auto-read-only") if name in options}
    return {"read-only": flag(options, "read-only"), "discard": "unmap", **passed}
