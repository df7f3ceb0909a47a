"""The directory tree that image files live in, in memory.

An :class:`ImageStore` maps names to files as a file system does; an overwritten or removed file lives on for whoever
has it open.
"""

from __future__ import annotations

import errno
import os
import posixpath

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files.fdsets import FdSets
from qbitsim.files.locks import CREATOR
from qbitsim.files.network import Network
from qbitsim.images.chain import first_difference, read_chain
from qbitsim.images.image import Image
from qbitsim.images.image_file import ImageFile
from qbitsim.images.pages import FILE_PAGE
from qbitsim.light_library import contextmanager
from qbitsim.sizes import SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MAXIMUM_PATH = 4096
MAXIMUM_PART = 255


def has_protocol(name: str) -> bool:
    """Whether a name starts with a protocol: a colon before any slash (path_has_protocol, block.c)."""
    return ":" in name.partition("/")[0]


class LockConflictError(OSError):
    """A file is in use in a way that forbids the operation; ``strerror`` is QEMU's text about the lock."""

    def __init__(self, text: str, name: str) -> None:
        super().__init__(errno.EAGAIN, text, name)


class ImageStore:
    """A file system of images. Names are relative to one working directory; ``./a`` and ``a`` are the same file.

    :ivar fdsets: descriptors that were handed over; only on the host files are opened from them.
    :ivar network: where servers are found that are not files.
    :ivar starts: how many machines were started on it; what is random in QEMU at each start comes from it.
    """

    __slots__ = ("_as_saved", "_directories", "_files", "_limits", "_remote", "fdsets", "network", "starts")

    def __init__(self) -> None:
        self._files: dict[str, ImageFile] = {}
        self._directories: set[str] = {"", "/"}
        self._limits: dict[str, int] = {}
        self._remote: dict[str, ImageFile] = {}
        self._as_saved: dict[ImageFile, ImageFile] | None = None
        self.fdsets = FdSets()
        self.network = Network()
        self.starts = 0

    def create(
        self,
        name: str,
        format: str,  # noqa: A002 (QEMU's word)
        size: int | None = None,
        *,
        backing: str | None = None,
        backing_format: str | None = None,
        **options: Any,
    ) -> Image:
        """Create an image, in place of one of that name if there is one.

        :param size: bytes, rounded up to sectors; None takes the size of the backing file.
        :param options: of the format, as for :meth:`.ImageFile.make_image`; a backing file is for qcow2 only.
        :raises OSError: ENOENT if the directory, or a backing file whose size is needed, does not exist; EISDIR;
            ENAMETOOLONG, as Linux counts bytes.
        :raises LockConflictError: the existing file is in use.
        """
        key = self._short_key(name)
        if not name or posixpath.dirname(key) not in self._directories:
            raise _error(errno.ENOENT, name)
        if key in self._directories:
            raise _error(errno.EISDIR, name)
        if size is None:
            assert backing is not None
            size = self.lookup(self.backing_name(name, backing)).size
        if key in self._files:
            conflict = self._files[key].locks.conflict(*CREATOR)
            if conflict is not None:
                raise LockConflictError(conflict, name)
        file, size = ImageFile(name, self._limits.get(key)), -(-size // SECTOR) * SECTOR
        self._files[key] = file
        if format == "qcow2":
            options |= {"backing": backing, "backing_format": backing_format}
        image = file.make_image(format, size, **options)
        if format != "raw":
            return image
        # QEMU writes the first page of a new file so that it is allocated (file-posix.c, allocate_first_block).
        image.content.write(0, bytes(min(FILE_PAGE, image.size)))
        return image

    def save(self) -> None:
        """Write down what of the images is only in memory: nothing here.

        :raises OSError: that cannot be done; ``filename`` says of which file.
        """

    def limit(self, name: str, capacity: int | None) -> None:
        """Give the file of that name, and those created there from now on, room for *capacity* bytes of data.

        None lifts the limit. What is stored already stays.
        """
        key = self._key(name)
        if capacity is None:
            self._limits.pop(key, None)
        else:
            self._limits[key] = capacity
        if key in self._files:
            self._files[key].capacity = capacity

    @property
    def limits(self) -> list[tuple[str, int]]:
        """The names that have a limit, with their bytes, sorted by name."""
        return sorted(self._limits.items())

    def file(self, name: str) -> ImageFile:
        """The file of that name, whatever it holds; OSError with ENOENT, EISDIR for a directory, or ENAMETOOLONG."""
        if name in self._remote:
            return self._remote[name]
        found = self._find(name)
        if self._as_saved is None:
            return found
        if found not in self._as_saved:
            self._as_saved[found] = self._look_into(name, found)
        return self._as_saved[found]

    def _find(self, name: str) -> ImageFile:
        """As :meth:`file`, on no server."""
        key = self._short_key(name)
        if key in self._files:
            return self._files[key]
        raise _error(errno.EISDIR if name and key in self._directories else errno.ENOENT, name)

    @contextmanager
    def seen_by_another_process(self) -> Iterator[None]:
        """Meanwhile files are what a process finds that is started now, beside those that have them open."""
        self._as_saved = found = dict[ImageFile, ImageFile]()
        try:
            yield
        finally:
            self._as_saved = None
            for file, as_saved in found.items():
                if as_saved is not file:
                    as_saved.end()

    def _look_into(self, name: str, file: ImageFile) -> ImageFile:
        """What a process finds that opens *name* now, which is *file*."""
        del name
        return file.as_saved()

    def add_remote(self, name: str, file: ImageFile) -> None:
        """Let *name*, which has a protocol, stand for a file of a server, until :meth:`forget_remote`."""
        self._remote[name] = file

    def is_remote(self, name: str) -> bool:
        """Whether a name stands for a file of a server."""
        return name in self._remote

    def forget_remote(self) -> list[ImageFile]:
        """Let no name stand for a file of a server any more; those files."""
        files = list(self._remote.values())
        self._remote.clear()
        return files

    def lookup(self, name: str, format: str | None = None) -> Image:  # noqa: A002 (QEMU's word)
        """The image in the file of that name.

        :param format: ``"raw"`` for the bytes of the file, to be read; otherwise it is what the file holds.
        :raises OSError: as :meth:`file`; EIO, with QEMU's text as ``strerror``, if it is none that can be opened.
        :raises UnsupportedError: it is none that can be opened here.
        """
        file = self.file(name)
        if format == "raw":
            return file.raw
        try:
            file.refresh()
        except UnsupportedError:
            raise
        except QmpError as error:
            raise OSError(errno.EIO, error.desc, name) from None
        self.open_data_file(file.image)
        return file.image

    def open_data_file(self, image: Image) -> bool:
        """Let the image have the data file that its header names; False if there is none of that name."""
        data = image.data_file
        if data is None or data.is_held or data.name is None:
            return True
        data.file = self.file(data.name) if data.name in self else None
        return data.file is not None

    def __contains__(self, name: str) -> bool:
        return name in self._remote or self._key(name) in self._files

    def items(self) -> list[tuple[str, Image]]:
        """All files with their images, sorted by name."""
        return sorted(((key, file.image) for key, file in self._files.items()), key=lambda item: item[0])

    def remove(self, name: str) -> None:
        """Delete the file; OSError as for :meth:`lookup`."""
        self.file(name)
        del self._files[self._key(name)]

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in place of one that has it; OSError as for :meth:`lookup` and :meth:`create`."""
        file, key = self.file(old), self._key(new)
        if posixpath.dirname(key) not in self._directories:
            raise _error(errno.ENOENT, new)
        if key in self._directories:
            raise _error(errno.EISDIR, new)
        del self._files[self._key(old)]
        self._files[key] = file
        file.name = new

    def copy(self, old: str, new: str) -> None:
        """Copy a file; OSError as for :meth:`rename`."""
        file, key = self.file(old).copy(), self._key(new)
        if posixpath.dirname(key) not in self._directories:
            raise _error(errno.ENOENT, new)
        file.name = new
        self._files[key] = file

    def mkdir(self, name: str) -> None:
        """Create a directory; OSError with ENOENT if its parent does not exist, EEXIST if the name is taken."""
        key = self._key(name)
        if key in self._directories or key in self._files:
            raise _error(errno.EEXIST, name)
        if posixpath.dirname(key) not in self._directories:
            raise _error(errno.ENOENT, name)
        self._directories.add(key)

    def is_directory(self, name: str) -> bool:
        """Whether there is a directory of that name."""
        return self._key(name) in self._directories

    def names(self, directory: str = "") -> list[str]:
        """The names in a directory, sorted; OSError with ENOENT if there is no such directory."""
        key = self._key(directory)
        if key not in self._directories:
            raise _error(errno.ENOENT, directory)
        names = [*self._files, *(self._directories - {"", "/"})]
        return sorted(posixpath.basename(name) for name in names if posixpath.dirname(name) == key)

    def backing_name(self, name: str, backing: str) -> str:
        """The name of the file that the header of image *name* calls *backing*: relative to that image's directory."""
        return backing if has_protocol(backing) else posixpath.join(posixpath.dirname(name), backing)

    def same_file(self, one: str, other: str) -> bool:
        """Whether two names are those of one file."""
        return self._key(one) == self._key(other)

    def chain(self, name: str, format: str | None = None) -> list[Image]:  # noqa: A002 (QEMU's word)
        """The image and its backing files, the active one first.

        :param format: as for :meth:`lookup`.
        :raises OSError: ENOENT if one is missing, ELOOP.
        """
        images, position = [self.lookup(name, format)], name
        while (backing := images[-1].backing) is not None:
            position = self.backing_name(position, backing)
            found = self.lookup(position, images[-1].backing_format)
            if found in images:
                raise _error(errno.ELOOP, name)
            images.append(found)
        return images

    def read_chain(self, name: str, offset: int, length: int) -> bytes:
        """What the disk in image *name* reads as; past its end there are zeroes. OSError as for :meth:`chain`."""
        return read_chain([image.content for image in self.chain(name)], offset, length)

    def compare(self, one: str, other: str) -> int | None:
        """The first offset where two disks read differently, None if nowhere; the shorter goes on with zeroes."""
        chains = [[image.content for image in self.chain(name)] for name in (one, other)]
        return first_difference(*chains)

    def clone(self) -> ImageStore:
        """An independent store of the same value in which nothing is open; the stored bytes are shared."""
        twin = ImageStore()
        twin._files = {key: file.copy() for key, file in self._files.items()}
        twin._directories = self._directories.copy()
        twin._limits = self._limits.copy()
        twin.starts = self.starts
        return twin

    def _short_key(self, name: str) -> str:
        if len(name) > MAXIMUM_PART // 4 and (
            len(os.fsencode(name)) >= MAXIMUM_PATH
            or any(len(os.fsencode(part)) > MAXIMUM_PART for part in name.split("/"))
        ):
            raise _error(errno.ENAMETOOLONG, name)
        return self._key(name)

    def _key(self, name: str) -> str:
        key = posixpath.normpath(name)
        return "" if key == "." else key


def _error(number: int, name: str) -> OSError:
    return OSError(number, os.strerror(number), name)
