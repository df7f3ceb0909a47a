"""What the tests of images share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from trees import folder_of_files

from qbitsim.images.host.store import HostImageStore
from qbitsim.images.store import ImageStore


@pytest.fixture(params=["memory", "files"])
def store(request: pytest.FixtureRequest) -> Iterator[ImageStore]:
    """An empty image store of either kind."""
    if request.param == "memory":
        yield ImageStore()
        return
    with folder_of_files() as folder:
        yield HostImageStore(str(folder))
