"""Names that were documented, or returned by what was, go on working where they were."""

from __future__ import annotations

import importlib

import pytest

import qbitsim
from qbitsim.moved import MOVED


@pytest.mark.parametrize("old", MOVED)
def test_a_module_that_has_moved_is_found_under_its_old_name_with_a_warning(old: str) -> None:
    with pytest.warns(DeprecationWarning, match=rf"^{old} has moved to {MOVED[old]}$"):
        module = importlib.reload(importlib.import_module(old))
    new = importlib.import_module(MOVED[old])
    names = [name for name in vars(new) if not name.startswith("_")]
    assert names
    assert all(getattr(module, name) is getattr(new, name) for name in names)


@pytest.mark.filterwarnings("ignore:qbitsim")
@pytest.mark.parametrize(
    ("module", "name", "base"),
    [
        ("qbitsim.block.images", "ImageStore", qbitsim.ImageStore),
        ("qbitsim.machine", "Machine", qbitsim.Machine),
        ("qbitsim.state", "SnapshotError", ValueError),
        ("qbitsim.until", "NeverError", TimeoutError),
    ],
)
def test_classes_that_users_make_or_catch_are_where_they_were(module: str, name: str, base: type) -> None:
    assert issubclass(getattr(importlib.import_module(module), name), base)


def test_a_module_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("qbitsim.block.nothing")
