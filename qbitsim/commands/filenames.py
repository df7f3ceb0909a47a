"""What QEMU shows as the file name of a node (bdrv_refresh_filename, block.c, QEMU 10.0).

A node that could be opened again by a plain name shows that name: a qcow2 node the name of its file. If an option
matters that the name cannot say, or the backing file is not the one that the image names, the text is ``json:`` and
the options that matter: those of the node and of its children, in the order of QEMU's hash table.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from qbitsim.block.node import Node
from qbitsim.drivers.options import Written
from qbitsim.qmp.encoder import encode

if TYPE_CHECKING:
    from qbitsim.jsontypes import Json


def shown_filename(node: Node) -> str:
    """The text under ``file`` and ``filename`` in queries, which is also what an overlay's header gets."""
    exact = _exact(node)
    return exact if exact else f"json:{encode(_options(node)).decode('ascii')}"


def _exact(node: Node) -> str:
    """The plain name, or an empty string if there is none."""
    below = node.filtered
    if node.implicit or node.shows_filename_of_child:
        return shown_filename(below if below is not None else node.children[0].node)
    if node.tells_filename:
        return node.filename
    if any(name != "filename" for name, _value in _strong_options(node)) or _backing_overridden(node):
        return ""
    if not node.children:
        return node.filename
    if below is None:
        file = node.child("file")
        return "" if file is None or file.node.is_format else _exact(file.node)
    name = _exact(below) if node.filename_prefix else ""
    return f"{node.filename_prefix}{name}" if name else ""


def _strong_options(node: Node) -> Iterator[tuple[str, Any]]:
    for name in node.strong_options:
        if name in node.options:
            yield from _dotted(name, _shown(node.options, name))


def _dotted(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    members = dict(enumerate(value)) if isinstance(value, list) else value
    if not isinstance(members, dict):
        yield name, value
        return
    for key in members:
        yield from _dotted(f"{name}.{key}", _shown(members, key))


def _shown(options: dict[Any, Any], name: Any) -> Any:
    """The value, or the text if it was given as one (the options of ``-drive`` are never converted)."""
    return options.texts.get(name, options[name]) if isinstance(options, Written) else options[name]


def _backing_overridden(node: Node) -> bool:
    """Whether the backing file is another one than the image's header says (bdrv_backing_overridden)."""
    header, backing = node.header_backing, node.backing
    if backing is None or header is None:
        return backing is not None or header is not None
    return shown_filename(backing) not in (header, node.graph.images.backing_name(node.filename, header))


def _is_opened_within(node: Node) -> bool:
    """Whether the options of the node were a part of those of another one."""
    for edge in node.parents:
        given = edge.parent.options if isinstance(edge.parent, Node) else {}
        name, _dot, number = edge.name.partition(".")
        child = given.get(name)
        if isinstance(child, list) and number.isdecimal() and int(number) < len(child):
            child = child[int(number)]
        if isinstance(child, dict):
            return True
    return False


def _options(node: Node) -> Json:
    """The options with which the node could be opened again (``full_open_options``)."""
    if (node.implicit or node.driver.endswith("_top")) and node.filtered is not None:
        return _options(node.filtered)
    strong = list(_strong_options(node))
    if not _is_opened_within(node):
        # Names that share a bucket of the hash table come out newest first, and QEMU has copied these once more.
        strong.reverse()
    options: Json = {"driver": node.driver, **dict(strong)}
    for edge in node.children:
        name, _dot, number = edge.name.partition(".")
        if number:
            options.setdefault(name, []).append(_options(edge.node))
        elif name != "backing":
            options[name] = _options(edge.node)
    if _backing_overridden(node):
        options["backing"] = _options(node.backing) if node.backing is not None else None
    return options
