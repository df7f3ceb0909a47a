"""Nobody outside drivers/ looks at the class of a node: what a node is able to and has is asked of the node."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from functools import cache

import pytest
from syntax import MODULES, PACKAGE, breaking, tree_of

from qbitsim.block.node import Node

OUTSIDE = [module for module, path in MODULES.items() if path.parent != PACKAGE / "drivers"]


@cache
def node_classes() -> frozenset[str]:
    """The names of the classes of nodes that the drivers define."""
    found = set()
    for path in (PACKAGE / "drivers").glob("[a-z]*.py"):
        module = importlib.import_module(f"qbitsim.drivers.{path.stem}")
        found |= {
            name
            for name, thing in vars(module).items()
            if isinstance(thing, type) and issubclass(thing, Node) and thing.__module__ == module.__name__
        }
    return frozenset(found)


def _names(tree: ast.AST, *, annotations: bool) -> Iterator[str]:
    """The names that the code uses and imports.

    :param annotations: those that only annotations need, and not the others.
    """
    for child in ast.iter_child_nodes(tree):
        if _is_for_annotations(tree, child):
            if annotations:
                yield from _all_names(child)
        else:
            if not annotations:
                yield from _own_names(child)
            yield from _names(child, annotations=annotations)


def _is_for_annotations(parent: ast.AST, child: ast.AST) -> bool:
    if isinstance(child, ast.If) and isinstance(child.test, ast.Name):
        return child.test.id == "TYPE_CHECKING"
    return child in (getattr(parent, "annotation", None), getattr(parent, "returns", None))


def _all_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        yield from _own_names(node)


def _own_names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        yield node.attr
    elif isinstance(node, ast.ImportFrom):
        yield from (alias.name for alias in node.names)


def used(tree: ast.AST, *, annotations: bool) -> set[str]:
    """The node classes of drivers that a module's code, or its annotations, know."""
    return set(_names(tree, annotations=annotations)) & node_classes()


def test_the_classes_of_nodes_are_found() -> None:
    assert {"FileNode", "NullNode", "Qcow2Node", "QuorumNode", "RawNode"} <= node_classes()
    assert "Node" not in node_classes()


@pytest.mark.parametrize(
    "code",
    [
        "from qbitsim.drivers.raw import RawNode",
        "from qbitsim.drivers import raw\nprint(isinstance(node, raw.RawNode))",
        "def f(node):\n    return type(node) is RawNode",
    ],
)
def test_a_use_is_found(code: str) -> None:
    assert used(ast.parse(code), annotations=False) == {"RawNode"}
    assert used(ast.parse(code), annotations=True) == set()


def test_an_annotation_is_told_from_a_use() -> None:
    code = "if TYPE_CHECKING:\n    from qbitsim.drivers.raw import RawNode\ndef f(a: RawNode) -> RawNode | None: ..."
    assert used(ast.parse(code), annotations=False) == set()
    assert used(ast.parse(code), annotations=True) == {"RawNode"}


def test_no_code_outside_drivers_knows_a_class_of_nodes() -> None:
    assert breaking(lambda module: used(tree_of(module), annotations=False), OUTSIDE) == {}
    others = [module for module in OUTSIDE if MODULES[module].parent != PACKAGE / "jobs"]
    assert breaking(lambda module: used(tree_of(module), annotations=True), others) == {}, (
        "a job may know the filter that it has put in itself, nobody else"
    )
