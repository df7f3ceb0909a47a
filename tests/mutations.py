"""Break modules of qbitsim on purpose, one small mutation at a time, and tell which breaks no test notices.

::

    python -m tests.mutations --limit 20 --seed 1
    python -m tests.mutations qbitsim/copying/block_copy.py --tests tests/copying tests/jobs

A mutation swaps comparisons (``<`` and ``<=``, ``==`` and ``!=``, ``is`` and ``is not``, ``in`` and ``not in``),
``and`` and ``or``, ``+`` and ``-``, ``True`` and ``False``, moves a number by one, turns a condition round, or removes
a statement. ``--limit`` of them are drawn of each module, the same ones for the same seed. Without names of modules,
they are those that dirty bitmaps and the copying of what is dirty are made of.

How it works: pytest collects the tests once. A first process runs them all and writes down how long each takes and
which statements of the modules it reaches. For each mutation another process puts the broken function in the place of
the real one and runs the tests that reach the statement, first those that noticed most up to then, then those in the
folder of the module, the quick ones before the slow ones, until the first failure or until they have taken ``--budget``
seconds. What runs once, when a module is imported, is broken while a process of its own imports everything. A test that
takes five times as long as without the mutation, and two seconds more, has noticed it, too.

What survives is printed with its place, what it was and what it became, then the share of each module that was noticed
and that of all; the exit status is 1 if anything survived.

What no test can notice is no survivor, so nothing is mutated in annotations, docstrings, ``__slots__``, ``assert``,
``raise``, the lines of ``TYPE_CHECKING`` and ``__repr__``, nor what :data:`QUICK_WAYS` names. A survivor asks for a
test or for less code.
"""

from __future__ import annotations

import argparse
import ast
import copy
import gc
import importlib
import io
import os
import pickle
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, FunctionType
from typing import NoReturn

import pytest

MODULES = ("qbitsim/block/bitmap.py", "qbitsim/bits", "qbitsim/block/node.py", "qbitsim/copying", "qbitsim/jobs", "qbitsim/engine")
TESTS = ("tests/bits", "tests/block", "tests/copying", "tests/engine", "tests/jobs", "tests/commands", "tests/drivers", "tests/machine/test_machine.py", "tests/machine/test_causing_failures.py", "tests/stateful", "tests/conformance/test_recorded.py", "tests/history", "tests/control", "tests/injection", "tests/migration")
"""What is fast, runs in the process of pytest and uses these modules."""

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
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Mutation:
    """One break of a module.

    :ivar start: where it begins: the line, from 1, and the byte in the line, from 0.
    :ivar end: just behind it, likewise.
    :ivar before: the source that is there.
    :ivar after: the source that takes its place.
    :ivar statement: the line of the statement of a function that it is in, None if that runs when it is imported.
    """

    start: tuple[int, int]
    end: tuple[int, int]
    before: str
    after: str
    statement: int | None = None

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
    for node, statement in _behaviour(ast.parse(source), None):
        for changed, after in _changes(node):
            assert changed.end_lineno is not None
            assert changed.end_col_offset is not None
            start, end = (changed.lineno, changed.col_offset), (changed.end_lineno, changed.end_col_offset)
            found.append(Mutation(start, end, ast.get_source_segment(source, changed) or "", after, statement))
    return sorted(found, key=lambda mutation: mutation.start)


def _behaviour(node: ast.AST, statement: int | None) -> Iterator[tuple[ast.AST, int | None]]:
    """What is below a node and changes what the module does, with the statement of a function that it is in."""
    for field, value in ast.iter_fields(node):
        runs_later = statement is not None or (field == "body" and isinstance(node, FUNCTIONS))
        for child in value if isinstance(value, list) and field not in DECLARED else [value]:
            if field not in DECLARED and isinstance(child, ast.AST) and not _is_untouched(child):
                own = child.lineno if runs_later and isinstance(child, ast.stmt) else statement
                yield child, own
                yield from _behaviour(child, own)


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



class Functions:
    """The functions of a module that have been made, whose code can be replaced by that of another source.

    :param path: of the module, from the folder that the process runs in.
    """

    def __init__(self, path: str) -> None:
        module = importlib.import_module(module_name(path))
        assert module.__file__ == str(Path(path).absolute()), f"another copy is imported: {module.__file__}"
        self._names = module.__dict__
        self._file = module.__file__
        self.source = Path(path).read_text()
        self._codes = _codes(compile(self.source, self._file, "exec"))
        self._made = [each for each in gc.get_objects() if _is_of(each, self._file)]

    def replace(self, source: str | ast.Module) -> bool:
        """Take their code from that source; False, and nothing has changed, if one of them would not do with it."""
        new = _codes(compile(source, self._file, "exec"))
        place = {
            (name, old.co_firstlineno): replacement
            for name, codes in self._codes.items()
            for old, replacement in zip(codes, new.get(name, []), strict=False)
        }
        pairs = [
            (function, place[key])
            for function in self._made
            if (key := (function.__code__.co_qualname, function.__code__.co_firstlineno)) in place
        ]
        if any(function.__code__.co_freevars != code.co_freevars for function, code in pairs):
            return False
        for function, code in pairs:
            function.__code__ = code
        return True

    def report(self, reached: Callable[[int], None]) -> None:
        """Let each statement of theirs, before it runs, tell its line."""
        tree = ast.parse(self.source)
        for node in list(ast.walk(tree)):
            for field in ("body", "orelse", "finalbody"):
                statements = getattr(node, field, None)
                if isinstance(statements, list) and not isinstance(node, (ast.Module, ast.ClassDef)):
                    setattr(node, field, [part for each in statements for part in (_telling(each), each)])
        self._names[REACHED] = reached
        assert self.replace(ast.fix_missing_locations(tree))


REACHED = "__reached__"


def _telling(statement: ast.stmt) -> ast.stmt:
    call = ast.Call(ast.Name(REACHED, ast.Load()), [ast.Constant(statement.lineno)], [])
    return ast.copy_location(ast.Expr(call), statement)


def _codes(code: CodeType) -> dict[str, list[CodeType]]:
    """The code of the functions in some code, by their qualified name."""
    found: dict[str, list[CodeType]] = {}
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found.setdefault(constant.co_qualname, []).append(constant)
            for name, inner in _codes(constant).items():
                found.setdefault(name, []).extend(inner)
    return found


def _is_of(thing: object, file: str) -> bool:
    return isinstance(thing, FunctionType) and thing.__code__.co_filename == file


def module_name(path: str) -> str:
    """What a module is imported by."""
    return path.removesuffix(".py").replace("/", ".")


class BrokenImport(MetaPathFinder, SourceFileLoader):
    """Imports one module from another source than that of its file."""

    def __init__(self, path: str, source: str) -> None:
        super().__init__(module_name(path), str(Path(path).absolute()))
        self._source = source

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """What the machinery of imports asks first."""
        return spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        """The code of the broken module."""
        return compile(self._source, self.path, "exec", dont_inherit=True)  # type: ignore[no-any-return]



@dataclass(frozen=True)
class Ended:
    """A process has ended: with 0 if it came to the end of its work."""

    status: int


def in_process(work: Callable[[Callable[[object], None]], None]) -> Iterator[object]:
    """Do some work in a process of its own: what it tells, one after the other, and :class:`Ended` last."""
    heard, told = os.pipe()
    process = os.fork()
    if not process:
        os.close(heard)
        with os.fdopen(told, "wb", buffering=0) as pipe:
            _work(work, pipe)
    os.close(told)
    with os.fdopen(heard, "rb") as pipe:
        while True:
            try:
                yield pickle.load(pipe)
            except (EOFError, pickle.UnpicklingError):  # it may be killed while it tells something
                break
    yield Ended(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))


def _work(work: Callable[[Callable[[object], None]], None], pipe: io.RawIOBase) -> NoReturn:
    status = 1
    try:
        work(lambda said: pipe.write(pickle.dumps(said)))
        status = 0
    except BaseException:  # noqa: BLE001 - it is told
        pipe.write(pickle.dumps(traceback.format_exc()))
    finally:
        os._exit(status)


@dataclass(frozen=True)
class Test:
    """What is known of a test that passes.

    :ivar seconds: of a processor that it takes.
    :ivar reached: the lines of the statements that it reaches, by module.
    """

    name: str
    seconds: float
    reached: dict[str, frozenset[int]]

    def reaches(self, path: str, mutation: Mutation) -> bool:
        """Whether it runs the statement, or any of the module if the mutation is in none of a function."""
        lines = self.reached.get(path, frozenset())
        return bool(lines) if mutation.statement is None else mutation.statement in lines


class Session:
    """A session of pytest that collects tests and gives them to somebody, instead of running them.

    :param use: gets the tests by their names.
    :param broken: a module that is broken while it is imported.
    """

    def __init__(
        self, use: Callable[[dict[str, pytest.Item]], None], broken: BrokenImport | None = None
    ) -> None:
        self._use = use
        self._broken = broken

    @pytest.hookimpl(tryfirst=True)
    def pytest_load_initial_conftests(self) -> None:
        """Break the module, before anything imports it and after pytest has seen to its own way of importing."""
        if self._broken is not None:
            sys.meta_path.insert(0, self._broken)

    def pytest_collection(self) -> None:
        """Let Hypothesis stop at the first failure that it finds."""
        import hypothesis  # noqa: PLC0415  (its plugin of pytest must come first)

        phases = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile("mutations", hypothesis.settings(phases=phases))
        hypothesis.settings.load_profile("mutations")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Take the place of pytest's own loop."""
        if session.testsfailed:
            raise session.Interrupted("not all tests can be collected")
        self._use({item.nodeid: item for item in session.items})
        return True

    def run(self, tests: Sequence[str]) -> None:
        """Collect these tests, files and folders.

        :raises RuntimeError: pytest has failed; the text is what it said.
        """
        with tempfile.TemporaryFile() as said:
            for stream in (1, 2):
                os.dup2(said.fileno(), stream)
            status = pytest.main(["-q", "-p", "no:cacheprovider", *tests], plugins=[self])
            if status:
                said.seek(0)
                raise RuntimeError(said.read().decode()[-4000:])


class Runner:
    """Runs tests one by one, and hears from pytest how they end."""

    def __init__(self) -> None:
        self._passed = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A part of a test has ended."""
        self._passed &= report.passed

    def run(self, items: Sequence[pytest.Item], patience: Callable[[str], float]) -> Iterator[tuple[str, bool]]:
        """Run tests in turn: the name of each before it runs, then whether it has passed; False if it was skipped.

        :param patience: how many seconds of a processor a test may take; more end the process.
        """
        items[0].config.pluginmanager.register(self)
        for item, following in zip(items, [*items[1:], None], strict=True):
            signal.setitimer(signal.ITIMER_PROF, patience(item.nodeid))
            signal.setitimer(signal.ITIMER_REAL, 30 + 10 * patience(item.nodeid))
            self._passed = True
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
            yield item.nodeid, self._passed


def survey(items: dict[str, pytest.Item], modules: dict[str, Functions]) -> Iterator[Test]:
    """Run all tests; those that pass, with what they reach."""
    reached: dict[str, set[int]] = {path: set() for path in modules}
    for path, functions in modules.items():
        functions.report(reached[path].add)
    start = time.process_time()
    for name, passed in Runner().run(list(items.values()), lambda _name: 600):
        end = time.process_time()
        if passed:
            yield Test(name, end - start, {path: frozenset(lines) for path, lines in reached.items() if lines})
        for lines in reached.values():
            lines.clear()
        start = end


class Campaign:
    """Breaks modules and tells what is noticed.

    :param chosen: the mutations of each module, which is a path from the folder that the process runs in.
    :param budget: seconds of a processor that the tests may take for a mutation, if all goes well.
    :param known: what is known of tests from before; they are not run once more to find out.
    """

    def __init__(
        self, chosen: dict[str, Sequence[Mutation]], tests: Sequence[str], budget: float, known: Iterable[Test] = ()
    ) -> None:
        self._chosen = chosen
        self._tests = tests
        self._budget = budget
        self._known = {test.name: test for test in known}
        self._noticed_by: Counter[tuple[str, str]] = Counter()

    @property
    def known(self) -> list[Test]:
        """What is known of the tests."""
        return list(self._known.values())

    def run(self) -> Iterator[tuple[str, Mutation, bool]]:
        """Try each mutation: its module, and whether it was noticed.

        :raises SystemExit: the tests cannot be collected, or something else has failed.
        """
        left = []
        known, self._known = self._known, {}
        for said in in_process(lambda tell: Session(lambda items: self._try_all(known, items, tell)).run(self._tests)):
            match said:
                case Test() as test:
                    self._known[test.name] = test
                case (str() as path, Mutation() as mutation, None):
                    left.append((path, mutation))
                case tuple():
                    yield said
                case str():
                    raise SystemExit(said)
        for path, mutation in left:
            yield path, mutation, self._is_noticed_in_import(path, mutation)

    def _try_all(self, known: dict[str, Test], items: dict[str, pytest.Item], tell: Callable[[object], None]) -> None:
        """Tell what is known of the tests, then of each mutation whether it was noticed: None if that is to be seen."""
        modules = {path: Functions(path) for path in self._chosen}
        self._known = {name: known[name] for name in items if name in known}
        new = {name: item for name, item in items.items() if name not in known}
        for test in self._known.values():
            tell(test)
        for said in in_process(lambda tell_us: [tell_us(test) for test in survey(new, modules)]) if new else ():
            if isinstance(said, str):
                raise RuntimeError(said)
            if isinstance(said, Test):
                tell(said)
                self._known[said.name] = said
        for path, chosen in self._chosen.items():
            for mutation in chosen:
                tell((path, mutation, self._is_noticed(items, modules[path], path, mutation)))

    def _is_noticed(
        self, items: dict[str, pytest.Item], functions: Functions, path: str, mutation: Mutation
    ) -> bool | None:
        if mutation.statement is None:
            return None
        names = self._tests_for(path, mutation)

        def work(tell: Callable[[object], None]) -> None:
            if not functions.replace(mutation.applied(functions.source)):
                tell(None)
            else:
                self._run_to_failure([items[name] for name in names], tell)

        return bool(names) and self._verdict(path, work)

    def _is_noticed_in_import(self, path: str, mutation: Mutation) -> bool:
        names = self._tests_for(path, mutation)

        def work(tell: Callable[[object], None]) -> None:
            broken = BrokenImport(path, mutation.applied(Path(path).read_text()))
            signal.setitimer(signal.ITIMER_PROF, 120)
            Session(lambda items: self._run_to_failure([items[name] for name in names], tell), broken).run(names)

        return bool(names) and bool(self._verdict(path, work))

    def _verdict(self, path: str, work: Callable[[Callable[[object], None]], None]) -> bool | None:
        """Whether the tests that a process tells before they run notice something; None if it tells that."""
        *said, ended = in_process(work)
        if said == [None]:
            return None
        assert isinstance(ended, Ended)
        if ended.status:
            self._noticed_by[path, next((name for name in reversed(said) if name in self._known), "")] += 1
        return ended.status != 0

    def _run_to_failure(self, items: Sequence[pytest.Item], tell: Callable[[object], None]) -> None:
        for name, passed in Runner().run(items, lambda name: 2 + 5 * self._known[name].seconds):
            if not passed:
                tell(name)
                os._exit(1)

    def _tests_for(self, path: str, mutation: Mutation) -> list[str]:
        """The tests that reach the statement, or else anything of the module, in the order in which they are run."""
        home = f"tests/{Path(path).parent.name}/"
        reaching = [test for test in self._known.values() if test.reaches(path, mutation)]
        reaching.sort(key=lambda test: (not test.name.startswith(home), test.seconds))
        reaching.sort(key=lambda test: self._noticed_by[path, test.name] / max(test.seconds, 0.01), reverse=True)
        spent = 0.0
        names: list[str] = []
        for test in reaching:
            spent += test.seconds
            if names and spent > self._budget:
                break
            names.append(test.name)
        return names


def draw(source: str, limit: int | None, seed: str) -> list[Mutation]:
    """So many mutations of a module, None for all: the same ones for the same seed."""
    found = mutations(source)
    if limit is None or limit >= len(found):
        return found
    return sorted(random.Random(seed).sample(found, limit), key=lambda mutation: mutation.start)


def modules_in(places: Sequence[str]) -> list[str]:
    """The modules in files and folders that have something to break."""
    found = [path for place in map(Path, places) for path in (sorted(place.rglob("*.py")) if place.is_dir() else [place])]
    return [path.as_posix() for path in found if mutations(path.read_text())]


def lines(campaign: Campaign, chosen: dict[str, Sequence[Mutation]]) -> Iterator[str]:
    """The lines to print: what survives, and the share of each module, then of all, that was noticed."""
    noticed: Counter[str] = Counter()
    for path, mutation, was_noticed in campaign.run():
        noticed[path] += was_noticed
        if not was_noticed:
            yield f"{path}:{mutation}"
    for path, tried in chosen.items():
        yield _share(path, noticed[path], len(tried))
    yield _share("all", noticed.total(), sum(map(len, chosen.values())))


def _share(what: str, noticed: int, tried: int) -> str:
    return f"{what}: {noticed} of {tried} noticed, {100 * noticed / max(tried, 1):.1f} %"


def main(arguments: Sequence[str] | None = None) -> int:
    """The program; 1 if anything survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("modules", nargs="*", default=MODULES, help="paths of modules and folders, from here")
    parser.add_argument("--tests", nargs="+", default=TESTS, help="tests to run: folders, files, or names of tests")
    parser.add_argument("--limit", type=int, help="mutations of each module; all by default")
    parser.add_argument("--seed", type=int, default=0, help="which ones are drawn")
    parser.add_argument("--budget", type=float, default=20, help="seconds of tests for each; 20 by default")
    parser.add_argument("--known", type=Path, help="a file that keeps what the tests reach, for the next run")
    options = parser.parse_args(arguments)
    modules = modules_in(options.modules)
    chosen = {path: draw(Path(path).read_text(), options.limit, f"{options.seed} {path}") for path in modules}
    campaign = Campaign(chosen, options.tests, options.budget, kept(options.known, modules))
    count = 0
    for count, line in enumerate(lines(campaign, chosen)):  # noqa: B007
        print(line, flush=True)  # noqa: T201
    if options.known is not None:
        keep(options.known, modules, campaign.known)
    return int(count > len(modules))


def kept(file: Path | None, modules: Sequence[str]) -> list[Test]:
    """What a file says of tests; nothing if it is of other modules, or if they have changed since."""
    if file is None or not file.exists():
        return []
    sources, tests = pickle.loads(file.read_bytes())
    return tests if all(sources.get(path) == Path(path).read_text() for path in modules) else []


def keep(file: Path, modules: Sequence[str], tests: Sequence[Test]) -> None:
    """Write down what is known of tests."""
    file.write_bytes(pickle.dumps(({path: Path(path).read_text() for path in modules}, tests)))


if __name__ == "__main__":
    sys.exit(main())
