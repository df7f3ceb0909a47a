"""What a client did wrong and what qbitsim did wrong never mix."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import qbitsim
from qbitsim import Machine, QmpError, UnsupportedError
from qbitsim.qmp.session import Session

PACKAGE = Path(qbitsim.__file__).parent
PATHS = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}


def test_a_refusal_is_no_assertion_and_no_oserror() -> None:
    assert not issubclass(QmpError, AssertionError | OSError | ValueError)
    assert issubclass(UnsupportedError, QmpError)


def test_a_refusal_carries_the_class_and_the_text_that_the_client_reads() -> None:
    error = QmpError("no", "DeviceNotFound")
    assert error.to_json() == {"class": "DeviceNotFound", "desc": "no"}
    assert str(error) == "no"
    assert QmpError("no").to_json() == {"class": "GenericError", "desc": "no"}


def test_a_limit_of_qbitsim_cannot_be_taken_for_a_word_of_qemu() -> None:
    assert UnsupportedError("hats").desc == "qbitsim does not emulate hats"


def test_a_bug_is_not_answered_as_if_the_client_had_erred() -> None:
    machine = Machine()
    machine.add_disk("drive0", "1M")
    session = Session(machine)
    session.feed(b'{"execute": "qmp_capabilities"}')
    del machine.graph.nodes[machine.drive("drive0").node.name].bitmaps
    with pytest.raises(AttributeError):
        session.feed(b'{"execute": "query-block"}')


@pytest.mark.parametrize("path", PATHS)
def test_nobody_swallows_every_exception(path: str) -> None:
    for node in ast.walk(ast.parse(PATHS[path].read_text())):
        if isinstance(node, ast.ExceptHandler):
            caught = ast.unparse(node.type) if node.type is not None else "everything"
            raises = any(isinstance(each, ast.Raise) for each in ast.walk(node))
            passes_on = any(isinstance(each, ast.Name) and each.id == node.name for each in ast.walk(node))
            if caught in ("everything", "Exception", "BaseException"):
                assert raises or passes_on, f"line {node.lineno}"
