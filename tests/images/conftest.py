"""What the tests of images share: the stores, and the real qemu-img and qemu-io that judge files, if there are any."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from real_tools import ROOTS, RealTools
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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test for each system that has the tools, or one that is skipped."""
    if "root" in metafunc.fixturenames:
        found = [pytest.param(root, id=root or "here") for root in ROOTS if RealTools.are_in(root)]
        none = pytest.param(
            None, marks=pytest.mark.skip(reason="no qemu-img and qemu-io on the path (Debian: qemu-utils)"), id="none"
        )
        metafunc.parametrize("root", found or [none])
