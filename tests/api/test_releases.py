"""Releases differ by named facts: nobody but their records compares them, and nobody else writes their numbers down.

Read from the syntax trees. What a command, an argument, a value, a chapter is declared with (``since="8.2"``) is no
comparison; a few modules evaluate it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest
from syntax import MODULES, breaking, tree_of

RECORDS = {"qbitsim.facts", "qbitsim.profiles"}
"""What the facts are, and the releases themselves."""

EVALUATORS = {
    "qbitsim.drivers.not_emulated",
    "qbitsim.qapi.registry",
    "qbitsim.qapi.shapes",
    "qbitsim.cli.reference",
    "qbitsim.commands.hmp.listing",
    "qbitsim.programs.qemu_system.options",
    "qbitsim.tour.guide",
    "qbitsim.tour.player",
}
"""Modules that evaluate the ``since`` and ``until`` of what is declared.

That is: commands and events, types, drivers, topics of the human monitor's ``info``, options of command lines,
chapters.
"""

DECLARED_BY_RELEASE = {"qbitsim.qapi.not_emulated", "qbitsim.programs.qemu_system.options"}
"""Lists of commands and options by the release that they came or went with; each becomes a ``since`` or ``until``."""

RELEASE = re.compile(r"\d+\.\d+")
QCOW2_LEVELS = {"0.10", "1.1"}
"""Values of ``compat``: versions of the format, not of QEMU."""


def is_release(node: ast.AST | None) -> bool:
    """Whether it is the number of a release, written out."""
    return (
        isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and RELEASE.fullmatch(node.value) is not None
        and node.value not in QCOW2_LEVELS
    )


def is_identity_of_a_release(node: ast.AST) -> bool:
    """``x.version`` or a part of it, or the name of a profile: ``x.profile.name``."""
    if isinstance(node, ast.Subscript):
        node = node.value
    if not isinstance(node, ast.Attribute):
        return False
    owner = ast.unparse(node.value).lower()
    return node.attr == "version" or (node.attr == "name" and owner.endswith(("profile", "release")))


def compared(tree: ast.AST) -> Iterator[str]:
    """Comparisons of releases, and tables and defaults that stand for one."""
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        sides: list[ast.AST] = []
        match node:
            case ast.Compare():
                sides = [node.left, *node.comparators]
                parts = [part for side in sides for part in ast.walk(side)]
            case ast.Dict():
                parts = [*node.keys]
            case ast.Subscript():
                parts = [node.slice]
            case ast.MatchValue():
                parts = [node.value]
            case ast.arguments():
                parts = [*node.defaults, *node.kw_defaults]
            case ast.Call():
                parts = [*node.args]
        if any(is_release(part) for part in parts) or any(is_identity_of_a_release(side) for side in sides):
            yield ast.unparse(node)


def asks(tree: ast.AST) -> bool:
    """Whether ``offers`` is taken from a profile, called or not."""
    return any(isinstance(node, ast.Attribute) and node.attr == "offers" for node in ast.walk(tree))


def asked_for_a_number(tree: ast.AST) -> list[str]:
    """Calls of ``offers`` that bring a number of their own instead of a declaration's."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return [
        ast.unparse(call)
        for call in calls
        if ast.unparse(call.func).endswith("offers") and any(is_release(part) for part in ast.walk(call))
    ]


def test_nobody_compares_releases() -> None:
    others = sorted(set(MODULES) - RECORDS - DECLARED_BY_RELEASE)
    assert breaking(lambda module: list(compared(tree_of(module))), others) == {}


def test_only_evaluators_of_declarations_ask_what_a_release_offers() -> None:
    assert {module for module in MODULES if asks(tree_of(module))} - {"qbitsim.facts"} == EVALUATORS


def test_an_evaluator_asks_for_what_is_declared() -> None:
    assert breaking(lambda module: asked_for_a_number(tree_of(module)), sorted(EVALUATORS)) == {}


# -- that the above finds what it is to find


@pytest.mark.parametrize(
    "text",
    [
        "profile.name == '7.2'",
        "release in ('7.2', '10.0')",
        "self.machine.profile.name != other",
        "context.profile.version < (8, 0)",
        "(8, 0) <= profile.version[:2]",
        "STYLES = {'10.0': 1}",
        "STYLES['2.5'] = 1",
        "def run(version='10.0'): pass",
        "def run(*, version='10.0'): pass",
        "Machine('10.0')",
        "match name:\n    case '7.2': pass",
    ],
)
def test_a_comparison_is_found(text: str) -> None:
    assert list(compared(ast.parse(text)))


@pytest.mark.parametrize(
    "text",
    [
        "arg(since='10.0', until='11.0')",
        "enum_values(since={'file': '8.0'}, refused={'luks': ('2.7', None)})",
        "image.compat == '0.10'",
        "node.name == 'node0'",
        "machine.profile is other.profile",
        "f'QEMU {profile.name}'",
        "getattr(arguments, 'profile', DEFAULT_PROFILE.name) in PROFILES",
    ],
)
def test_a_declaration_is_none(text: str) -> None:
    assert list(compared(ast.parse(text))) == []


@pytest.mark.parametrize("text", ["profile.offers('4.0')", "offers(since or '2.9', None)"])
def test_a_number_of_ones_own_is_found(text: str) -> None:
    assert asked_for_a_number(ast.parse(text)) == [text]
    assert asked_for_a_number(ast.parse("profile.offers(each.since, each.until)")) == []
