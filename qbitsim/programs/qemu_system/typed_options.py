"""``-object`` and ``-blockdev``: what a QMP command would be given in their place.

Both are checked as the command checks its arguments, so a command line that has one loads all commands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qbitsim.commands.offered import registry_for
from qbitsim.drivers.given_options import check_node_options
from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.programs.option_text import read_size, read_switch
from qbitsim.qapi.blockdev import BlockdevOptions
from qbitsim.qapi.keyval import as_json
from qbitsim.qapi.objects import ObjectOptions
from qbitsim.qapi.shapes import ArrayShape, ObjectShape, ScalarShape

if TYPE_CHECKING:
    from qbitsim.profiles import Profile
    from qbitsim.qapi.keyval import Tree
    from qbitsim.qapi.shapes import Shape


def read_object(profile: Profile, tree: dict[str, Any], *, texts: bool) -> dict[str, Any]:
    """The arguments of object-add that a tree means; of a type that is not emulated nothing but the id is checked.

    (qapi/opts-visitor.c, QEMU 10.0.)

    :param texts: its values are texts.
    :raises QmpError: QEMU refuses it.
    """
    if "qom-type" not in tree:
        raise QmpError("Parameter 'qom-type' is missing")
    registry = registry_for(profile)
    read = _typed(registry.shapes.of(ObjectOptions), tree) if texts else tree
    try:
        registry.decode("object-add", read)
    except UnsupportedError:
        if "id" not in tree:
            raise QmpError("Parameter 'id' is missing") from None
    return read


def read_node(profile: Profile, tree: Tree, *, texts: bool) -> dict[str, Any]:
    """The arguments of blockdev-add that a tree means.

    :param texts: its values are texts.
    :raises QmpError: QEMU refuses it.
    """
    registry = registry_for(profile)
    read = as_json(registry.shapes.of(BlockdevOptions), tree) if texts else tree
    check_node_options(profile, read)
    return read


def _typed(shape: Shape, tree: dict[str, Any]) -> dict[str, Any]:
    """A tree of texts with the types that the members have; what has members itself comes as JSON only.

    :raises QmpError: one does not stand for such a value, or there is no such member.
    """
    assert isinstance(shape, ObjectShape)
    variant = shape.variants.get(tree["qom-type"])
    if variant is None:
        return tree
    typed: dict[str, Any] = {}
    for member in (*shape.members, *variant.members):
        if member.wire in tree and not isinstance(member.shape, ObjectShape):
            typed[member.wire] = _value(member.shape, member.wire, tree[member.wire])
        elif not member.optional:
            raise QmpError(f"Parameter '{member.wire}' is missing")
    unknown = next((name for name in tree if name not in typed), None)
    if unknown is not None:
        raise QmpError(f"Invalid parameter '{unknown}'")
    return typed


def _value(shape: Shape, name: str, text: str) -> Any:
    if isinstance(shape, ArrayShape):
        return [_value(shape.element, name, text)]
    if not isinstance(shape, ScalarShape):
        return text
    if shape.json == "boolean":
        return read_switch(name, text)
    if shape.integer is None:
        return text
    try:
        return int(text, 0) if shape.integer.signed else read_size(name, text)
    except (ValueError, QmpError):
        expected = "an int64" if shape.integer.signed else "a size"
        raise QmpError(f"Parameter '{name}' expects {expected} value") from None
