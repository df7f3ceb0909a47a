"""What ``qbitsim.testing`` offers, and what its help teaches."""

from __future__ import annotations

import pydoc
import subprocess
import sys

import pytest

import qbitsim.testing


@pytest.mark.parametrize("name", qbitsim.testing.__all__)
def test_everything_that_is_exported_is_there_and_explained(name: str) -> None:
    assert name in dir(qbitsim.testing)
    assert getattr(qbitsim.testing, name).__doc__


def test_what_is_not_exported_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match=r"^module 'qbitsim.testing' has no attribute 'nope'$"):
        qbitsim.testing.nope  # noqa: B018 - looking is the test


def test_the_help_shows_how_one_begins() -> None:
    text = pydoc.render_doc(qbitsim.testing, renderer=pydoc.plaintext)
    for word in (
        "qmp_server",
        "from qbitsim.testing import BackupClientMachine",
        "NEXT_EVENT",
        "share/doc/qbitsim/examples",
    ):
        assert word in text


def test_nothing_is_imported_before_it_is_wanted() -> None:
    code = "import sys, qbitsim.testing; sys.exit('hypothesis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
