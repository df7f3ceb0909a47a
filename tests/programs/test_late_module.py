"""A module that programs load late is the module itself as soon as somebody uses it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from qbitsim.programs.late_module import LateModule

NAME = "qbitsim_loaded_late"


@pytest.fixture(autouse=True)
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LateModule:
    """The stand-in of a module that counts how often it is loaded."""
    (tmp_path / f"{NAME}.py").write_text("import sys\nsys.loads_of_late += 1\nVALUE = 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "loads_of_late", 0, raising=False)
    module = LateModule(NAME)
    monkeypatch.setitem(sys.modules, NAME, module)
    return module


def loads() -> int:
    return sys.loads_of_late  # type: ignore[attr-defined, no-any-return]


def test_an_import_alone_does_not_load_it(late: LateModule) -> None:
    import qbitsim_loaded_late  # type: ignore[import-not-found] # noqa: PLC0415

    assert qbitsim_loaded_late is late
    assert loads() == 0


def test_the_first_use_loads_it_and_no_other_does(late: LateModule) -> None:
    assert late.VALUE == 7
    assert late.VALUE == 7
    assert late.sys is sys
    assert loads() == 1
    assert sys.modules[NAME] is not late
    assert sys.modules[NAME].VALUE == 7


def test_a_name_of_it_is_imported_as_from_any_module() -> None:
    from qbitsim_loaded_late import VALUE  # noqa: PLC0415

    assert VALUE == 7
    assert loads() == 1


def test_what_it_does_not_have_is_not_there(late: LateModule) -> None:
    with pytest.raises(AttributeError, match="NOTHING"):
        _ = late.NOTHING
    assert late.VALUE == 7
    assert loads() == 1
