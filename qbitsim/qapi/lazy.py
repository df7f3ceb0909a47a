"""Mappings whose values are made when they are wanted: a client of a union with fifty branches uses three of them."""

from __future__ import annotations

from qbitsim.light_library import Mapping
from qbitsim.light_typing import TypeVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from typing import overload

T = TypeVar("T")
D = TypeVar("D")


class Lazy(Mapping[str, T]):
    """A mapping of these keys.

    :param make: the value of a key; it is called once for each.
    """

    __slots__ = ("_keys", "_made", "_make")

    def __init__(self, keys: Collection[str], make: Callable[[str], T]) -> None:
        self._keys = keys
        self._make = make
        self._made: dict[str, T] = {}

    def __getitem__(self, key: str) -> T:
        if key not in self._made:
            if key not in self._keys:
                raise KeyError(key)
            self._made[key] = self._make(key)
        return self._made[key]

    def __contains__(self, key: object) -> bool:
        return key in self._keys

    if TYPE_CHECKING:

        @overload
        def get(self, key: str, /) -> T | None: ...
        @overload
        def get(self, key: str, default: D, /) -> T | D: ...

    def get(self, key: str, default: object = None, /) -> object:
        """The value, or *default* if there is no such key."""
        return self[key] if key in self._keys else default

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)
