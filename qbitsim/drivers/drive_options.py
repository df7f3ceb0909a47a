"""``-drive`` and ``-device`` options as people write them on QEMU's command line."""

from __future__ import annotations

from qbitsim.drivers.options import Options, Written
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.qapi.nesting import DEEPEST
from qbitsim.sizes import SIZE_HINT, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_OF_THE_DRIVE = frozenset({"id", "if", "media", "format", "cache", "file", "werror", "rerror"})
_CACHE_MODES: dict[str, Options] = {
    "none": {"direct": True},
    "off": {"direct": True},
    "directsync": {"direct": True},
    "unsafe": {"no-flush": True},
    "writeback": {},
    "writethrough": {},
}
"""``cache=`` -> the options of the node that it stands for (bdrv_parse_cache_mode, block.c, QEMU 10.0)."""

_PARTS = frozenset(
    {"backing", "cache", "children", "data-file", "file", "image", "log", "raw", "server", "target", "test"}
)
"""Options that have members: who gives those of no others need not wait until the schema was read."""

_TEXTS = frozenset({"aio", "driver", "file", "filename", "node-name"})
"""Options that are texts, whatever the driver: who gives no others need not wait until the schema was read."""

ADDED_TO_REFERENCE = "Cannot reference an existing block device with additional options or a new filename"

_BOOLEANS = {"on": True, "off": False, "yes": True, "no": False, "true": True, "false": False, "y": True, "n": False}


def parse_drive(given: Mapping[str, Any]) -> tuple[str, str | None, Options]:
    """The id of the drive, the name of its file if it has one, and the options of its node.

    Dotted names are members of members: ``file.driver=blkdebug``.

    :raises QmpError: for a switch that is neither on nor off, or an unknown cache mode.
    """
    of_node = {name: value for name, value in given.items() if name not in _OF_THE_DRIVE}
    if "readonly" in of_node:
        of_node["read-only"] = of_node.pop("readonly")
    tree = nested(of_node)
    if "format" in given:
        tree["driver"] = given["format"]
    if "cache" in given:
        if given["cache"] not in _CACHE_MODES:
            raise QmpError("invalid cache option")
        tree["cache"] = {**_CACHE_MODES[given["cache"]], **tree.get("cache", {})}
    return given.get("id", ""), given.get("file") or None, tree


def switch(name: str, text: str) -> bool:
    """What a switch is set to.

    :raises QmpError: it is neither on nor off.
    """
    if text not in _BOOLEANS:
        raise QmpError(f"Parameter '{name}' expects 'on' or 'off'")
    return _BOOLEANS[text]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def parse_device(given: str) -> Options:
    """``driver,name=value``; a comma in a value is written twice, and the last of several counts."""
    first, _comma, _rest = given.partition(",")
    return dict(split_options(given if "=" in first else f"driver={given}"))


def parse_object(given: str) -> Options:
    """The arguments of object-add from ``-object throttle-group,id=tg0,limits.bps-total=1048576``."""
    kind, *parts = given.split(",")
    flat: Options = {"qom-type": kind.removeprefix("qom-type=")}
    for part in parts:
        name, _equals, value = part.partition("=")
        flat[name] = int(value) if value.removeprefix("-").isdecimal() and name != "id" else value
    plain: Options = _plain(nested(flat))
    return plain


def split_options(text: str) -> dict[str, str]:
    """``a=1,b=x,,y,c,nod`` by name; a lone name is ``on``, behind ``no`` it is ``off``, a doubled comma is a comma.

    (util/qemu-option.c, QEMU 10.0)
    """
    options: dict[str, str] = {}
    for part in text.replace(",,", "\0").split(","):
        name, equals, value = part.replace("\0", ",").partition("=")
        if not equals:
            name, value = (name.removeprefix("no"), "off") if name.startswith("no") else (name, "on")
        options[name] = value
    return options


def nested(flat: Mapping[str, Any]) -> Options:
    """Dotted names as members of members, numbered members as lists, texts as the values that they stand for.

    An option that has no members, or is the name of a backing file, keeps what was given for a member of it beside it,
    under a dotted name; so do QEMU's flat dictionaries, from which every driver takes what it knows.
    """
    tree: Options = Written()
    for name, value in flat.items():
        *path, last = _steps(name, flat)
        if len(path) > DEEPEST:
            raise UnsupportedError(f"an option that is nested more than {DEEPEST} deep")
        place = tree
        for part in path:
            below = place.setdefault(part, Written())
            if isinstance(below, str):
                raise QmpError(ADDED_TO_REFERENCE)
            if not isinstance(below, dict):
                raise QmpError(f"Parameters '{part}.*' used inconsistently")
            place = below
        if isinstance(place.get(last), dict):
            raise QmpError(ADDED_TO_REFERENCE)
        place[last] = _scalar(last, value, path)
        if isinstance(place, Written):
            place.texts[last] = str(value)
    for name, value in tree.items():
        tree[name] = _with_lists(value)
    return tree


def _steps(name: str, flat: Mapping[str, Any]) -> list[str]:
    """The names of the members that lead to an option; the last one has dots if there can be no such member."""
    parts = name.split(".")
    for number, part in enumerate(parts[:-1], 1):
        is_reference = part == "backing" and isinstance(flat.get(".".join(parts[:number])), str)
        if is_reference or (part not in _PARTS and not part.isdecimal() and _has_no_members(part)):
            return [*parts[: number - 1], ".".join(parts[number - 1 :])]
    return parts


def _has_no_members(name: str) -> bool:
    return (name in _TEXTS and name != "file") or _kind(name) is not None


def _with_lists(value: Any) -> Any:
    """Members called 0, 1, … become a list, if none is missing."""
    if not isinstance(value, dict):
        return value
    numbers = [str(number) for number in range(len(value))]
    if value and value.keys() == set(numbers):
        return [_with_lists(value[number]) for number in numbers]
    for name, item in value.items():
        value[name] = _with_lists(item)
    return value


def _scalar(name: str, value: Any, path: Sequence[str] = ()) -> Any:
    kind = _kind(name) if isinstance(value, str) and name not in _TEXTS else None
    if kind in ("size", "int"):
        try:
            return parse_size(value) if kind == "size" else int(value, 0)
        except ValueError:
            expected = "non-negative number below 2^64" if kind == "size" else "number"
            hint = SIZE_HINT if kind == "size" else ""
            raise QmpError(f"Parameter '{name}' expects a {expected}", hint=hint) from None
    if kind == "boolean":
        return switch(f"cache.{name}" if path[-1:] == ["cache"] else name, value)
    return value


def _kind(name: str) -> str | None:
    from qbitsim.drivers.option_kinds import kinds  # noqa: PLC0415 - it reads the schema of all drivers

    return kinds().get(name)
