"""Everything public says what it is."""

from __future__ import annotations

import ast

from syntax import breaking, tree_of

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


def test_every_public_name_has_a_docstring() -> None:
    assert breaking(lambda module: undocumented(tree_of(module), "")) == {}


def test_a_name_without_a_docstring_is_found() -> None:
    code = "class A:\n    'a'\n    def b(self): ...\n    def _c(self): ...\ndef d():\n    'd'\ndef e(): ..."
    assert undocumented(ast.parse(code), "") == ["A.b", "e"]
