"""Names of a machine that stand for methods of its parts."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")


def delegate(part: str, method: Callable[Concatenate[Any, _P], _R]) -> Callable[Concatenate[Any, _P], _R]:
    """A method that calls ``method`` of the attribute ``part``; it has its signature.

    Of its docstring it has the first sentence, and where the rest is: help(Machine) is an overview.
    """

    @wraps(method)
    def call(owner: Any, /, *arguments: _P.args, **options: _P.kwargs) -> _R:
        return method(getattr(owner, part), *arguments, **options)

    first, gap, _ = (method.__doc__ or "").partition("\n\n")
    call.__doc__ = f"{first} More: ``machine.{part}.{method.__name__}``." if gap else first
    return call
