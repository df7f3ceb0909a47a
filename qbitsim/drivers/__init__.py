"""Block drivers, one in each module, and how a node is opened from options.

Importing the package declares every driver: a new one is one new module (see :mod:`qbitsim.drivers.driver`).
"""

from importlib import import_module
from pathlib import Path

for _path in sorted(Path(__file__).parent.glob("*.py")):
    if _path.stem != "__init__":
        import_module(f"{__name__}.{_path.stem}")
