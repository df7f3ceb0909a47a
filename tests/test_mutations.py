"""The script that breaks modules on purpose finds what no test notices, and only that."""

from __future__ import annotations

import ast
from pathlib import Path

import mutations
import pytest

CLAMP = '''
def clamp(size: int) -> int:
    """At most 8."""
    if size > 8:
        return 8
    return size
'''


def test_a_survivor_is_told_apart_from_what_is_noticed() -> None:
    def passes(source: str) -> bool:
        names: dict[str, object] = {}
        exec(source, names)
        clamp = names["clamp"]
        return [clamp(size) for size in (7, 9)] == [7, 8]  # type: ignore[operator]

    survived = mutations.survivors(CLAMP, mutations.mutations(CLAMP), passes)
    assert [str(mutation) for mutation in survived] == ["4: size > 8  ->  (size >= 8)", "4: 8  ->  (7)"]


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
        ("def f(a: X[1] = b) -> X[2]:\n    'text'\n    assert a\n    raise a(1)", []),
    ],
)
def test_each_mutation_changes_one_thing_and_leaves_the_rest(source: str, broken: list[str]) -> None:
    def plain(text: str) -> str:
        return ast.unparse(ast.parse(text))

    found = [plain(each.applied(source)) for each in mutations.mutations(source)]
    assert found == [plain(each) for each in broken]


def test_the_tests_of_a_project_are_run_on_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    for name, text in {
        "qbitsim/sizes.py": "def fits(size):\n    return size < 5\n",
        "tests/test_sizes.py": "from qbitsim.sizes import fits\n\ndef test():\n    assert fits(3) and not fits(5)\n",
    }.items():
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    assert list(mutations.run(tmp_path, ["qbitsim/sizes.py"], ["tests"], None, 0)) == [
        "qbitsim/sizes.py:2: 5  ->  (4)",
        "2 of 3 noticed, 66 %",
    ]
