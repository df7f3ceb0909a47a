"""Types of arguments whose annotations are read when the program runs: those of faults become commands and options."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias, get_args

Size: TypeAlias = Annotated[int | str, "bytes"]
"""Bytes, or a text such as ``"64M"``: what every public function takes that takes a size or an offset of a disk."""

ErrorClass: TypeAlias = Literal["GenericError", "CommandNotFound", "DeviceNotActive", "DeviceNotFound", "KVMMissingCap"]
"""QEMU's QapiErrorClass (qapi/error.json, 10.0)."""
ERROR_CLASSES: tuple[ErrorClass, ...] = get_args(ErrorClass)

Operation: TypeAlias = Literal["read", "write", "write-zeroes", "discard", "flush"]
OPERATIONS: tuple[Operation, ...] = get_args(Operation)
"""The kinds of requests that can be made to fail."""
