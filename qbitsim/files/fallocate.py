"""fallocate(2) of the C library, which Python does not offer with its modes."""

from __future__ import annotations

import ctypes
import errno
import os
from functools import cache

_UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


def fallocate(descriptor: int, mode: int, offset: int, length: int) -> bool:
    """Call it; False if there is none, or this file system cannot do it.

    :raises OSError: it failed.
    """
    call = _function()
    if call is None:
        return False
    while call(descriptor, mode, offset, length):
        number = ctypes.get_errno()
        if number in _UNSUPPORTED:
            return False
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))
    return True


@cache
def _function() -> ctypes._NamedFuncPointer | None:
    function = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if function is not None:
        function.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
        function.restype = ctypes.c_int
    return function
