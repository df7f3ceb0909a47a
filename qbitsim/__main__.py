"""``python -m qbitsim``."""

from __future__ import annotations

import sys

from qbitsim.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
