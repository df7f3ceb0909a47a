"""A process may die at any moment: what it leaves in the file is consistent, and holds all that was flushed."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import example, given, settings
from stories import Story, stories

EXAMPLES = settings(max_examples=int(os.environ.get("QBITSIM_HOST_STORIES", "40")))

Told = tuple[str, int, bool, list[tuple[Any, ...]]]
FOUND: list[Told] = [
    # a refcount table that loses a block, and one that gets one
    ("cluster_size=512,refcount_bits=64", 138240, False, [("pack", 398, 2, 58), ("write", 82, 58, 170)]),
    ("cluster_size=512,refcount_bits=64", 69120, False, [("write", 0, 120, 7), ("resize", 3), ("resize", 100)]),
    ("cluster_size=512,refcount_bits=4", 512, False, [("bitmap", 0), ("amend", "refcount_bits=64")]),
    # what the old L1 table took is used by a new L2 table
    ("cluster_size=512,refcount_bits=16", 142848, True, [("resize", 47), ("zero", 121, 1, True), ("resize", 415)]),
    # compressed data go on in a cluster that now is a table
    (
        "cluster_size=512,refcount_bits=64",
        138240,
        False,
        [("pack", 398, 2, 58), ("write", 82, 49, 170), ("pack", 14, 2, 53), ("discard", 263, 1)],
    ),
    # a reference goes from one table to another
    (
        "cluster_size=512,refcount_bits=16",
        121856,
        True,
        [("pack", 226, 1, 9), ("pack", 172, 3, 196), ("zero", 215, 12, False)],
    ),
    (
        "cluster_size=512,refcount_bits=4",
        67072,
        True,
        [("resize", 202), ("pack", 175, 7, 67), ("zero", 278, 1, True), ("discard", 345, 33), ("pack", 24, 3, 220)],
    ),
    # a part of a cluster that was zeroed in place
    (
        "cluster_size=4096,refcount_bits=16",
        52224,
        True,
        [("write", 163, 1, 20), ("zero", 211, 57, False), ("flush",), ("write", 158, 1, 160)],
    ),
    # an emptied file whose tables move
    ("cluster_size=1024,refcount_bits=64", 125952, True, [("resize", 414), ("amend", "refcount_bits=16"), ("commit",)]),
    # an L1 table that leads nowhere, where other tables were
    ("cluster_size=4096,refcount_bits=16", 52224, False, [("amend", "refcount_bits=64"), ("snapshot", 0)]),
]


def examples(test: Any) -> Any:
    """All that was found."""
    for told in FOUND:
        test = example(told)(test)
    return test


@EXAMPLES
@examples
@given(told=stories())
def test_each_change_of_the_file_leaves_it_consistent(told: Told) -> None:
    options, size, backed, steps = told
    with tempfile.TemporaryDirectory() as folder:
        story = Story(Path(folder), options, size, backed=backed)
        story.play(steps)
        story.judge()
