"""The shape of the package: who may import whom, what must not be imported at all, and what is exported.

Read from the syntax trees, so that an import inside a function counts too. Imports for type checkers only do not.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import qbitsim

PACKAGE = Path(qbitsim.__file__).parent
MODULES = {
    ".".join(("qbitsim", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}

LAYERS = (
    ("qbitsim.errors", "qbitsim.sizes", "qbitsim.profiles", "qbitsim.records"),
    ("qbitsim.engine",),
    ("qbitsim.block",),
    ("qbitsim.jobs",),
    ("qbitsim.qmp",),
    ("qbitsim.commands",),
    (
        "qbitsim.machine",
        "qbitsim.commands.control",
        "qbitsim.commands.control_disks",
        "qbitsim.commands.control_faults",
        "qbitsim.commands.control_life",
        "qbitsim.commands.control_texts",
        "qbitsim.controlled",
        "qbitsim.guest",
        "qbitsim.injection",
        "qbitsim.served",
        "qbitsim.state",
        "qbitsim.until",
        "qbitsim.watched",
    ),
    ("qbitsim",),
    ("qbitsim.qmp.session", "qbitsim.qmp.server", "qbitsim.qmp.sockets", "qbitsim.qmp.stdio"),
    (
        "qbitsim.testing",
        "qbitsim.history",
        "qbitsim.report",
        "qbitsim.shell",
        "qbitsim.tour",
        "qbitsim.web",
        "qbitsim.cli",
        "qbitsim.__main__",
    ),
)
"""From the bottom up. A module belongs to the entry that fits it most closely.

It may import from its own layer and those below.
"""

DOORS = {
    "qbitsim.served": {"qbitsim.testing.serving"},
    "qbitsim.watched": {"qbitsim.history.events", "qbitsim.history.history", "qbitsim.report.report"},
}
"""Who may import what from above, when asked: ``Machine.serve`` is at hand, but asyncio is not loaded before."""

ENTRIES = {entry: level for level, entries in enumerate(LAYERS) for entry in entries}
SURROUNDINGS = ("qbitsim.cli", "qbitsim.qmp.s", "qbitsim.shell", "qbitsim.testing", "qbitsim.web")
PURE = [name for name in MODULES if not name.startswith(SURROUNDINGS)]
BANNED_IN_THE_CORE = {"asyncio", "random", "select", "selectors", "socket", "subprocess", "threading", "time"}

SEEDED = {"qbitsim.engine.policies", "qbitsim.block.faults", "qbitsim.guest"}
"""Modules that draw, always from a ``random.Random`` with a seed of the caller's."""


def level(module: str) -> int:
    """The number of the module's layer."""
    if module in MODULES and MODULES[module].name == "__init__.py" and module in ENTRIES:
        return ENTRIES[module]
    prefix = module
    while prefix not in ENTRIES or (prefix == "qbitsim" and module != "qbitsim"):
        assert "." in prefix, f"{module} is in no layer"
        prefix = prefix.rpartition(".")[0]
    return ENTRIES[prefix]


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    yield node
    for child in ast.iter_child_nodes(node):
        if not _is_type_checking(child):
            yield from _walk(child)


@cache
def imports(path: Path) -> set[str]:
    """The modules that a module imports when it runs."""
    found = set()
    for node in _walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute"
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                found.add(below if below in MODULES else node.module or "")
    return found


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_its_own_layer_and_those_below(module: str) -> None:
    above = {
        name for name in imports(MODULES[module]) if name.split(".")[0] == "qbitsim" and level(name) > level(module)
    }
    assert above - DOORS.get(module, set()) == set()


@pytest.mark.parametrize("module", PURE)
def test_the_core_knows_no_clock_no_chance_and_no_socket(module: str) -> None:
    banned = BANNED_IN_THE_CORE - ({"random"} if module in SEEDED else set())
    assert {name.split(".")[0] for name in imports(MODULES[module])} & banned == set()


@pytest.mark.parametrize("module", sorted(SEEDED))
def test_whoever_draws_draws_from_a_seed(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text())
    calls = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not any(call.startswith("random.") and not call.startswith("random.Random(") for call in calls)
    assert not any(call in ("Random()", "random.Random()") for call in calls)


def test_bitarray_is_the_only_foreign_package_of_the_core() -> None:
    foreign = {
        name.split(".")[0]
        for module in MODULES
        if not module.startswith(("qbitsim.shell", "qbitsim.tour.keyboard", "qbitsim.testing", "qbitsim.web"))
        for name in imports(MODULES[module])
    } - set(sys.stdlib_module_names)
    assert foreign == {"bitarray", "qbitsim"}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_says_what_it_is_about_and_holds_no_tabs_and_no_private_places(module: str) -> None:
    text = MODULES[module].read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text))
    assert "\t" not in text
    for place in ("work", "opt", "root"):
        assert f"/{place}/" not in text


@pytest.mark.parametrize("module", MODULES)
def test_functions_have_at_most_60_lines(module: str) -> None:
    text = MODULES[module].read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno < 60, node.name


def test_importing_the_package_does_not_import_asyncio() -> None:
    program = "import sys, qbitsim; print(sorted({'asyncio', 'threading', 'socket'} & set(sys.modules)))"
    shown = subprocess.run(
        [sys.executable, "-S", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {program}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "asyncio" not in shown.stdout
    assert "socket" not in shown.stdout


def test_every_name_that_the_package_exports_exists_and_is_documented() -> None:
    assert {"ImageStore", "Machine", "QmpError", "UnsupportedError"} <= set(qbitsim.__all__)
    assert sorted(qbitsim.__all__) == list(qbitsim.__all__)
    for name in qbitsim.__all__:
        exported = getattr(qbitsim, name)
        assert isinstance(exported, str) or exported.__doc__
