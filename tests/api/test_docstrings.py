"""Everything public says what it is."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import qbitsim

PACKAGE = Path(qbitsim.__file__).parent
PATHS = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def undocumented(node: ast.Module | ast.ClassDef, prefix: str) -> list[str]:
    """The public classes, functions and methods below ``node`` that have no docstring.

    A setter is documented where its property is, an overload where its function is.
    """
    names = []
    for child in node.body:
        if not isinstance(child, Definition) or child.name.startswith("_"):
            continue
        decorators = {ast.unparse(each) for each in child.decorator_list}
        if ast.get_docstring(child) is None and not decorators & {f"{child.name}.setter", "overload"}:
            names.append(prefix + child.name)
        if isinstance(child, ast.ClassDef):
            names += undocumented(child, f"{prefix}{child.name}.")
    return names


@pytest.mark.parametrize("path", PATHS)
def test_every_public_name_has_a_docstring(path: str) -> None:
    assert undocumented(ast.parse(PATHS[path].read_text()), "") == []
