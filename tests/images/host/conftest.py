"""The helpers of these tests, and those of others that look into qcow2 files."""

from __future__ import annotations

import sys
from pathlib import Path

_HERE = Path(__file__).parent
sys.path[:0] = [str(_HERE), str(_HERE.parent.parent / "oracle")]
