"""``-object``: what its argument may say. Objects of most types have no effect here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.programs.option_text import read_size
from qbitsim.programs.qemu_system.command_line import StartError

if TYPE_CHECKING:
    from qbitsim.qapi.registry import Registry


def read_object(registry: Registry, tree: dict[str, Any], *, texts: bool) -> dict[str, Any]:
    """The arguments of object-add that a tree means.

    :param texts: its values are texts.
    :raises QmpError: QEMU refuses it.
    """
    if "qom-type" not in tree:
        raise QmpError("Parameter 'qom-type' is missing")
    read = _typed(tree) if texts else tree
    try:
        registry.decode("object-add", read)
    except UnsupportedError:
        _check_taken(str(tree["qom-type"]), tree)
        if "id" not in tree:
            raise QmpError("Parameter 'id' is missing") from None
    return read


_PROPERTIES = {"iothread": {"aio-max-batch", "poll-grow", "poll-max-ns", "poll-shrink", "thread-pool-max"}}
_PROPERTIES["iothread"] |= {"qom-type", "id", "thread-pool-min", "poll-weight"}


_THROTTLE = frozenset(
    {"id", "qom-type", "x-iops-size"}
    | {
        f"x-{unit}-{direction}{burst}"
        for unit in ("iops", "bps")
        for direction in ("total", "read", "write")
        for burst in ("", "-max", "-max-length")
    }
)
"""What a throttle group takes as texts; the rest comes as JSON only."""


def _check_taken(kind: str, tree: dict[str, Any]) -> None:
    """Refuse an object that has no effect here, if QEMU could not make it."""
    unknown = next((name for name in tree if kind in _PROPERTIES and name not in _PROPERTIES[kind]), None)
    if unknown is not None:
        raise QmpError(f"Invalid parameter '{unknown}'")
    if kind.startswith("memory-backend-"):
        if "size" not in tree:
            raise QmpError("Parameter 'size' is missing")
        if isinstance(tree["size"], str):
            try:
                read_size("size", tree["size"])
            except QmpError:
                raise QmpError("Parameter 'size' expects a size value") from None
    if kind == "secret" and not {"data", "file"} & tree.keys():
        raise StartError("Either 'file' or 'data' must be provided")


def _typed(tree: dict[str, Any]) -> dict[str, Any]:
    """Numbers for the texts of a throttle group's limits.

    :raises QmpError: one is none, or a name has parts.
    """
    if tree["qom-type"] != "throttle-group":
        return tree
    typed: dict[str, Any] = {}
    for name, value in tree.items():
        if name not in _THROTTLE:
            raise QmpError(f"Invalid parameter '{name}'")
        try:
            typed[name] = int(value, 0) if name.startswith("x-") else value
        except ValueError:
            raise QmpError(f"Parameter '{name}' expects an int64 value") from None
    return typed
