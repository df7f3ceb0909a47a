"""The modules that a program finds are those that Python finds."""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import pytest

import qbitsim
from qbitsim.programs.module_finder import ModuleFinder

HERE = list(qbitsim.__path__)


@pytest.fixture(autouse=True)
def bytecode_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)


def value(folder: Path) -> object:
    """What the module says."""
    spec = ModuleFinder().find_spec("qbitsim.module", [str(folder)])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.VALUE


@pytest.mark.parametrize("name", ["qbitsim.sizes", "qbitsim.images"], ids=["a module", "a package"])
def test_a_module_is_where_python_finds_it(name: str) -> None:
    found, expected = ModuleFinder().find_spec(name, HERE), PathFinder.find_spec(name, HERE)
    assert found is not None
    assert expected is not None
    for each in ("name", "origin", "cached", "has_location", "parent", "submodule_search_locations"):
        assert getattr(found, each) == getattr(expected, each)


@pytest.mark.parametrize(
    ("name", "path"), [("json", None), ("json.decoder", HERE), ("qbitsim", None), ("qbitsim.nothing", HERE)]
)
def test_what_is_no_module_of_the_package_is_left_to_python(name: str, path: list[str] | None) -> None:
    assert ModuleFinder().find_spec(name, path) is None


def test_bytecode_is_made_and_used(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("VALUE = 1")
    assert value(tmp_path) == 1
    made = os.stat(source)
    source.write_text("VALUE = 2")
    os.utime(source, ns=(made.st_atime_ns, made.st_mtime_ns))
    assert value(tmp_path) == 1


def test_bytecode_of_another_source_is_not_used(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("VALUE = 1")
    assert value(tmp_path) == 1
    source.write_text("VALUE = 20")
    assert value(tmp_path) == 20


def test_bytecode_of_another_python_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text("VALUE = 1")
    assert value(tmp_path) == 1
    (bytecode,) = (tmp_path / "__pycache__").iterdir()
    bytecode.write_bytes(b"else" + bytecode.read_bytes()[4:])
    assert value(tmp_path) == 1
