"""What a client did wrong, as QMP reports it; and what a caller in Python asked for in vain.

There are two kinds of failure in qbitsim and they never mix:

* :class:`QmpError`: the client asked for something that QEMU refuses. It carries QEMU's
  error class and QEMU's text, and a refused operation has changed nothing.
* a failed ``assert`` or any other exception: a bug of qbitsim.

What only Python can ask for, such as waiting for something or putting a machine back, fails with errors of its own.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class QmpError(Exception):
    """A refusal that the client sees as ``{"error": {"class": ..., "desc": ...}}``.

    :param desc: the text, word for word as QEMU writes it.
    :param error_class: one of QEMU's QapiErrorClass (qapi/error.json): ``GenericError``,
        ``CommandNotFound``, ``DeviceNotActive``, ``DeviceNotFound``.
    :param hint: whole lines that QEMU adds where people read, not in QMP (error_append_hint()).
    """

    def __init__(self, desc: str, error_class: str = "GenericError", hint: str = "") -> None:
        super().__init__(desc)
        self.desc = desc
        self.error_class = error_class
        self.hint = hint

    def to_json(self) -> dict[str, str]:
        """The value of the reply's ``error`` member."""
        return {"class": self.error_class, "desc": self.desc}


class SlowTextError(QmpError):
    """A refusal whose text may take long to find, such as which of a hundred thousand members is to blame.

    Who must not be held up takes :meth:`steps` before reading it; for all others it is found when it is read.

    :param find: returns the text; each of its steps takes about a millisecond.
    """

    def __init__(self, find: Generator[None, None, str]) -> None:
        self._find = find
        super().__init__("")
        self._found: str | None = None

    def steps(self) -> Generator[None, None, None]:
        """Find the text."""
        self._found = yield from self._find

    @property
    def desc(self) -> str:
        """The text."""
        if self._found is None:
            for _ in self.steps():
                pass
        assert self._found is not None
        return self._found

    @desc.setter
    def desc(self, desc: str) -> None:
        self._found = desc

    def __str__(self) -> str:
        return self.desc


NOT_EMULATED = "qbitsim does not emulate"
"""What the text of an :class:`UnsupportedError` starts with, so that nobody takes it for QEMU's."""


class UnsupportedError(QmpError):
    """A request that real QEMU would accept and qbitsim does not emulate.

    :param what: what was asked for, as a noun phrase.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"{NOT_EMULATED} {what}")


class WouldWaitError(QmpError):
    """A command that would have to wait for what another one does; nothing has changed.

    In QEMU it would wait. Whoever can wait, because others go on meanwhile, says with :meth:`when_over` what is to be
    done then; for all others it is a refusal. Its text starts with ``qbitsim does not wait``.

    :cvar is_kept: somebody else will do what had to wait, and it need not be asked for again.
    """

    is_kept = False

    def when_over(self, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` once there is nothing to wait for any more, as a bottom half, in the order of the calls."""
        raise NotImplementedError


class NeverError(TimeoutError):
    """The machine is idle, or the time is over, and what was waited for is not so."""


class SnapshotError(ValueError):
    """A snapshot that does not fit the machine: it is of another QEMU release."""


class NbdError(OSError):
    """What an NBD server has refused, or said against the rules of the protocol: an errno and a text."""
