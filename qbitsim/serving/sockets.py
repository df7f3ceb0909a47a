"""UNIX sockets with a name, made and removed without touching anybody else's files.

QEMU removes whatever socket is in its way (util/qemu-sockets.c unix_listen_saddr). Here a socket is only
removed if nobody answers on it, and never a file of another kind.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable


def bind_unix(path: str) -> socket.socket:
    """A socket bound to `path`, replacing a dead one.

    :raises OSError: the path cannot be made, is not a socket, or a live server answers there.
    """
    _remove_dead(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"cannot listen on {path}: {error.strerror or error}") from None
    return sock


def remove_if_ours(path: str) -> Callable[[], None]:
    """A function that removes the socket which is at `path` now, unless another took its place."""
    ours = _identity(path)

    def remove() -> None:
        if ours is not None and _identity(path) == ours:
            os.unlink(path)

    return remove


def _identity(path: str) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _remove_dead(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return  # not there, or bind() will say why it cannot be
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, f"cannot listen on {path}: it exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
        except OSError as error:
            raise OSError(error.errno, f"cannot listen on {path}: {error.strerror or error}") from None
        else:
            raise OSError(errno.EADDRINUSE, f"cannot listen on {path}: a server is listening there")
