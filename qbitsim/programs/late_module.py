"""A module that is loaded when it is used, for one that others import in case something fails."""

from __future__ import annotations

import sys

from qbitsim.light_library import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType
    from typing import Any
else:
    ModuleType = type(sys)


class LateModule(ModuleType):
    """Stands in :data:`sys.modules` in place of the one of that name, until somebody wants something of it."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        module = import_module(self.__name__)
        self.__dict__.update(module.__dict__)
        return getattr(module, name)
