"""The script that breaks modules on purpose finds what no test notices, and only that."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import mutations
import pytest
from mutations import changes


@pytest.mark.parametrize(
    ("source", "broken"),
    [
        ("x = a < b <= c", ["x = a <= b <= c", "x = a < b < c"]),
        ("x = a is not b", ["x = a is b"]),
        ("x = 'é' + f'{a + 1}'", ["x = 'é' - f'{a + 1}'"]),
        ("x = a and not b", ["x = a or not b", "x = a and b"]),
        ("x = True", ["x = False"]),
        ("a.b = c", ["pass"]),
        ("if a:\n    b()", ["if not a:\n    b()", "if a:\n    pass"]),
        ("x = zip(a, b, strict=True)", []),
        ("del a\ndel b.c", ["del a\npass"]),
        ("def f(a: X[1] = b) -> X[2]:\n    'text'\n    assert a\n    raise a(1)", []),
    ],
)
def test_each_mutation_changes_one_thing_and_leaves_the_rest(source: str, broken: list[str]) -> None:
    def plain(text: str) -> str:
        return ast.unparse(ast.parse(text))

    found = [plain(each.applied(source)) for each in changes.mutations(source)]
    assert found == [plain(each) for each in broken]


ROOT = Path(mutations.__file__).parents[2]

SIZES = """
LARGEST = 8

def clamp(size: int) -> int:
    if size > LARGEST:
        return LARGEST
    return size

def unused() -> int:
    return 5
"""
TESTS = """
from sizes import clamp

def test_clamp():
    assert [clamp(size) for size in (7, 9)] == [7, 8]
"""


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Break a module of a project of its own."""
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.mutations", "sizes.py", "--tests", "test_sizes.py", *options]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_a_survivor_is_told_apart_from_what_is_noticed(tmp_path: Path) -> None:
    for name, text in {"sizes.py": SIZES, "test_sizes.py": TESTS}.items():
        (tmp_path / name).write_text(text)
    ran = run(tmp_path, "--known", "known")
    assert ran.stdout.splitlines() == [
        "sizes.py:5: size > LARGEST -> (size >= LARGEST)",
        "sizes.py:10: 5 -> 6",
        "sizes.py:10: 5 -> (4)",
        "sizes.py: 2 of 5 noticed, 40.0 %",
        "all: 2 of 5 noticed, 40.0 %",
    ], ran.stderr
    assert (ran.returncode, (tmp_path / "known").exists()) == (1, True)


def test_what_cannot_be_imported_is_no_part_of_the_share(tmp_path: Path) -> None:
    (tmp_path / "sizes.py").write_text("KNOWN = {'s', 'm'}\nif 'l' in KNOWN:\n    raise KeyError\n" + SIZES)
    (tmp_path / "test_sizes.py").write_text(TESTS)
    ran = run(tmp_path)
    assert ran.stdout.splitlines()[-1] == "all: 2 of 5 noticed, 40.0 %; 1 cannot be imported", ran.stderr


def test_a_mistake_in_the_tests_is_told(tmp_path: Path) -> None:
    (tmp_path / "sizes.py").write_text(SIZES)
    (tmp_path / "test_sizes.py").write_text("import nosuch\n")
    ran = run(tmp_path)
    assert (ran.stdout, ran.returncode) == ("", 1)
    assert "No module named 'nosuch'" in ran.stderr


def test_a_draw_is_the_same_each_time_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path = "qbitsim/engine/scheduler.py"
    drawn = [changes.draw(path, 10, seed) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert [each.start for each in drawn[0]] == sorted(each.start for each in drawn[0])
    assert len(drawn[0]) == 10


def test_a_statement_is_known_by_the_line_of_the_function_that_it_is_in() -> None:
    found = changes.mutations(
        "x = 1\nclass C:\n    y = 2\n    def f(self, z=3):\n        if z:\n            return 4\n"
    )
    assert {each.before: each.statement for each in found} == {"1": None, "2": None, "3": None, "z": 5, "4": 6}


def test_what_does_the_same_is_still_there() -> None:
    for path, same in changes.SAME.items():
        source = (ROOT / path).read_text()
        lines = source.splitlines()
        found = {(lines[each.start[0] - 1].strip(), each.change) for each in changes.mutations(source)}
        assert same.keys() <= found
