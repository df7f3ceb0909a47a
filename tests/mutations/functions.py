"""How a break takes effect: in functions that have been made, or while a module is imported."""

from __future__ import annotations

import ast
import gc
import importlib
from collections.abc import Callable
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path
from types import CodeType, FunctionType


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
        gc.unfreeze()  # conftest.py freezes what is there when tests are collected, and then it is not listed
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


class BrokenImport(SourceFileLoader):
    """Imports one module from another source than that of its file."""

    def __init__(self, path: str, source: str) -> None:
        super().__init__(module_name(path), str(Path(path).absolute()))
        self._source = source

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """What the machinery of imports asks first."""
        return spec_from_file_location(fullname, self.path, loader=self) if fullname == self.name else None

    def get_code(self, fullname: str) -> CodeType:
        """The code of the broken module."""
        return compile(self._source, self.path, "exec", dont_inherit=True)
