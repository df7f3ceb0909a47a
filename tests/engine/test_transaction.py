"""Changes that are kept together or undone together."""

from __future__ import annotations

import pytest

from qbitsim.engine.transaction import Transaction
from qbitsim.errors import QmpError


def play(transaction: Transaction, error: Exception | None = None) -> list[str]:
    """What three actions, the second without a commit, are told."""
    told: list[str] = []

    try:
        with transaction:
            for name in "abc":
                transaction.add(
                    commit=None if name == "b" else lambda name=name: told.append(f"commit {name}"),
                    abort=lambda name=name: told.append(f"abort {name}"),
                    clean=lambda name=name: told.append(f"clean {name}"),
                )
            if error is not None:
                raise error
    except type(error or QmpError):
        pass
    return told


def test_success_commits_the_last_first_then_cleans_as_qemu_does_today() -> None:
    assert play(Transaction(reverse=True)) == ["commit c", "commit a", "clean c", "clean b", "clean a"]
    assert play(Transaction()) == play(Transaction(reverse=True))


def test_success_committed_in_the_order_of_actions_up_to_7_2() -> None:
    assert play(Transaction(reverse=False)) == ["commit a", "commit c", "clean a", "clean b", "clean c"]


@pytest.mark.parametrize("error", [QmpError("no"), AssertionError("a bug")])
def test_any_failure_undoes_what_was_done_last_first(error: Exception) -> None:
    assert play(Transaction(reverse=True), error) == ["abort c", "abort b", "abort a", "clean c", "clean b", "clean a"]
    assert play(Transaction(reverse=False), error)[:3] == ["abort c", "abort b", "abort a"]


def test_the_failure_itself_comes_out() -> None:
    with pytest.raises(QmpError, match=r"^no$"), Transaction():
        raise QmpError("no")
