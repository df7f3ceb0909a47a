"""The programs in a folder, for each release."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from qbitsim.programs.installation import install


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes the programs of a release; the folder they are in."""
    base = tmp_path_factory.mktemp("programs")

    def make(release: str) -> Path:
        folder = base / release
        if not folder.exists():
            install(folder, release)
        return folder

    return make
