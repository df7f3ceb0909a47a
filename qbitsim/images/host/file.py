"""A file of the host that holds an image."""

from __future__ import annotations

from qbitsim.errors import UnsupportedError
from qbitsim.files.locks import Locks
from qbitsim.files.permissions import ALL, RESIZE, WRITE, WRITE_UNCHANGED
from qbitsim.images.host.plain import HostRawImage
from qbitsim.images.host.qcow2 import HostQcow2Image
from qbitsim.images.image_file import ImageFile
from qbitsim.images.qcow2.loading import image_options, look_up_file, take_parsed
from qbitsim.light_library import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qbitsim.files.tree import OpenFile
    from qbitsim.images.image import Image
    from qbitsim.images.raw import RawImage


class HostLocks(Locks):
    """Who of this program has the file open, with locks on the file that other programs see.

    :param file: open.
    """

    __slots__ = ("_file",)

    def __init__(self, file: OpenFile) -> None:
        super().__init__()
        self._file = file

    def conflict(self, perm: int, shared: int, holder: object = None) -> str | None:
        """The conflict with this program, or else with another."""
        return super().conflict(perm, shared, holder) or self._file.conflict(perm, ALL & ~shared)

    def acquire(self, holder: object, perm: int, shared: int) -> str | None:
        """Take the locks; OSError if the file is to be written and cannot be."""
        found = super().conflict(perm, shared, holder)
        if found is not None:
            return found
        others = [held for user, held in self._holders.items() if user is not holder]
        found = self._lock([*others, (perm, shared)])
        if found is None:
            self._holders[holder] = perm, shared
        return found

    def release(self, holder: object) -> None:
        """Give up what *holder* has, if anything."""
        super().release(holder)
        self._lock(list(self._holders.values()))

    def _lock(self, holders: list[tuple[int, int]]) -> str | None:
        used = unshared = 0
        for perm, shared in holders:
            used |= perm
            unshared |= ALL & ~shared
        if used & (WRITE | WRITE_UNCHANGED | RESIZE):
            self._file.make_writable()
        return self._file.lock(used, unshared) if self._file.is_open else None


class HostImageFile(ImageFile):
    """A file of the host, and what it holds now.

    :param name: that the machine has for it.
    :param file: open.
    :ivar bytes: the file.
    :ivar users: how many nodes have it open; *closes_unused*: it is closed with the last one.
    """

    __slots__ = ("_stamp", "bytes", "closes_unused", "users")

    image: Image

    def __init__(self, name: str, file: OpenFile, capacity: int | None = None) -> None:
        super().__init__(name, capacity)
        self.bytes = file
        self.users = 0
        self.closes_unused = False
        self._stamp = file.stamp
        self.locks = HostLocks(file)
        self.image = self._plain_image()

    def _plain_image(self) -> HostRawImage:
        """The bytes of the file as an image."""
        return HostRawImage(self)

    def make_raw(self, size: int) -> HostRawImage:
        """Let the file be a hole of *size* bytes; OSError as the host has it, with the file as long as it is then."""
        self.bytes.make_writable()
        self.bytes.truncate(0)
        try:
            self.bytes.truncate(size)
        finally:
            self.image = image = self._plain_image()
        return image

    def make_qcow2(self, size: int, **options: Any) -> HostQcow2Image:
        """Write an empty qcow2 image; OSError as the host has it, with bytes in the file that are no image."""
        self.bytes.make_writable()
        self.bytes.truncate(0)
        self.image = self._plain_image()
        try:
            image = HostQcow2Image(self, size, **options)
            image.begin_file()
        except OSError:
            self.image.save()
            raise
        self.image = image
        return image

    @property
    def raw(self) -> HostRawImage:
        """As of every file: what is only in memory is written down before."""
        if isinstance(self.image, HostRawImage):
            return self.image
        self.image.save()
        return self._plain_image()

    @property
    def bytes_read(self) -> OpenFile:
        """The file."""
        self.image.save()
        return self.bytes

    def _own_bytes(self) -> HostRawImage:
        return self.raw

    def _load(self, plain: RawImage) -> None:
        parsed = look_up_file(self.bytes)
        image = HostQcow2Image(self, parsed.metadata.size, **image_options(parsed.metadata))
        take_parsed(image, parsed, image.placed_content)
        image.take_up()
        self.image = image

    def make_writable(self) -> None:
        """Open it for writing, too; OSError if the host does not allow it."""
        self.bytes.make_writable()

    def flush(self) -> None:
        """Let all that was written survive a failure of the power."""
        self.image.save()
        if self.bytes.writable:
            self.bytes.flush()

    def reload(self) -> None:
        """As of every file."""
        if not self.is_current:
            self.forget()

    def forget(self) -> None:
        """Let the file hold what its bytes say, whatever was known of it."""
        self.image = self._plain_image()
        self.note_saved()

    def end_at(self, length: int) -> None:
        """As every file."""
        self.bytes.truncate(length)

    def punch(self, offset: int, length: int) -> None:
        """Let the host have the range back."""
        self.bytes.punch(offset, length)

    def open(self) -> None:
        """Somebody uses the file from now on."""
        self.users += 1

    def close(self) -> None:
        """Somebody uses it no more; with the last one all is written down.

        QEMU ends whether or not that works. Here it is tried again by whoever asks for the file, or saves the store.
        """
        self.users -= 1
        if not self.users:
            with suppress(OSError):
                self.image.save()
            if self.bytes.is_handed_over or self.closes_unused:
                self.bytes.close()

    def end(self) -> None:
        """Close it; what was not written is lost."""
        self.bytes.close()

    @property
    def is_current(self) -> bool:
        """Whether the image is what the file holds: nobody but this program has written to it."""
        return self.bytes.touched or self.bytes.stamp == self._stamp

    def save(self) -> None:
        """Write down what is only in memory; nothing of an image that nobody uses and another program has changed."""
        if self.users or self.is_current:
            self.image.save()

    def note_saved(self) -> None:
        """All is written down."""
        self.bytes.touched = False
        self._stamp = self.bytes.stamp

    def copy(self) -> ImageFile:
        """Refuse: what is in a file of the host cannot be had twice.

        :raises UnsupportedError: always.
        """
        raise UnsupportedError("a second state of files of the host")
