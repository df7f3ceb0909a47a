"""Break modules of qbitsim on purpose, one small mutation at a time, and tell which breaks no test notices.

::

    python -m tests.mutations qbitsim/copying/block_copy.py --tests tests/copying --limit 20 --seed 1

A mutation swaps comparisons (``<`` and ``<=``, ``==`` and ``!=``, ``is`` and ``is not``, ``in`` and ``not in``),
``and`` and ``or``, ``+`` and ``-``, ``True`` and ``False``, moves a number by one, turns a condition round, or removes
a statement. ``--limit`` of them are drawn from all there are, the same ones for the same seed. Each is written into a
copy of the project in a temporary folder, where pytest runs the given tests and stops at the first failure; a run that
takes five times as long as the one without a mutation, and ten seconds more, counts as noticed too. What survives is
printed with its place, what it was and what it became, then the share that was noticed; the exit status is 1 if
anything survived.

What no test can notice is no survivor, so nothing is mutated in annotations, docstrings, ``__slots__``, ``assert``,
``raise``, the lines of ``TYPE_CHECKING`` and ``__repr__``. A survivor asks for a test or for less code.
"""

from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("qbitsim", "tests", "benchmarks", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in")

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
UNTOUCHED = (ast.Assert, ast.Raise, ast.Import, ast.ImportFrom, ast.JoinedStr)
UNTOUCHED_NAMES = ("__repr__", "__slots__", "TYPE_CHECKING")
DECLARED = ("annotation", "returns", "decorator_list")


@dataclass(frozen=True)
class Mutation:
    """One break of a module.

    :ivar start: where it begins: the line, from 1, and the byte in the line, from 0.
    :ivar end: just behind it, likewise.
    :ivar before: the source that is there.
    :ivar after: the source that takes its place.
    """

    start: tuple[int, int]
    end: tuple[int, int]
    before: str
    after: str

    def __str__(self) -> str:
        before, after = (" ".join(text.split()) for text in (self.before, self.after))
        return f"{self.start[0]}: {before}  ->  {after}"

    def applied(self, source: str) -> str:
        """The source with the break in it."""
        lines = source.encode().splitlines(keepends=True)
        (first, begin), (last, stop) = self.start, self.end
        lines[first - 1 : last] = [lines[first - 1][:begin] + self.after.encode() + lines[last - 1][stop:]]
        return b"".join(lines).decode()


def mutations(source: str) -> list[Mutation]:
    """All the breaks of a module, from its first line to its last."""
    found = []
    for node in _behaviour(ast.parse(source)):
        for changed, after in _changes(node):
            assert changed.end_lineno is not None
            assert changed.end_col_offset is not None
            start, end = (changed.lineno, changed.col_offset), (changed.end_lineno, changed.end_col_offset)
            found.append(Mutation(start, end, ast.get_source_segment(source, changed) or "", after))
    return sorted(found, key=lambda mutation: mutation.start)


def _behaviour(node: ast.AST) -> Iterator[ast.AST]:
    """What is below a node and changes what the module does."""
    for field, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) and field not in DECLARED else [value]:
            if field not in DECLARED and isinstance(child, ast.AST) and not _is_untouched(child):
                yield child
                yield from _behaviour(child)


def _is_untouched(node: ast.AST) -> bool:
    match node:
        case ast.Expr(value=ast.Constant()):
            return True  # a docstring
        case ast.FunctionDef(name=name):
            return name in UNTOUCHED_NAMES
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.If(test=ast.Name(id=name)):
            return name in UNTOUCHED_NAMES
    return isinstance(node, UNTOUCHED)


def _changes(node: ast.AST) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """What of the node is replaced, and by what."""
    match node:
        case ast.Compare():
            for place, operator in enumerate(node.ops):
                yield node, _with(node, ops=[*node.ops[:place], COMPARISONS[type(operator)](), *node.ops[place + 1 :]])
        case ast.Constant(value=bool(truth)):
            yield node, repr(not truth)
        case ast.Constant(value=int(number)):
            yield node, repr(number + 1)
            yield node, f"({number - 1})"
        case ast.BoolOp():
            yield node, _with(node, op=ast.And() if isinstance(node.op, ast.Or) else ast.Or())
        case ast.BinOp(op=ast.Add() | ast.Sub()):
            yield node, _with(node, op=ast.Sub() if isinstance(node.op, ast.Add) else ast.Add())
        case ast.UnaryOp(op=ast.Not()):
            yield node, f"({ast.unparse(node.operand)})"
        case ast.If(test=ast.Name() | ast.Attribute() | ast.Call() | ast.NamedExpr() as test):
            yield test, f"not ({ast.unparse(test)})"
        case ast.IfExp(test=ast.Name() | ast.Attribute() | ast.Call() as test):
            yield test, f"(not {ast.unparse(test)})"
    if isinstance(node, ast.stmt) and _is_removable(node):
        yield node, "pass"


def _is_removable(node: ast.stmt) -> bool:
    """Whether the module is still whole without the statement, so that only a look at what it does can tell."""
    match node:
        case ast.Expr() | ast.AugAssign() | ast.Delete() | ast.Continue() | ast.Break() | ast.Return(value=None):
            return True
        case ast.Assign():
            return all(isinstance(target, (ast.Attribute, ast.Subscript)) for target in node.targets)
    return False


def _with(node: ast.expr, **fields: object) -> str:
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return f"({ast.unparse(other)})"


def survivors(source: str, chosen: Sequence[Mutation], passes: Callable[[str], bool]) -> Iterator[Mutation]:
    """The mutations with which everything passes as if nothing had happened."""
    for mutation in chosen:
        if passes(mutation.applied(source)):
            yield mutation


class Copy:
    """A copy of the project in a folder of its own, whose modules can be broken.

    :param tests: files and folders of tests that are run.
    :raises SystemExit: they fail as it is.
    """

    def __init__(self, root: Path, folder: Path, tests: Sequence[str]) -> None:
        self.folder = folder
        self.tests = tests
        for name in COPIED:
            if (root / name).is_dir():
                shutil.copytree(root / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif (root / name).exists():
                shutil.copy(root / name, folder / name)
        start = time.monotonic()
        ran = self._run(None, PYTHONDONTWRITEBYTECODE="")
        if ran.returncode:
            raise SystemExit(f"Without a mutation the tests fail already:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
        self.patience = 10 + 5 * (time.monotonic() - start)

    def passes(self, module: str, source: str) -> bool:
        """Whether the tests pass with that source in the place of the module."""
        path = self.folder / module
        original = path.read_text()
        path.write_text(source)
        # Bytecode goes by the second and the size of its source, which a mutation may leave as they were.
        Path(cache_from_source(str(path))).unlink(missing_ok=True)
        try:
            return self._run(self.patience, PYTHONDONTWRITEBYTECODE="1").returncode == 0
        except subprocess.TimeoutExpired:
            return False
        finally:
            path.write_text(original)

    def _run(self, patience: float | None, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(self.folder), **settings}
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *self.tests]
        return subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=patience, check=False
        )


def run(root: Path, modules: Sequence[str], tests: Sequence[str], limit: int | None, seed: int) -> Iterator[str]:
    """Break each module in turn; the lines to print, the share that was noticed last.

    :param modules: paths from ``root``.
    :param limit: how many mutations of each module, None for all.
    """
    drawn = random.Random(seed)
    tried = alive = 0
    with tempfile.TemporaryDirectory() as folder:
        project = Copy(root, Path(folder), tests)
        for module in modules:
            source = (root / module).read_text()
            chosen = mutations(source)
            if limit is not None and limit < len(chosen):
                chosen = sorted(drawn.sample(chosen, limit), key=lambda mutation: mutation.start)
            tried += len(chosen)
            for survivor in survivors(source, chosen, lambda broken: project.passes(module, broken)):  # noqa: B023
                alive += 1
                yield f"{module}:{survivor}"
    yield f"{tried - alive} of {tried} noticed, {100 * (tried - alive) // max(tried, 1)} %"


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; 1 if anything survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="+", help="paths of modules, from the root of the project")
    parser.add_argument("--tests", nargs="+", required=True, help="tests to run: folders, files, or names of tests")
    parser.add_argument("--limit", type=int, help="mutations for each module; all by default")
    parser.add_argument("--seed", type=int, default=0, help="which ones are drawn")
    options = parser.parse_args(arguments)
    lines = 0
    for line in run(ROOT, options.modules, options.tests, options.limit, options.seed):
        print(line, flush=True)  # noqa: T201
        lines += 1
    return int(lines > 1)


if __name__ == "__main__":
    sys.exit(main())
