"""Words of :mod:`typing` that stand in code that runs, for modules that programs load at each start.

Theory of operation: nothing looks at these words when a program runs, and the import of :mod:`typing` takes a sixth of
a start of ``qemu-io``. So here they do nothing. To a type checker they are Python's own.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any as Any  # noqa: PLC0414 - what mypy takes for a re-export
    from typing import Generic as Generic  # noqa: PLC0414
    from typing import Protocol as Protocol  # noqa: PLC0414
    from typing import TypeVar as TypeVar  # noqa: PLC0414
    from typing import dataclass_transform as dataclass_transform  # noqa: PLC0414
else:
    Any = object

    class Generic:
        """A base that may be said of what kind it is."""

        __slots__ = ()

        def __class_getitem__(cls, _):
            return cls

    class Protocol(Generic):
        """A base of what is only described."""

        __slots__ = ()

    def TypeVar(name, **_):  # noqa: N802 - Python's name
        """A name for a type."""
        return name

    def dataclass_transform(**_):
        """For a decorator that makes records."""
        return lambda decorator: decorator
