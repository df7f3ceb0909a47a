"""Work of an asyncio server that must be awaited, and says so at once if it is not."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, TypeVar

_T = TypeVar("_T")


class Awaited(Coroutine[Any, Any, _T]):
    """A coroutine that tells somebody when it goes without having been awaited.

    Python itself only warns then, and whoever waits for what should have happened waits for ever.

    :param work: the coroutine.
    :param forgotten: is called if nobody awaits it.
    """

    __slots__ = ("_begun", "_forgotten", "_work")

    def __init__(self, work: Coroutine[Any, Any, _T], forgotten: Callable[[], None]) -> None:
        self._work = work
        self._forgotten = forgotten
        self._begun = False

    def __await__(self) -> Generator[Any, Any, _T]:
        """Run it."""
        self._begun = True
        return self._work.__await__()

    def send(self, value: Any) -> Any:
        """Run it up to where it waits; for event loops."""
        self._begun = True
        return self._work.send(value)

    def throw(
        self,
        kind: type[BaseException] | BaseException,
        value: BaseException | object = None,
        trace: TracebackType | None = None,
    ) -> Any:
        """Let an exception come where it waits; for event loops."""
        del value, trace  # of callers of before Python 3.12, who give a kind
        self._begun = True
        return self._work.throw(kind if isinstance(kind, BaseException) else kind())

    def close(self) -> None:
        """Give it up, on purpose."""
        self._begun = True
        self._work.close()

    def __del__(self) -> None:
        """Tell that it was forgotten."""
        if not self._begun:
            self._work.close()
            self._forgotten()
