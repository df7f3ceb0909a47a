"""Tools of the standard library, for modules that programs load at each start.

Theory of operation: :mod:`collections`, :mod:`contextlib`, :mod:`functools`, :mod:`importlib` and :mod:`operator`, with
what they import in turn, take a fifth of a start of ``qemu-img``, nearly all of it for what is not used here. What
Python has in C is taken from there. :mod:`array` is in C itself, and registers with the abstract classes, for which it
would load the whole package around them: it gets them without. The context managers are no decorators, and none is
asynchronous. To a type checker all are Python's own.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array as array  # noqa: PLC0414
    from bisect import bisect_left as bisect_left  # noqa: PLC0414
    from bisect import bisect_right as bisect_right  # noqa: PLC0414
    from collections import deque as deque  # noqa: PLC0414 - what mypy takes for a re-export
    from collections.abc import Mapping as Mapping  # noqa: PLC0414
    from collections.abc import MutableMapping as MutableMapping  # noqa: PLC0414
    from contextlib import contextmanager as contextmanager  # noqa: PLC0414
    from contextlib import nullcontext as nullcontext  # noqa: PLC0414
    from contextlib import suppress as suppress  # noqa: PLC0414
    from functools import lru_cache as lru_cache  # noqa: PLC0414
    from functools import partial as partial  # noqa: PLC0414
    from functools import reduce as reduce  # noqa: PLC0414
    from heapq import heappop as heappop  # noqa: PLC0414
    from heapq import heappush as heappush  # noqa: PLC0414
    from importlib import import_module as import_module  # noqa: PLC0414
    from operator import or_ as or_  # noqa: PLC0414
    from struct import Struct as Struct  # noqa: PLC0414
else:
    import _collections_abc
    from _bisect import bisect_left as bisect_left  # noqa: PLC0414
    from _bisect import bisect_right as bisect_right  # noqa: PLC0414
    from _collections import deque as deque  # noqa: PLC0414
    from _collections_abc import Mapping as Mapping  # noqa: PLC0414
    from _collections_abc import MutableMapping as MutableMapping  # noqa: PLC0414
    from _frozen_importlib import _gcd_import as import_module  # noqa: F401
    from _functools import _lru_cache_wrapper
    from _functools import partial as partial  # noqa: PLC0414
    from _functools import reduce as reduce  # noqa: PLC0414
    from _heapq import heappop as heappop  # noqa: PLC0414
    from _heapq import heappush as heappush  # noqa: PLC0414
    from _operator import or_ as or_  # noqa: PLC0414
    from _struct import Struct as Struct  # noqa: PLC0414
    from sys import modules

    if "collections" in modules:
        from array import array as array  # noqa: PLC0414
    else:
        modules["collections"] = modules["collections.abc"] = _collections_abc
        from array import array as array  # noqa: PLC0414

        del modules["collections"], modules["collections.abc"]

    def lru_cache(maxsize):
        """For a decorator that keeps the last results of a function."""
        return lambda function: _lru_cache_wrapper(function, maxsize, 0, tuple)

    def contextmanager(function):
        """Makes a function with one ``yield`` one that returns a context manager."""

        def make(*args, **kwargs):
            return _Steps(function(*args, **kwargs))

        make.__name__, make.__qualname__, make.__doc__ = function.__name__, function.__qualname__, function.__doc__
        return make

    class _Steps:
        """Goes to the ``yield`` at the beginning of a block, and on from there at its end."""

        __slots__ = ("_generator",)

        def __init__(self, generator):
            self._generator = generator

        def __enter__(self):
            return next(self._generator)

        def __exit__(self, kind, error, traceback):
            if error is None:
                for _ in self._generator:
                    raise RuntimeError("a context manager yielded twice")
                return False
            try:
                self._generator.throw(error)
            except StopIteration as end:
                return end is not error
            except BaseException as raised:
                # A StopIteration does not come through a generator as it is (PEP 479).
                if raised is not error and not (isinstance(error, StopIteration) and raised.__cause__ is error):
                    raise
                error.__traceback__ = traceback
                return False
            raise RuntimeError("a context manager yielded twice")

    class suppress:  # noqa: N801 - Python's name
        """Ends its block at one of these exceptions, and goes on behind it."""

        __slots__ = ("_kinds",)

        def __init__(self, *kinds):
            self._kinds = kinds

        def __enter__(self):
            pass

        def __exit__(self, kind, error, traceback):
            return kind is not None and issubclass(kind, self._kinds)

    class nullcontext:  # noqa: N801 - Python's name
        """Does nothing."""

        __slots__ = ("_result",)

        def __init__(self, enter_result=None):
            self._result = enter_result

        def __enter__(self):
            return self._result

        def __exit__(self, *_):
            pass
