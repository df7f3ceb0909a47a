"""The shape of the package: who may import whom, what must not be imported at all, and what is exported.

Read from the syntax trees, so that an import inside a function counts too, and one for annotations.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache

import pytest
from syntax import MODULES, PACKAGE, breaking, text_of, tree_of

import qbitsim

FLOORS: tuple[tuple[str, ...], ...] = (
    ("",),
    ("engine", "bits"),
    ("files",),
    ("qapi",),
    ("qmp",),
    ("images",),
    ("block",),
    ("copying", "nbd"),
    ("drivers",),
    ("devices", "jobs", "migration"),
    ("qemu_img", "qemu_io"),
    ("injection",),
    ("commands",),
    ("history", "serving"),
    ("control", "report"),
    ("machine",),
    ("programs", "terminal"),
    ("logs", "scenario"),
    ("shell", "tour", "web"),
    ("testing",),
    ("cli",),
)
"""The folders of the package, from the ground up; what stands in no folder is the ground.

A module may import from its own folder and from the floors below. Folders on one floor do not know each other.
"""

LEVELS = {folder: level for level, floor in enumerate(FLOORS) for folder in floor}
ROOF = ("qbitsim", "qbitsim.__main__")
"""The face of the package: what it hands on, it imports when it is asked for it."""

KNOTTED = {"copying", "devices", "drivers", "images", "injection", "jobs", "machine", "shell", "testing", "tour"}
"""The folders in which two modules know each other, one of them in its annotations alone."""

SURROUNDINGS = {"serving", "shell", "testing", "web", "cli"}
SEEDED = {"qbitsim.engine.policies", "qbitsim.files.faults", "qbitsim.injection.guest"}
"""Modules that draw, always from a ``random.Random`` with a seed of the caller's."""


def folder(module: str) -> str:
    """The folder of the package that a module stands in."""
    return MODULES[module].relative_to(PACKAGE).parts[0] if MODULES[module].parent != PACKAGE else ""


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Where a module reaches itself: all modules of each such knot (Tarjan's strongly connected components)."""
    found: list[list[str]] = []
    numbers: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []

    def visit(name: str) -> None:
        numbers[name] = lowest[name] = len(numbers)
        path.append(name)
        for other in sorted(graph[name]):
            if other not in numbers:
                visit(other)
            if other in path:
                lowest[name] = min(lowest[name], lowest[other])
        if lowest[name] == numbers[name]:
            knot = [path.pop()]
            while knot[-1] != name:
                knot.append(path.pop())
            if len(knot) > 1 or name in graph[name]:
                found.append(sorted(knot))

    for name in graph:
        if name not in numbers:
            visit(name)
    return found


PROCESSES = {"qbitsim.programs.process"}
"""Modules beside pure ones that belong to a process of its own."""

PURE = [name for name in MODULES if folder(name) not in SURROUNDINGS and name not in PROCESSES]
BANNED_IN_THE_CORE = {"asyncio", "random", "select", "selectors", "socket", "subprocess", "threading", "time"}


def may_import(module: str, other: str) -> bool:
    """Whether a module's place allows it to import another."""
    mine, theirs = folder(module), folder(other)
    return mine == theirs or LEVELS[theirs] < LEVELS[mine]


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _statements(tree: ast.AST, *, annotations: bool) -> Iterator[ast.AST]:
    """All that is no expression: no import is inside of one."""
    left = [tree]
    while left:
        node = left.pop()
        yield node
        children = [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr)]
        left += [child for child in children if annotations or not _is_type_checking(child)]


@cache
def imports(module: str, *, annotations: bool = False) -> frozenset[str]:
    """The modules that a module imports when it runs, inside functions too; and on request those of annotations."""
    found = set()
    for node in _statements(tree_of(module), annotations=annotations):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are absolute"
            for alias in node.names:
                below = f"{node.module}.{alias.name}"
                found.add(below if below in MODULES else node.module or "")
    return frozenset(found)


def test_every_folder_has_one_floor() -> None:
    assert {folder(module) for module in MODULES} == set(LEVELS)
    assert len(LEVELS) == sum(len(floor) for floor in FLOORS)


def test_a_module_imports_only_from_its_own_folder_and_the_floors_below() -> None:
    """Also for annotations: what is above is known by a protocol."""

    def from_above(module: str) -> list[str]:
        found = imports(module, annotations=True) & set(MODULES)
        return sorted(other for other in found if not may_import(module, other))

    assert breaking(from_above, set(MODULES) - set(ROOF)) == {}


def test_no_module_imports_itself_by_way_of_others() -> None:
    """When it runs, inside functions too; what is imported for annotations alone closes no circle."""
    assert circles({name: {*imports(name)} & set(MODULES) for name in MODULES}) == []


@pytest.mark.parametrize("name", sorted(set(LEVELS) - KNOTTED))
def test_the_modules_of_a_folder_do_not_know_each_other_in_a_circle(name: str) -> None:
    """Annotations count: where one of two has to come first, it knows the other one by a protocol."""
    mine = {module for module in MODULES if folder(module) == name}
    assert circles({module: mine & imports(module, annotations=True) for module in mine}) == []


def test_a_circle_is_found_and_a_module_beside_it_is_not_in_it() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set(), "e": {"e", "a"}}
    assert circles(graph) == [["b", "c"], ["e"]]


def test_the_core_knows_no_clock_no_chance_and_no_socket() -> None:
    def banned(module: str) -> set[str]:
        found = {name.split(".")[0] for name in imports(module)} & BANNED_IN_THE_CORE
        return found - {"random"} if module in SEEDED else found

    assert breaking(banned, PURE) == {}


TOUCHES_FILES = {"fcntl", "mmap", "pathlib", "shutil", "tempfile"}
TOUCHES_NOTHING = {"os.strerror", "os.fsencode", "os.fsdecode", "os.devnull"}
OF_THE_HOST = {"qbitsim.files.host", "qbitsim.files.fdsets"}
ABOVE_THE_MACHINE = {"programs", "report", "terminal", "tour"}
OTHER_FILES = {
    "qbitsim.commands.descriptors": {"os.close"},  # descriptors that a client has sent
    "qbitsim.commands.exports": {"os.close", "os.fstat"},
    "qbitsim.machine.talking": {"os.path"},  # of a text
    "qbitsim.recorded": {"open", "os.path"},  # files of the package
}


def test_only_the_tree_of_the_host_touches_files() -> None:
    def touches(module: str) -> set[str]:
        found = {name.split(".")[0] for name in imports(module)} & TOUCHES_FILES
        for node in ast.walk(tree_of(module)):
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os":
                found.add(ast.unparse(node))
            elif isinstance(node, ast.Call) and ast.unparse(node.func) == "open":
                found.add("open")
        return found - TOUCHES_NOTHING

    core = [module for module in PURE if folder(module) not in ABOVE_THE_MACHINE and module not in OF_THE_HOST]
    assert {module: found for module in core if (found := touches(module))} == OTHER_FILES


@pytest.mark.parametrize("module", sorted(SEEDED))
def test_whoever_draws_draws_from_a_seed(module: str) -> None:
    calls = [ast.unparse(node) for node in ast.walk(tree_of(module)) if isinstance(node, ast.Call)]
    assert not any(call.startswith("random.") and not call.startswith("random.Random(") for call in calls)
    assert not any(call in ("Random()", "random.Random()") for call in calls)


def test_bitarray_is_the_only_foreign_package_of_the_core() -> None:
    foreign = {
        name.split(".")[0]
        for module in MODULES
        if not module.startswith(("qbitsim.shell", "qbitsim.tour.keyboard", "qbitsim.testing", "qbitsim.web"))
        for name in imports(module)
    } - set(sys.stdlib_module_names)
    assert foreign == {"bitarray", "qbitsim"}


def test_a_module_says_what_it_is_about_and_holds_no_tabs_and_no_private_places() -> None:
    unwanted = ["\t", *(f"/{place}/" for place in ("work", "opt", "root"))]
    assert breaking(lambda module: text_of(module).strip() and not ast.get_docstring(tree_of(module))) == {}
    assert breaking(lambda module: [each for each in unwanted if each in text_of(module)]) == {}


def test_functions_have_at_most_60_lines() -> None:
    def too_long(module: str) -> list[str]:
        return [
            node.name
            for node in ast.walk(tree_of(module))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if (node.end_lineno or 0) - node.lineno >= 60
        ]

    assert breaking(too_long) == {}


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
