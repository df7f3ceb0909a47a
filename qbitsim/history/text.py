"""Histories as JSON that every reader understands.

What was said on a monitor may hold numbers that JSON does not have, as QEMU reads ``1e999``. They become texts.
"""

from __future__ import annotations

import json
import math
from typing import Any


def json_text(value: Any) -> str:
    """A value as JSON in ASCII, without blanks; what is no JSON is told as text."""
    try:
        return _dumps(value)
    except ValueError:
        return _dumps(_finite(value))


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False, default=repr)


def _finite(value: Any) -> Any:
    """A copy in which texts stand for infinite numbers."""
    if isinstance(value, dict):
        return {name: _finite(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return repr(value) if isinstance(value, float) and not math.isfinite(value) else value
