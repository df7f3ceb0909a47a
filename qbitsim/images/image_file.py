"""A file of the image store: who has it open, how it fails, how much it may hold, and the image that is in it now.

A file is bytes and, for who opens it as one, an image. Where the image is a qcow2 one it is the truth, and its bytes
follow from it (:attr:`ImageFile.raw`); an image of another format works on the bytes (:attr:`.Image.plain`). Whoever
writes bytes makes a plain file of it (:meth:`ImageFile.take_bytes`), in which an image is looked for when it is opened
again (:meth:`ImageFile.refresh`).
"""

from __future__ import annotations

from qbitsim.files.locks import Locks
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.qcow2.structures import MAGIC
from qbitsim.images.raw import RawImage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qbitsim.files.faults import Faults
    from qbitsim.files.tree import ByteSource
    from qbitsim.images.image import Image
    from qbitsim.images.qcow2.rendered import RenderedFile

_MAGIC = MAGIC.to_bytes(4, "big")
_BEGINNINGS_OF_VMDK = frozenset({b"K", b"C", b"#", b" ", b"\n", b"\r", b"v"})
"""A VMDK file begins with a magic number or with a text."""


class ImageFile:
    """One file. Making an image in it replaces the one that was there, for everybody who has the file open.

    :ivar name: under which it was created, or renamed.
    :ivar image: what it holds; there is none until the first one is made or loaded.
    :ivar locks: who has it open.
    :ivar faults: rules that make requests on the disk in it fail, None if there are none.
    :ivar capacity: the most bytes that the disk, and bitmaps that are to be stored, may take; None for no limit.
    """

    __slots__ = ("_plain", "_rendered", "capacity", "faults", "image", "locks", "name")

    image: Image

    def __init__(self, name: str, capacity: int | None = None) -> None:
        self.name = name
        self.capacity = capacity
        self.locks = Locks()
        self.faults: Faults | None = None
        self._plain: RawImage | None = None  # the bytes of which the image was made, as long as nobody has written it
        self._rendered: tuple[Qcow2Image, RenderedFile] | None = None

    def make_raw(self, size: int) -> RawImage:
        """Let the file be a hole of *size* bytes."""
        self.image = image = RawImage(self, size)
        self._plain = None
        return image

    def make_qcow2(self, size: int, **options: Any) -> Qcow2Image:
        """Let the file hold an empty :class:`.Qcow2Image`."""
        self.image = image = Qcow2Image(self, size, **options)
        self._plain = None
        return image

    def make_image(self, image_format: str, size: int, **options: Any) -> Image:
        """Let the file hold an empty image.

        :param options: those of the format: of :meth:`make_qcow2` or :func:`.write_new`; a raw one has none.
        :raises OSError: as the file says.
        """
        if image_format == "qcow2":
            return self.make_qcow2(size, **options)
        if image_format == "vmdk":
            from qbitsim.images.vmdk.new_file import write_new  # noqa: PLC0415 - few make one

            return write_new(self, size, **options)
        assert image_format == "raw"
        return self.make_raw(size)

    # -- as bytes

    @property
    def raw(self) -> RawImage:
        """The file as it is, byte for byte, to be read. Tables of an open image are there as after a flush."""
        plain = self.image.plain or self._plain
        if plain is not None:
            return plain
        from qbitsim.images.file_bytes import RenderedContent  # noqa: PLC0415 - few look at the bytes

        found = RawImage(self, 0)
        found.content = RenderedContent(self._render(), self.image)
        return found

    @property
    def bytes_read(self) -> ByteSource:
        """The bytes of :attr:`raw`."""
        from qbitsim.images.file_bytes import ContentBytes  # noqa: PLC0415 - few look at the bytes

        is_plain = self.image.plain is not None or self._plain is not None
        return ContentBytes(self.raw.content) if is_plain else self._render()

    def _render(self) -> RenderedFile:
        from qbitsim.images.qcow2.rendered import RenderedFile  # noqa: PLC0415 - few look at the bytes

        image = self.image
        assert isinstance(image, Qcow2Image)
        if self._rendered is None or self._rendered[0] is not image:
            self._rendered = image, RenderedFile(image)
        return self._rendered[1]

    def take_bytes(self) -> RawImage:
        """The file as it is, to be written; what a format makes of it is found out by :meth:`refresh`."""
        image = self.image
        if not isinstance(image, RawImage):
            self.image = image = self._own_bytes()
        return image

    def _own_bytes(self) -> RawImage:
        """A plain image of the file's own, with the bytes that it has."""
        plain, self._plain, self._rendered = self.image.plain or self._plain, None, None
        if plain is None:
            plain = self.raw
            plain.content = plain.content.clone()
        return plain

    def refresh(self) -> None:
        """Find out what image the file holds, if its bytes may have been written since somebody asked.

        :raises QmpError: none that can be opened, in QEMU's words; the file is as it was.
        :raises UnsupportedError: none that can be opened here.
        """
        image = self.image
        if not isinstance(image, RawImage):
            return
        beginning = image.content.read(0, min(image.size, len(_MAGIC)))
        if beginning == _MAGIC:
            self._load(image)
        elif beginning[:1] in _BEGINNINGS_OF_VMDK:
            from qbitsim.images.vmdk.loading import PROBED, is_vmdk, load_vmdk  # noqa: PLC0415 - few files are

            if is_vmdk(image.content.read(0, min(image.size, PROBED))):
                load_vmdk(self, image)

    def _load(self, plain: RawImage) -> None:
        """Make a qcow2 image of the bytes that the file has, with :data:`.MAGIC` at the beginning."""
        from qbitsim.images.file_bytes import ContentBytes  # noqa: PLC0415 - few files are written as bytes
        from qbitsim.images.qcow2.loading import load_image  # noqa: PLC0415

        load_image(self, ContentBytes(plain.content))
        self._plain = plain

    def let_format_write(self) -> None:
        """A format writes to the file from now on: its bytes follow from the image, no longer from what they were."""
        self._plain = None

    # -- for who has it open

    def open(self) -> None:
        """Somebody uses the file from now on."""

    def close(self) -> None:
        """Somebody uses it no more."""

    def make_writable(self) -> None:
        """Open it for writing, too; OSError if that cannot be."""

    def flush(self) -> None:
        """Let all that was written survive a failure of the power."""

    def reload(self) -> None:
        """Another process may have written to the file: forget what was known of it. Nothing is, of one in memory."""

    def end_at(self, length: int) -> None:
        """The file ends inside its last sector; only one of the host does."""

    def punch(self, offset: int, length: int) -> None:
        """Let the host have a range of the file back, which nothing refers to."""

    def as_saved(self) -> ImageFile:
        """What another process finds that looks into the file: itself, unless changes are only in memory."""
        image = self.image
        if not (isinstance(image, Qcow2Image) and image.has_unsaved_tables):
            return self
        twin = ImageFile(self.name, self.capacity)
        twin.locks, twin.faults = self.locks, self.faults
        image.copy_as_saved(twin)
        return twin

    def end(self) -> None:
        """Nobody looks at it any more."""

    def copy(self) -> ImageFile:
        """A file of the same name and capacity with an image of the same value, which nobody has open."""
        twin = ImageFile(self.name, self.capacity)
        if self._plain is not None:
            twin._plain = self._plain.copy_into(twin)
        self.image.copy_into(twin)
        return twin
