"""A folder of the host as an image store."""

from __future__ import annotations

import errno
import os

from qbitsim.errors import UnsupportedError
from qbitsim.files.host import HostFile, HostFolder
from qbitsim.files.locks import CREATOR
from qbitsim.images.host.file import HostImageFile
from qbitsim.images.host.plain import HostRawImage
from qbitsim.images.pages import FILE_PAGE
from qbitsim.images.store import ImageStore, LockConflictError
from qbitsim.light_library import suppress
from qbitsim.sizes import SECTOR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qbitsim.images.image import Image
    from qbitsim.images.image_file import ImageFile

_KEPT_OPEN = 16


class HostImageStore(ImageStore):
    """The files below a folder, and those with absolute names, each opened when it is asked for.

    A file that somebody uses is one image, under whatever name. One that nobody uses is read anew when another program
    has changed it, and is written down when some others have been asked for after it.

    :param folder: names are relative to it; OSError if there is none.
    :param closes_unused: a file is closed with its last user, as QEMU does, so that its file system can be unmounted:
        what could not be written then is lost. Otherwise some stay open, and what they hold is written later.
    """

    __slots__ = ("_closes_unused", "_folder", "_known")

    def __init__(self, folder: str, *, closes_unused: bool = False) -> None:
        super().__init__()
        self._closes_unused = closes_unused
        self._folder = HostFolder(folder, self.fdsets)
        self._known: dict[tuple[int, int], HostImageFile] = {}  # in the order in which they were asked for

    def __repr__(self) -> str:
        return f"<HostImageStore {self._folder.path!r}>"

    def __deepcopy__(self, memo: object) -> HostImageStore:
        """Refuse: a machine on files of the host has no snapshots.

        :raises UnsupportedError: always.
        """
        raise UnsupportedError("a snapshot of a machine whose images are files of the host")

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
        """As every store; OSError as the host has it."""
        if not name:
            raise _error(errno.ENOENT, name)
        if size is None:
            assert backing is not None
            size = self.lookup(self.backing_name(name, backing)).size
        opened = HostFile(name, self._folder, writable=True, create=True)
        file = self._known.get(opened.identity)
        if file is None or not file.bytes.is_open:
            file = self._new_file(name, opened)
            HostRawImage(file)
        self._remember(opened.identity, file)
        conflict = file.locks.conflict(*CREATOR)
        if conflict is not None:
            raise LockConflictError(conflict, name)
        size = -(-size // SECTOR) * SECTOR
        if format == "qcow2":
            options |= {"backing": backing, "backing_format": backing_format}
        try:
            image = file.make_image(format, size, **options)
        except OSError:
            if format == "qcow2":
                self.remove(name)  # as QEMU does (qcow2_co_create_opts)
            raise
        if format != "raw":
            return image
        # QEMU writes the first page of a new file so that it is allocated (file-posix.c, allocate_first_block).
        with suppress(OSError):  # it does not matter where there is no room
            image.content.write(0, bytes(min(FILE_PAGE, image.size)))
        return image

    def limit(self, name: str, capacity: int | None) -> None:
        """As every store."""
        key = self._key(name)
        if capacity is None:
            self._limits.pop(key, None)
        else:
            self._limits[key] = capacity
        if name in self:
            self.file(name).capacity = capacity

    def _find(self, name: str) -> HostImageFile:
        """As every store; OSError as the host has it."""
        identity = self._folder.identity(name)
        file = self._known.get(identity)
        if file is None or not file.bytes.is_open or not (file.users or file.is_current):
            opened = HostFile(name, self._folder)
            identity = opened.identity
            file = self._new_file(name, opened)
        file.bytes.path = name
        self._remember(identity, file)
        return file

    def _look_into(self, name: str, file: ImageFile) -> ImageFile:
        """A file that somebody has open is read anew."""
        assert isinstance(file, HostImageFile)
        if not file.users:
            return file
        return self._new_file(name, HostFile(name, self._folder))

    def _new_file(self, name: str, opened: HostFile) -> HostImageFile:
        file = HostImageFile(name, opened, self._limits.get(self._key(name)))
        file.closes_unused = self._closes_unused
        return file

    def _remember(self, identity: tuple[int, int], file: HostImageFile) -> None:
        """Keep the file at hand; those that nobody has used for long are closed."""
        self._forget_closed()
        self._known.pop(identity, None)
        self._known[identity] = file
        unused = [key for key, each in self._known.items() if not each.users]
        for key in unused[:-_KEPT_OPEN]:
            self._known[key].save()
            del self._known[key]

    def _forget_closed(self) -> None:
        for identity in [each for each, file in self._known.items() if not file.bytes.is_open]:
            del self._known[identity]

    def save(self) -> None:
        """As every store: all that was not written when its last user closed it, or before that."""
        self._forget_closed()
        for file in self._known.values():
            try:
                file.save()
            except OSError as error:
                raise OSError(error.errno, error.strerror, file.name) from None

    def __contains__(self, name: str) -> bool:
        return name in self._remote or (self._folder.exists(name) and not self._folder.is_directory(name))

    def items(self) -> list[tuple[str, Image]]:
        """The files that are in use, sorted by name."""
        return sorted(
            ((file.name, file.image) for file in self._known.values() if file.users), key=lambda item: item[0]
        )

    def remove(self, name: str) -> None:
        """As every store."""
        self._folder.remove(name)

    def rename(self, old: str, new: str) -> None:
        """As every store."""
        self._folder.rename(old, new)
        file = self._known.get(self._folder.identity(new))
        if file is not None:
            file.name = new

    def copy(self, old: str, new: str) -> None:
        """As every store."""
        self.file(old).image.save()
        self._folder.copy(old, new)

    def mkdir(self, name: str) -> None:
        """As every store."""
        self._folder.mkdir(name)

    def is_directory(self, name: str) -> bool:
        """As every store."""
        return self._folder.is_directory(name)

    def names(self, directory: str = "") -> list[str]:
        """As every store."""
        return self._folder.names(directory)

    def same_file(self, one: str, other: str) -> bool:
        """As every store; through links."""
        if self._folder.exists(one) and self._folder.exists(other):
            return self._folder.identity(one) == self._folder.identity(other)
        return super().same_file(one, other)

    def clone(self) -> ImageStore:
        """Refuse: what is in files of the host cannot be had twice.

        :raises UnsupportedError: always.
        """
        raise UnsupportedError("a second state of files of the host")


def _error(number: int, name: str) -> OSError:
    return OSError(number, os.strerror(number), name)
