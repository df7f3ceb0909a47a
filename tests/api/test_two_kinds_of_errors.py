"""What a client did wrong and what qbitsim did wrong never mix."""

from __future__ import annotations

import ast

import pytest
from syntax import breaking, tree_of

from qbitsim import Machine, QmpError, UnsupportedError
from qbitsim.qmp.session import Session


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


def swallows_everything(handler: ast.ExceptHandler) -> bool:
    caught = ast.unparse(handler.type) if handler.type is not None else "everything"
    raises = any(isinstance(each, ast.Raise) for each in ast.walk(handler))
    passes_on = any(isinstance(each, ast.Name) and each.id == handler.name for each in ast.walk(handler))
    return caught in ("everything", "Exception", "BaseException") and not (raises or passes_on)


def swallowing(tree: ast.AST) -> list[str]:
    """The handlers that swallow every exception."""
    handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    return [f"line {handler.lineno}" for handler in handlers if swallows_everything(handler)]


def test_nobody_swallows_every_exception() -> None:
    assert breaking(lambda module: swallowing(tree_of(module))) == {}


@pytest.mark.parametrize("caught", ["except:", "except Exception:", "except BaseException as error:"])
def test_a_handler_that_swallows_every_exception_is_found(caught: str) -> None:
    assert swallowing(ast.parse(f"try:\n    f()\n{caught}\n    pass")) == ["line 3"]
    assert swallowing(ast.parse(f"try:\n    f()\n{caught}\n    raise")) == []
