"""Block drivers, one in each module, and how a node is opened from options.

Importing the package declares every driver: a new one is one new module (see :mod:`qbitsim.drivers.driver`).
"""

import os
from importlib import import_module

for _name in sorted(os.listdir(__path__[0])):
    if _name.endswith(".py") and _name != "__init__.py":
        import_module(f"{__name__}.{_name.removesuffix('.py')}")
