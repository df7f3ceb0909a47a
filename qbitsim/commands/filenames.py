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

PATH_MAX = 4096
"""Bytes for the name of a node, with a zero at its end (``filename`` of BlockDriverState)."""


def shown_filename(node: Node) -> str:
    """The text under ``file`` and ``filename`` in queries, which is also what an overlay's header gets."""
    return ShownFilenames().of(node)


class ShownFilenames:
    """The names of nodes at one moment; each is found once, from the bottom of a chain to its top."""

    def __init__(self) -> None:
        self._found: dict[Node, str] = {}
        self._full_options: dict[Node, Json] = {}

    def of(self, node: Node) -> str:
        """As :func:`shown_filename`."""
        layers: list[Node] = []
        layer: Node | None = node
        while layer is not None and layer not in self._found:
            layers.append(layer)
            layer = layer.backing or layer.filtered
        for each in reversed(layers):
            exact = self._exact(each)
            self._found[each] = exact if exact else _cut(f"json:{encode(self._options(each)).decode('ascii')}")
        return self._found[node]

    def _exact(self, node: Node) -> str:
        """The plain name, or an empty string if there is none."""
        below = node.filtered
        if node.implicit:
            return self._exact(below if below is not None else node.children[0].node)
        if node.shows_filename_of_child:
            return self.of(below if below is not None else node.children[0].node)
        if node.tells_filename:
            return node.filename
        if any(name != "filename" for name, _value in _strong_options(node)) or self.backing_overridden(node):
            return ""
        if not node.children:
            return node.filename
        if below is None:
            file = node.child("file")
            return self._exact(file.node) if file is not None and _is_protocol(file.node) else ""
        names = [self._exact(edge.node) for edge in node.children] if node.filename_prefix else []
        return f"{node.filename_prefix}{':'.join(names)}" if names and all(names) else ""

    def backing_overridden(self, node: Node) -> bool:
        """Whether the backing file is another one than the image's header says (bdrv_backing_overridden).

        Options in a header, or a format that is none, mean the node that was opened for them, whatever it is called
        (bdrv_open_backing_file).
        """
        header, backing = node.header_backing, node.backing
        if backing is None or header is None:
            return backing is not None or header is not None
        if backing is node.named_backing and (header.startswith("json:") or not backing.is_format):
            return False
        if node.header_changed:
            return self.of(backing) != header
        names = header, header.removeprefix("file:"), node.graph.images.backing_name(node.filename, header)
        return self.of(backing) not in names

    def _options(self, node: Node) -> Json:
        """The options with which the node could be opened again (``full_open_options``)."""
        if node not in self._full_options:
            self._full_options[node] = self._gathered_options(node)
        return self._full_options[node]

    def _gathered_options(self, node: Node) -> Json:
        if node.implicit and node.filtered is not None:
            return self._options(node.filtered)
        strong = list(_strong_options(node))
        if not _is_opened_within(node):
            # Names that share a bucket of the hash table come out newest first, and QEMU has copied these once more.
            strong.reverse()
        options: Json = {"driver": node.driver, **dict(strong)}
        for edge in node.children:
            name, _dot, number = edge.name.partition(".")
            if number:
                options.setdefault(name, []).append(self._options(edge.node))
            elif name != "backing" or node.is_filter:
                options[name] = self._options(edge.node)
        if self.backing_overridden(node):
            options["backing"] = self._options(node.backing) if node.backing is not None else None
        return options


def _cut(name: str) -> str:
    """The name as far as there is room for it (bdrv_refresh_filename, block.c, QEMU 10.0)."""
    return name if len(name) < PATH_MAX else f"{name[: PATH_MAX - 4]}..."


def _is_protocol(node: Node) -> bool:
    """Whether a format above can be opened by the name of this node (``protocol_name``)."""
    return not (node.is_format or node.implicit or node.shows_filename_of_child)


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
