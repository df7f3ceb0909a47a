"""The syntax trees of all modules of the package, read once; a rule names the modules that break it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TypeVar

import qbitsim

_T = TypeVar("_T")

PACKAGE = Path(qbitsim.__file__).parent
MODULES = {
    ".".join(("qbitsim", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


@cache
def text_of(module: str) -> str:
    return MODULES[module].read_text()


@cache
def tree_of(module: str) -> ast.Module:
    return ast.parse(text_of(module))


def breaking(rule: Callable[[str], _T], modules: Iterable[str] = MODULES) -> dict[str, _T]:
    """What a rule finds in the modules: those in which it finds nothing are left out."""
    return {module: found for module in modules if (found := rule(module))}
