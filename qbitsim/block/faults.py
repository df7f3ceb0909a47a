"""Failures of I/O at a chosen place.

One rule says which operations on which bytes fail, with which errno and how often. The rules that a
test injects into an image and those of a ``blkdebug`` node are the same thing.
"""

from __future__ import annotations

import os

from qbitsim.records import record

OPERATIONS = ("read", "write", "write-zeroes", "discard", "flush")
"""The kinds of requests that can be made to fail."""


@record(frozen=False)
class Fault:
    """One rule.

    :ivar operations: those that fail, of :data:`OPERATIONS`.
    :ivar errno: with which number.
    :ivar offset: first byte of the range; None for the whole image.
    :ivar length: bytes of the range.
    :ivar times: how often it still strikes; None for always.
    """

    operations: frozenset[str]
    errno: int
    offset: int | None = None
    length: int = 1
    times: int | None = None

    def matches(self, operation: str, offset: int, length: int) -> bool:
        """Whether a request of ``length`` bytes at ``offset`` must fail."""
        if operation not in self.operations or self.times == 0:
            return False
        return self.offset is None or (offset < self.offset + self.length and self.offset < offset + length)


class Faults:
    """The rules of one image or node, tried in the order in which they were added."""

    __slots__ = ("rules",)

    def __init__(self) -> None:
        self.rules: list[Fault] = []

    def check(self, operation: str, offset: int, length: int) -> None:
        """Let the request go on, or fail.

        :raises OSError: with the errno of the first rule that matches.
        """
        for rule in self.rules:
            if rule.matches(operation, offset, length):
                if rule.times is not None:
                    rule.times -= 1
                    if not rule.times:
                        self.rules.remove(rule)
                raise OSError(rule.errno, os.strerror(rule.errno))
