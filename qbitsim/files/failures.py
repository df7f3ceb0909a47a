"""Failures of the host, and what QEMU says of a step that it did not let it take."""

from __future__ import annotations

import os

from qbitsim.errnos import errno_of
from qbitsim.light_library import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import ClassVar


def io_error(number: int) -> OSError:
    """The failure with that errno."""
    return OSError(number, os.strerror(number))


class NoRegularFileError(OSError):
    """There is something else of that name: a device, a pipe or a socket."""


class StepError(OSError):
    """A step of something longer failed; ``strerror`` is all that QEMU says of it."""


class ReportedError(OSError):
    """A failure of which QEMU says more on its standard error than in the reply.

    :cvar report: what it says (error_report).
    """

    report: ClassVar[str]


@contextmanager
def step(text: str) -> Iterator[None]:
    """Let the refusal of the host begin with the name of the step: ``Could not resize image: No space left on device``.

    :raises StepError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror if isinstance(error, StepError) else os.strerror(errno_of(error))
        raise StepError(error.errno, f"{text}: {reason}") from None


def failure_text(verb: str, name: str, error: OSError) -> str:
    """``Could not create 'x': No such file or directory``, or what is said of a step.

    :param verb: ``open`` or ``create``.
    """
    return str(error.strerror) if isinstance(error, StepError) else f"Could not {verb} '{name}': {error.strerror}"
