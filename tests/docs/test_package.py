"""What the package says of itself, and that it holds what it needs: in a wheel and in a source distribution."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from typing import Any

from documents import REPOSITORY

PROJECT: dict[str, Any] = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def test_every_file_of_the_package_that_is_no_module_is_installed_with_it() -> None:
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["qbitsim"]
    package = REPOSITORY / "qbitsim"
    data = {
        str(path.relative_to(package))
        for path in package.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert data
    assert {name for name in data if not any(fnmatch(name, pattern) for pattern in patterns)} == set()
    assert [pattern for pattern in patterns if not any(fnmatch(name, pattern) for name in data)] == []


def test_the_examples_are_installed() -> None:
    installed = PROJECT["tool"]["setuptools"]["data-files"]
    place = "share/doc/qbitsim/examples"
    assert place in (REPOSITORY / "qbitsim" / "testing" / "__init__.py").read_text()
    folder = REPOSITORY / "tests" / "examples"
    examples = {path for path in folder.rglob("*") if path.suffix in {".py", ".md", ".mjs"}}
    found = {path: name for name, patterns in installed.items() for each in patterns for path in REPOSITORY.glob(each)}
    assert found == {path: f"{place}/{path.parent.relative_to(folder)}".removesuffix("/.") for path in examples}


def test_a_source_distribution_holds_tests_and_benchmarks() -> None:
    lines = (REPOSITORY / "MANIFEST.in").read_text().splitlines()
    assert {"graft tests", "graft benchmarks", "graft .ci"} <= set(lines)


def test_the_releases_of_python_are_those_that_it_may_be_installed_on() -> None:
    named = [each.rpartition(" :: ")[2] for each in PROJECT["project"]["classifiers"] if ":: 3." in each]
    assert PROJECT["project"]["requires-python"] == f">={named[0]}"
    assert named == [f"3.{minor}" for minor in range(11, 11 + len(named))]
    (target,) = {PROJECT["tool"]["ruff"]["target-version"]}
    assert target == f"py{named[0].replace('.', '')}"
