"""What differs from run to run and means nothing, taken out of JSON values."""

from __future__ import annotations

import re
from typing import Any

_GENERATED = re.compile(r"#block\d+")


def normal(value: Any) -> Any:
    """A JSON value without what differs from run to run: generated node-names and the space that files take."""
    if isinstance(value, str):
        return _GENERATED.sub("#auto", value) if "#block" in value else value
    if isinstance(value, list):
        return [normal(item) for item in value]
    if isinstance(value, dict):
        return {key: "-" if key == "actual-size" else normal(item) for key, item in value.items()}
    return value
