"""A process may die at any moment: what it leaves in the file is consistent, and holds all that was flushed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from stories import Story, stories

EXAMPLES = settings(max_examples=40)


@EXAMPLES
@given(story=stories())
def test_each_change_of_the_file_leaves_it_consistent(story: tuple[str, int, bool, list[tuple[Any, ...]]]) -> None:
    options, size, backed, steps = story
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        made = Story(Path(folder), options, size, backed=backed)
        made.play(steps)
        made.judge()
