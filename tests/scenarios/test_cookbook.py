"""The cookbook is complete, and its recipes stay short."""

from __future__ import annotations

import ast
import re
from pathlib import Path

RECIPES = {
    node.name: node
    for path in sorted(Path(__file__).parent.glob("test_*.py"))
    for node in ast.parse(path.read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef) and re.match(r"test_\d\d_", node.name)
}


def test_each_of_the_31_scenarios_has_a_recipe():
    assert sorted({int(name[5:7]) for name in RECIPES}) == list(range(1, 32))


def test_each_recipe_names_its_source_and_has_at_most_25_lines():
    for name, node in RECIPES.items():
        assert (ast.get_docstring(node) or "").startswith("Source: "), name
        assert node.end_lineno - node.lineno < 25, name
