"""Finds the modules of this package for a program that loads a hundred of them and then works for some milliseconds.

Python's own finder looks at the folder before each module, and for extension modules and packages of its name; its
loader looks at the source twice, and reads bytecode as it reads any file: eleven system calls. Here a module is a file
whose place follows from its name: five, and less than half of the time. What is loaded is the same: bytecode that does
not fit Python or the source is left to Python's loader, which compiles the module. What :mod:`importlib` has of all
that is taken from where it has it itself, without the package.
"""

from __future__ import annotations

import marshal
import os
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER, SourceFileLoader
from sys import implementation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType

_PACKAGE = __name__.partition(".")[0]
_HEAD = 16
"""Bytes in front of the code: what kind of bytecode it is, how it is validated, time and size of the source."""


class ModuleFinder:
    """An entry of :data:`sys.meta_path`."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Where a module is; None if it is none of this package, or no plain file."""
        del target
        if path is None or name.partition(".")[0] != _PACKAGE:
            return None
        last = name.rpartition(".")[2]
        for folder, stem in ((path[0], last), (f"{path[0]}/{last}", "__init__")):
            loader = _Loader(name, f"{folder}/{stem}.py", f"{folder}/__pycache__/{stem}.{implementation.cache_tag}.pyc")
            try:
                loader.head = _head(os.stat(loader.path))
            except OSError:
                continue
            spec = ModuleSpec(name, loader, origin=loader.path)
            spec.has_location = True
            spec.cached = loader.cached
            if stem == "__init__":
                spec.submodule_search_locations = [folder]
            return spec
        return None


def _head(source: os.stat_result) -> bytes:
    """What bytecode of this source begins with (PEP 552)."""
    kind, time, size = 0, int(source.st_mtime) & 0xFFFFFFFF, source.st_size & 0xFFFFFFFF
    return MAGIC_NUMBER + (kind | time << 32 | size << 64).to_bytes(12, "little")


class _Loader(SourceFileLoader):
    """Python's own, but for bytecode that fits."""

    def __init__(self, name: str, path: str, cached: str) -> None:
        super().__init__(name, path)
        self.cached = cached
        self.head = b""

    def get_code(self, fullname: str) -> CodeType | None:
        try:
            data = _read(self.cached)
        except OSError:
            return super().get_code(fullname)
        if data[:_HEAD] != self.head:
            return super().get_code(fullname)
        code: CodeType = marshal.loads(memoryview(data)[_HEAD:])
        return code


def _read(path: str) -> bytes:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(file, os.fstat(file).st_size)
    finally:
        os.close(file)
