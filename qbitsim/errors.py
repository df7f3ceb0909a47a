"""What a client did wrong, as QMP reports it; and what a caller in Python asked for in vain.

There are two kinds of failure in qbitsim and they never mix:

* :class:`QmpError`: the client asked for something that QEMU refuses. It carries QEMU's
  error class and QEMU's text, and a refused operation has changed nothing.
* a failed ``assert`` or any other exception: a bug of qbitsim.

What only Python can ask for, such as waiting for something or putting a machine back, fails with errors of its own.
"""

from __future__ import annotations


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


class UnsupportedError(QmpError):
    """A request that real QEMU would accept and qbitsim does not emulate.

    Its text starts with ``qbitsim does not emulate`` so that nobody takes it for QEMU's.

    :param what: what was asked for, as a noun phrase.
    """

    def __init__(self, what: str) -> None:
        super().__init__(f"qbitsim does not emulate {what}")


class NeverError(TimeoutError):
    """The machine is idle, or the time is over, and what was waited for is not so."""


class SnapshotError(ValueError):
    """A snapshot that does not fit the machine: it is of another QEMU release."""


class NbdError(OSError):
    """What an NBD server has refused, or said against the rules of the protocol: an errno and a text."""
