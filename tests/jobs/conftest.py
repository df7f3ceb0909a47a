"""Every test here runs on both trees: with images in memory, and in files of the host."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def on_both_trees(tree: str) -> str:
    """Let each machine of the test have its images there."""
    return tree
