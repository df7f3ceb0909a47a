"""The JSON examples and shell lines of the document of 2015, taken out of its text."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

PATH = Path(__file__).parents[1] / "data" / "bitmaps-2015.md"
TEXT = PATH.read_text()

FENCE = "```json\n"


def _example(text: str) -> str:
    """The object at the start of ``text``; one example lacks the fence at its end, so braces are counted."""
    depth = 0
    for match in re.finditer(r"[{}]", text):
        depth += 1 if match.group() == "{" else -1
        if not depth:
            return text[: match.end()].strip()
    raise AssertionError(f"an example without an end: {text[:60]!r}")


EXAMPLES = [_example(part) for part in TEXT.split(FENCE)[1:]]
"""Every JSON example as the document prints it, in its order."""

SHELL_LINES = [line.strip()[2:].split() for line in TEXT.splitlines() if re.match(r" # (qemu-img|rm) ", line)]
"""Every command of the shell examples, as words."""


def corrected(text: str) -> str:
    """The example without the commas that JSON does not allow before a closing bracket."""
    return re.sub(r",(\s*[\]}])", r"\1", text)


def example(number: int) -> dict[str, Any]:
    """The example, corrected and parsed."""
    value: dict[str, Any] = json.loads(corrected(EXAMPLES[number]))
    return value


def event(number: int, **slips: str) -> dict[str, Any]:
    """The event of an example without its timestamp; ``slips`` are members of its data that are put right."""
    value = example(number)
    del value["timestamp"]
    value["data"].update(slips)
    return value
