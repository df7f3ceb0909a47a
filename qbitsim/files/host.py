"""Files of the host: the only module of the package that opens a path for images.

Locks are those that QEMU takes: open file description locks on single bytes, which belong to the open file and not to
the process (block/file-posix.c, raw_apply_lock_bytes and raw_check_lock_bytes, 10.0). Byte ``100 + n`` is locked for
reading by who uses permission *n*, byte ``200 + n`` by who does not share it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat

from qbitsim.files.failures import NoRegularFileError, io_error
from qbitsim.files.fdsets import PREFIX
from qbitsim.files.names import host_name
from qbitsim.files.permissions import NAMES
from qbitsim.light_library import Struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.files.fdsets import FdSets

LOCK_USED = 100
LOCK_NOT_SHARED = 200

_KEEP_SIZE, _PUNCH_HOLE, _ZERO_RANGE = 0x01, 0x02, 0x10  # modes of fallocate(2)
_FLOCK = Struct("hhqqi4x")  # struct flock with 64-bit offsets
_COPIED_AT_ONCE = 1 << 20  # bytes
_FARTHEST = (1 << 63) - 1  # where a file can reach


class HostFile:
    """One regular file that is open; see :class:`.ByteFile`.

    It cannot be copied: two users of one descriptor would share its locks.

    :param path: of the file; one that is relative begins at *folder*.
    :param writable: it is opened for writing, too; otherwise it is when something is to be written.
    :param create: it is made if it does not exist.
    :ivar path: by which it is opened for writing, too, if it comes from a set of descriptors.
    :ivar touched: something was written; who has taken note of it says False.
    :ivar identity: device and inode, the same for all names of the file.
    :raises OSError: as open(2) fails; EISDIR for a directory, a NoRegularFileError for a device and the like.
    """

    __slots__ = ("_descriptor", "_fdsets", "_locked", "_opened_as", "identity", "path", "touched", "writable")

    def __init__(
        self, path: str, folder: HostFolder | None = None, *, writable: bool = False, create: bool = False
    ) -> None:
        self._descriptor = -1
        self._locked: frozenset[int] = frozenset()
        self.path = path
        self.writable = writable
        self.touched = False
        self._fdsets = folder.fdsets if folder is not None else None
        self._opened_as = ""  # of the descriptor, if it came from a set
        if self._fdsets is not None and path.startswith(PREFIX):
            self._descriptor = self._fdsets.open(path, writable=writable)
            self._opened_as = path
        else:
            self._descriptor = _open(path, folder.descriptor if folder else None, writable=writable, create=create)
        self.identity = _identity(os.fstat(self._descriptor))

    def __repr__(self) -> str:
        return f"<HostFile {self.path!r}>"

    def __copy__(self) -> HostFile:
        raise TypeError(f"{self!r} cannot be copied: it is a file of the host")

    def __deepcopy__(self, memo: object) -> HostFile:
        return self.__copy__()

    def __reduce__(self) -> str:
        raise TypeError(f"{self!r} cannot be pickled: it is a file of the host")

    def __del__(self) -> None:
        self.close()

    def make_writable(self) -> None:
        """Open it for writing, too, if it is not: under the same locks. OSError as open(2), with nothing changed."""
        if self.writable:
            return
        old, locks = self._descriptor, self._locked
        old_name, new_name = self._opened_as, ""
        if self._fdsets is not None and self.path.startswith(PREFIX):
            opened, new_name = self._fdsets.open(self.path, writable=True), self.path
        else:
            # By its descriptor: the name may lead to another file now.
            opened = _open(f"/proc/self/fd/{old}", None, writable=True, create=False)
        self._descriptor, self._locked = opened, frozenset()
        for byte in sorted(locks):
            self._lock(byte, fcntl.F_RDLCK)
        self._locked, self.writable, self._opened_as = locks, True, new_name
        self._close(old, old_name)

    @property
    def is_open(self) -> bool:
        """Whether it was not closed yet."""
        return self._descriptor >= 0

    @property
    def is_handed_over(self) -> bool:
        """Whether it comes from a set of descriptors, which may go when it is closed."""
        return bool(self._opened_as)

    def close(self) -> None:
        """Close it, which gives up its locks. Closing twice does nothing."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            self._close(descriptor, self._opened_as)

    def _close(self, descriptor: int, name: str) -> None:
        os.close(descriptor)
        if self._fdsets is not None and name:
            self._fdsets.close(name)

    # -- bytes

    @property
    def length(self) -> int:
        """Bytes of the file."""
        return os.fstat(self._descriptor).st_size

    @property
    def allocated(self) -> int:
        """Bytes that the file takes on the file system."""
        return os.fstat(self._descriptor).st_blocks * 512

    @property
    def stamp(self) -> tuple[int, int, int]:
        """Changes when somebody changes the file: its length and when data and state were changed last."""
        found = os.fstat(self._descriptor)
        return found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def read_at(self, offset: int, length: int) -> bytes:
        """The bytes of a range; fewer at the end of the file, EIO where no file can reach."""
        if offset + length > _FARTHEST:
            raise io_error(errno.EIO)
        found = os.pread(self._descriptor, length, offset)
        if len(found) == length or not found:
            return found
        parts = [found]  # a read of more than 2 GiB, or at the end of the file
        while found and length > len(found):
            offset, length = offset + len(found), length - len(found)
            found = os.pread(self._descriptor, length, offset)
            parts.append(found)
        return b"".join(parts)

    def _begin_write(self) -> None:
        self.make_writable()
        self.touched = True

    def write_at(self, offset: int, data: bytes) -> None:
        """Write bytes; a file that ends before them becomes longer, with a hole between.

        :raises OSError: EIO where no file can reach, or as the host has it.
        """
        if offset + len(data) > _FARTHEST:
            raise io_error(errno.EIO)
        self._begin_write()
        written = os.pwrite(self._descriptor, data, offset)
        while written < len(data):
            written += os.pwrite(self._descriptor, memoryview(data)[written:], offset + written)

    def punch(self, offset: int, length: int) -> None:
        """Turn a range into a hole, as far as the file reaches; what is no whole page is zeroed."""
        length = min(offset + length, self.length) - offset
        if length > 0 and not self._fallocate(_PUNCH_HOLE | _KEEP_SIZE, offset, length):
            self.write_zeroes(offset, length)

    def zero(self, offset: int, length: int) -> None:
        """Zero a range, which stays allocated, or becomes so, where the file system can say it.

        One that cannot in one call may in two (handle_aiocb_write_zeroes, block/file-posix.c, QEMU 10.0).
        """
        if length <= 0 or self._fallocate(_ZERO_RANGE, offset, length):
            return
        if self._fallocate(_PUNCH_HOLE | _KEEP_SIZE, offset, length):
            self.allocate(offset, length)
        else:
            self.write_zeroes(offset, length)

    def allocate(self, offset: int, length: int) -> None:
        """Allocate a range, which keeps what it reads as."""
        if length > 0:
            self._begin_write()
            os.posix_fallocate(self._descriptor, offset, length)

    def write_zeroes(self, offset: int, length: int) -> None:
        """Write zeroes, byte by byte."""
        unit = 1 << 20
        for start in range(offset, offset + length, unit):
            self.write_at(start, bytes(min(unit, offset + length - start)))

    def _fallocate(self, mode: int, offset: int, length: int) -> bool:
        """fallocate(2); False if this file system cannot do it."""
        from qbitsim.files.fallocate import fallocate  # noqa: PLC0415 - it loads ctypes, for the few that need it

        self._begin_write()
        return fallocate(self._descriptor, mode, offset, length)

    def next_data(self, offset: int) -> int | None:
        """The first byte from *offset* on that is no hole; None if there is none."""
        try:
            return os.lseek(self._descriptor, offset, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return None
            raise

    def next_hole(self, offset: int) -> int:
        """The first byte from *offset* on that is a hole, or the end of the file."""
        return os.lseek(self._descriptor, offset, os.SEEK_HOLE)

    def extents(self) -> Iterator[tuple[int, int]]:
        """What is no hole, as (offset, length), ascending."""
        at = self.next_data(0) if self.length else None
        while at is not None:
            end = self.next_hole(at)
            yield at, end - at
            at = self.next_data(end) if end < self.length else None

    def truncate(self, size: int) -> None:
        """Make the file *size* bytes long; what is new is a hole."""
        self._begin_write()
        os.ftruncate(self._descriptor, size)

    def flush(self) -> None:
        """Let what was written survive a failure of the power."""
        os.fdatasync(self._descriptor)

    # -- locks

    def lock(self, used: int, unshared: int) -> str | None:
        """Hold the locks for these permissions, and no others (raw_check_perm).

        :param used: bits of :mod:`qbitsim.files.permissions`; *unshared*: those that others must not use.
        :returns: QEMU's text on the conflict with another program, with nothing changed; None if there is none.
        """
        wanted = frozenset(_lock_bytes(used, LOCK_USED)) | frozenset(_lock_bytes(unshared, LOCK_NOT_SHARED))
        before = self._locked
        for byte in sorted(wanted - before):
            self._lock(byte, fcntl.F_RDLCK)
        self._locked = before | wanted
        conflict = self.conflict(used, unshared)
        gone = wanted - before if conflict is not None else before - wanted
        for byte in sorted(gone):
            self._lock(byte, fcntl.F_UNLCK)
        self._locked -= gone
        return conflict

    def conflict(self, used: int, unshared: int) -> str | None:
        """What forbids the use of these permissions: the locks of other programs (raw_check_lock_bytes)."""
        for bit, byte in zip(NAMES, range(LOCK_NOT_SHARED, LOCK_NOT_SHARED + len(NAMES)), strict=True):
            if used & bit and self._is_locked(byte):
                return f'Failed to get "{NAMES[bit]}" lock'
        for bit, byte in zip(NAMES, range(LOCK_USED, LOCK_USED + len(NAMES)), strict=True):
            if unshared & bit and self._is_locked(byte):
                return f'Failed to get shared "{NAMES[bit]}" lock'
        return None

    def _lock(self, byte: int, kind: int) -> None:
        fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, byte, 1, 0))

    def _is_locked(self, byte: int) -> bool:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        kind: int = _FLOCK.unpack(fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, asked))[0]
        return kind != fcntl.F_UNLCK


class HostFolder:
    """A folder of the host, at which relative names begin: the working directory of a program.

    :param path: of the folder; OSError if there is none.
    :param fdsets: what names such as ``/dev/fdset/1`` are opened from.
    :ivar descriptor: it is open.
    """

    __slots__ = ("descriptor", "fdsets", "path")

    def __init__(self, path: str, fdsets: FdSets | None = None) -> None:
        self.descriptor = -1
        self.fdsets = fdsets
        self.path = os.path.abspath(path)
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __deepcopy__(self, memo: object) -> HostFolder:
        raise TypeError(f"{self.path!r} cannot be copied: it is a folder of the host")

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def identity(self, name: str) -> tuple[int, int]:
        """Device and inode of what a name leads to, through symbolic links; OSError as stat(2)."""
        return _identity(self._stat(name))

    def _stat(self, name: str) -> os.stat_result:
        if self.fdsets is not None and name.startswith(PREFIX):
            return self.fdsets.stat(name)
        return os.stat(host_name(name), dir_fd=self.descriptor)

    def exists(self, name: str) -> bool:
        """Whether the name leads to something."""
        return self._mode(name) != 0

    def is_directory(self, name: str) -> bool:
        """Whether the name leads to a directory."""
        return stat.S_ISDIR(self._mode(name))

    def _mode(self, name: str) -> int:
        """What the name leads to, as stat(2) has it; 0 for nothing."""
        try:
            return self._stat(name or ".").st_mode
        except OSError:
            return 0

    def names(self, directory: str) -> list[str]:
        """The names in a directory, sorted; OSError as opendir(3)."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        opened = os.open(host_name(directory) or ".", flags, dir_fd=self.descriptor)
        try:
            return sorted(os.listdir(opened))
        finally:
            os.close(opened)

    def mkdir(self, name: str) -> None:
        """Make a directory; OSError as mkdir(2)."""
        os.mkdir(host_name(name), dir_fd=self.descriptor)

    def remove(self, name: str) -> None:
        """Remove a file; OSError as unlink(2)."""
        os.unlink(host_name(name), dir_fd=self.descriptor)

    def rename(self, old: str, new: str) -> None:
        """Rename a file; OSError as rename(2)."""
        os.rename(host_name(old), host_name(new), src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def copy(self, old: str, new: str) -> None:
        """Copy a file with its holes; OSError."""
        source, target = HostFile(old, self), HostFile(new, self, create=True)
        target.truncate(0)
        for offset, length in source.extents():
            for start in range(offset, offset + length, _COPIED_AT_ONCE):
                target.write_at(start, source.read_at(start, min(_COPIED_AT_ONCE, offset + length - start)))
        target.truncate(source.length)
        source.close()
        target.close()


def _identity(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _lock_bytes(bits: int, base: int) -> Iterator[int]:
    return (base + number for number, bit in enumerate(NAMES) if bits & bit)


def _open(path: str, folder: int | None, *, writable: bool, create: bool) -> int:
    flags = (os.O_RDWR if writable or create else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK
    if create:
        flags |= os.O_CREAT
    descriptor = os.open(host_name(path), flags, 0o644, dir_fd=folder)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        if stat.S_ISDIR(mode):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        raise NoRegularFileError(errno.EINVAL, os.strerror(errno.EINVAL), path)
    return descriptor
