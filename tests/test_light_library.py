"""The context managers of programs end a block as those of :mod:`contextlib` do."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from qbitsim import light_library

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def plain() -> Iterator[str]:
    yield "given"


def swallowing() -> Iterator[str]:
    with contextlib.suppress(ValueError):
        yield "given"


def translating() -> Iterator[str]:
    try:
        yield "given"
    except ValueError as error:
        raise KeyError("translated") from error


def failing_at_the_end() -> Iterator[str]:
    yield "given"
    raise OSError("at the end")


def failing_at_the_start() -> Iterator[str]:
    raise OSError("at the start")
    yield "given"


def yielding_twice() -> Iterator[str]:
    with contextlib.suppress(ValueError):
        yield "given"
    yield "given again"


LIBRARIES = (contextlib, light_library)
MAKERS = (plain, swallowing, translating, failing_at_the_end, failing_at_the_start, yielding_twice)


def outcome(manager: Any, raised: BaseException | None) -> object:
    """What comes of a block that may raise."""
    try:
        with manager as given:
            if raised is not None:
                raise raised
    except BaseException as error:
        causes = isinstance(error.__cause__, ValueError), error.__suppress_context__
        return type(error), error is raised, causes, len(list(_frames(error)))
    return given


def _frames(error: BaseException) -> Iterator[object]:
    step = error.__traceback__
    while step is not None:
        if step.tb_frame.f_code.co_filename == __file__:
            yield step
        step = step.tb_next


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("kind", [None, ValueError, StopIteration, RuntimeError, KeyboardInterrupt])
def test_a_generator_makes_the_same_manager(
    maker: Callable[[], Iterator[str]], kind: type[BaseException] | None
) -> None:
    theirs, ours = (
        outcome(library.contextmanager(maker)(), kind and kind()) for library in (contextlib, light_library)
    )
    assert ours == theirs


def test_a_manager_keeps_the_name_and_the_words_of_its_function() -> None:
    def declared() -> Iterator[None]:
        """Words."""
        yield

    made = light_library.contextmanager(declared)
    assert (made.__name__, made.__qualname__, made.__doc__) == (declared.__name__, declared.__qualname__, "Words.")


@pytest.mark.parametrize("kind", [None, ValueError, UnicodeError, KeyError])
def test_suppress_ends_the_block_at_the_kinds_that_it_is_given(kind: type[Exception] | None) -> None:
    theirs, ours = (
        outcome(library.suppress(ValueError, OSError), kind and kind()) for library in (contextlib, light_library)
    )
    assert ours == theirs


def test_a_null_context_gives_what_it_was_given() -> None:
    with light_library.nullcontext(7) as given:
        assert given == 7


def test_the_last_results_are_kept() -> None:
    asked = []

    @light_library.lru_cache(maxsize=2)
    def doubled(number: int) -> int:
        asked.append(number)
        return 2 * number

    assert [doubled(number) for number in (1, 1, 2, 3, 1)] == [2, 2, 4, 6, 2]
    assert asked == [1, 2, 3, 1]
    doubled.cache_clear()
    assert doubled(1) == 2
    assert asked == [1, 2, 3, 1, 1]


def test_arrays_are_loaded_without_the_package_of_abstract_classes_and_are_known_to_it() -> None:
    program = f"""import sys; sys.path[:0] = {sys.path!r}
from qbitsim.light_library import array
print("collections" in sys.modules, "collections.abc" in sys.modules)
from collections.abc import MutableSequence
print(isinstance(array("Q"), MutableSequence))"""
    shown = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["False", "False", "True"]
