"""How qemu-img opens image files: formats, locks, backing files, and what it says when it cannot."""

from __future__ import annotations

import errno

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files.failures import NoRegularFileError
from qbitsim.files.locks import READER, WRITER
from qbitsim.files.permissions import ALL, WRITE
from qbitsim.images.chain import Chain
from qbitsim.images.image import Image
from qbitsim.images.image_file import ImageFile
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.store import ImageStore, has_protocol
from qbitsim.profiles import Profile
from qbitsim.qemu_img.formats import known_format
from qbitsim.qemu_img.options import Options, ToolError, key_values
from qbitsim.standard_streams import StandardStreams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_RAW_WARNING = """\
WARNING: Image format was not specified for '{}' and probing guessed raw.
         Automatically detecting the format is dangerous for raw images, write operations on block 0 will be restricted.
         Specify the 'raw' format explicitly to remove the restrictions.
"""

STALE_BITMAPS = (
    "{}: warning: This qcow2 v2 image contains bitmaps, but they may have been modified by a program without "
    "persistent bitmap support; so now they must all be considered inconsistent\n"
    "Some clusters may be leaked, run 'qemu-img check -r' on the image file to fix."
)
CACHE_MODES = {"none", "off", "writeback", "unsafe", "directsync", "writethrough"}


class Call:
    """One run of qemu-img.

    :ivar store: the files.
    :ivar options: the command line.
    :ivar profile: whose qemu-img it is.
    :ivar now: nanoseconds since 1970.
    :ivar streams: where it prints.
    :ivar unlocked: names of files on which no locks are taken (``file.locking=off``).
    """

    __slots__ = (
        "_files",
        "_least_step",
        "_opened",
        "_protocols",
        "_shown",
        "_shows_progress",
        "_written",
        "now",
        "options",
        "profile",
        "store",
        "streams",
        "unlocked",
    )

    def __init__(
        self, store: ImageStore, options: Options, profile: Profile, streams: StandardStreams, now: int = 0
    ) -> None:
        self.store = store
        self.options = options
        self.profile = profile
        self.now = now
        self.streams = streams
        self.unlocked: set[str] = set()
        self._shows_progress = False
        self._least_step = 1.0
        self._shown = 0.0
        self._files: dict[str, tuple[str, str | None]] = {}
        self._protocols: dict[str, str] = {}
        self._written: list[Image] = []
        self._opened: dict[ImageFile, tuple[int, int]] = {}

    def print(self, text: str) -> None:
        """Print *text*, which brings its own line ends, on standard output."""
        self.streams.print(text)

    def complain(self, text: str) -> None:
        """Print *text*, which brings its own line ends, on standard error."""
        self.streams.complain(text)

    def say(self, text: str) -> None:
        """Print a line unless ``-q`` was given."""
        if "q" not in self.options:
            self.streams.print(text + "\n")

    def start_progress(self, least_step: float = 1.0) -> None:
        """From now on progress is shown, if ``-p`` was given; with nothing shown, a line ends all the same.

        :param least_step: per cent that are not worth to be shown.
        """
        self._shows_progress = "p" in self.options and "q" not in self.options
        self._least_step = least_step

    def progress(self, percent: float) -> None:
        """Show how far it is, if ``-p`` was given, but for steps that are too small.

        100 may be shown several times (progress_report, util/qemu-progress.c).
        """
        if not self._shows_progress:
            self.start_progress()
        if self._shows_progress and (abs(percent - self._shown) > self._least_step or percent in {0, 100}):
            self._shown = percent
            self.streams.print(f"    ({percent:3.2f}/100%)\r")
            self.streams.flush()

    def end_progress(self) -> None:
        """The line that shows the progress ends, if there is one; by default when all is over."""
        if self._shows_progress:
            self._shows_progress = False
            self.streams.print("\n")

    def note_written(self, image: Image) -> None:
        """Remember an image that was opened for writing; the host gets what is discarded of it."""
        self._written.append(image)
        _pass_discards(image, wanted=True)

    def close(self) -> None:
        """Close what was opened. Bitmaps of what was opened for writing are stored anew, changed or not."""
        self.end_progress()
        try:
            for image in self._written:
                image.close_written()
                _pass_discards(image, wanted=False)
        finally:
            for file in self._opened:
                file.close()
                file.locks.release(self)
        for file in self.store.forget_remote():
            if file not in self._opened:
                file.open()
                file.close()

    def hold(self, file: ImageFile, perm: int, shared: int) -> str | None:
        """Take the locks on a file, until the end; the conflict with other users, if there is one.

        :raises OSError: the file cannot be opened for writing.
        """
        held_perm, held_shared = self._opened.get(file, (0, ALL))
        wanted = perm | held_perm, shared & held_shared
        if file.name in self.unlocked:
            if perm & WRITE:
                file.make_writable()
            wanted = 0, ALL
        conflict = file.locks.conflict(*wanted, holder=self) or file.locks.acquire(self, *wanted)
        if conflict is None:
            if file not in self._opened:
                file.open()
            self._opened[file] = wanted
        return conflict

    def file_name(self, word: str) -> str:
        """The file that *word* of the command line, which has been opened, stands for."""
        return self._files.get(word, (word, None))[0]

    def remember_file(self, word: str, name: str, format_name: str | None) -> None:
        """Remember the file that *word* of the command line stands for, and as what it was opened."""
        self._files[word] = name, format_name

    def note_protocol(self, word: str, driver: str) -> None:
        """Remember that *word* was opened as what a protocol shows, without a format."""
        self._protocols[word] = driver

    def protocol(self, word: str) -> str | None:
        """The protocol that *word* was opened as, None if it was opened as an image."""
        return self._protocols.get(word)

    def chain(self, word: str) -> list[Image]:
        """The image that *word* of the command line, which has been opened, stands for, and its backing files."""
        return self.store.chain(*self._files.get(word, (word, None)))


def _pass_discards(image: Image, *, wanted: bool) -> None:
    """Clusters that the format discards go back to the host, as the file below the format has it by default."""
    if isinstance(image, Qcow2Image):
        image.layout.clusters.gives_back = wanted


def open_image(
    call: Call,
    word: str,
    format_name: str | None,
    *,
    write: bool = False,
    backing: bool = True,
    data: bool = True,
    status: int = 1,
    as_options: bool | None = None,
) -> Image:
    """The image that *word* names, checked as QEMU does when it opens it.

    :param format_name: what the command line says the format is, None to probe.
    :param write: it is opened for writing.
    :param backing: its backing files are opened, too; :param data: and its external data file.
    :param status: the exit status of a failure.
    :param as_options: *word* is options of a block device; by default if the command line has ``--image-opts``.
    :raises ToolError: ``Could not open 'x': ...``.
    """
    name = word
    specified = "image-opts" in call.options if as_options is None else as_options
    if specified and format_name is not None:
        raise ToolError("--image-opts and --format are mutually exclusive", status)
    try:
        if write and "U" in call.options and call.options.command in {"check", "snapshot"}:
            raise ToolError("force-share=on can only be used with read-only images")
        if specified or word.startswith("json:"):
            name, format_name, read_only = _parse_image_options(call, word)
            if read_only and write:
                raise ToolError("Block node is read-only")
        elif has_protocol(word):
            name = plain_name(call.store, word)
        call.remember_file(word, name, format_name)
        image = _open_file(call, name, format_name, write=write, data=data)
        if image.format == "raw" and format_name is None and write:
            call.complain(_RAW_WARNING.format(name))
        image.reopen()
        if write:
            if isinstance(image, Qcow2Image):
                image.drop_unknown_autoclear()
            call.note_written(image)  # even if there is no backing file: it is open before that is looked for
        if backing:
            open_backing(call, image, name, write=write)
    except ToolError as error:
        raise ToolError(f"Could not open '{word}': {error.text}", status) from None
    return image


_IMAGE_OPTIONS = {
    *("driver", "file.driver", "file.filename", "file.locking", "filename", "read-only"),
    *("file.read-only", "file.aio", "file.discard", "discard", "cache.direct", "cache.no-flush"),  # without effect here
}
_OTHER_OPTIONS = (
    r"(file|backing|data-file|encrypt|cache|server|image)(\..*)?|node-name|discard|detect-zeroes|auto-read-only|"
    r"force-share|offset|size|lazy-refcounts|.*cache.*|overlap-check.*|pass-discard-.*|snapshot|locking|aio|export|path"
)


def _parse_image_options(call: Call, word: str) -> tuple[str, str | None, bool]:
    """The file, the format and whether it is read-only, of options such as ``driver=qcow2,file.filename=a``."""
    options = _json_options(word) if word.startswith("json:") else dict(key_values(word))
    if "=" not in word and not word.startswith("json:"):
        raise ToolError(f"Cannot find device='{word}' nor node-name='{word}'")
    driver = options.get("driver")
    if "nbd" in {driver, options.get("file.driver")}:
        return _export_options(call, word, options)
    if driver is not None and not known_format(driver):
        raise ToolError(f"Unknown driver '{driver}'")
    for key in options:
        if key not in _IMAGE_OPTIONS:
            import re  # noqa: PLC0415 - for a complaint

            if re.fullmatch(_OTHER_OPTIONS, key):
                raise UnsupportedError(f"the image options '{word}'")
            raise ToolError(f"Block format '{driver or 'raw'}' does not support the option '{key}'")
    filename = options.get("file.filename", "")
    if has_protocol(filename):
        return plain_name(call.store, filename), driver, options.get("read-only") == "on"
    if driver not in {None, "qcow2", "raw", "vmdk"} or options.get("file.driver", "file") != "file":
        raise UnsupportedError(f"the image options '{word}'")
    if "file.filename" not in options:
        text = "Must specify either driver or file" if driver is None else 'A block device must be specified for "file"'
        raise ToolError(text)
    if options.get("file.locking", "auto") not in {"auto", "on", "off"}:
        raise ToolError(f"invalid parameter value: {options['file.locking']}")
    if options.get("file.locking") == "off":
        call.unlocked.add(options["file.filename"])
    return options["file.filename"], driver, options.get("read-only") == "on"


def _export_options(call: Call, word: str, options: dict[str, str]) -> tuple[str, str | None, bool]:
    """The same for an export, which is the disk itself or holds an image."""
    from qbitsim.qemu_img.remote import add_export, take_image_options  # noqa: PLC0415 - for those who are clients

    driver: str | None = options.get("driver")
    if driver == "nbd":
        given, driver = options, "raw"
        call.note_protocol(word, "nbd")
    else:
        given = {key.removeprefix("file."): value for key, value in options.items() if key.startswith("file.")}
    try:
        name = add_export(call.store, take_image_options(given))
    except UnsupportedError:
        raise
    except QmpError as error:
        raise _as_told(error) from None
    return name, driver, options.get("read-only") == "on"


def _as_told(error: QmpError) -> ToolError:
    """A refusal with what QEMU adds where people read."""
    return ToolError(f"{error.desc}\n{error.hint}".rstrip("\n"))


def _json_options(word: str) -> dict[str, str]:
    """The options of a ``json:`` name, with dotted names."""
    from qbitsim.qmp.names import json_name  # noqa: PLC0415 - hardly ever wanted

    return dict(_flattened(json_name(word), ""))


def _flattened(given: Mapping[str, object], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in given.items():
        if isinstance(value, dict):
            yield from _flattened(value, f"{prefix}{name}.")
        else:
            text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
            yield f"{prefix}{name}", text


def _repair_if_dirty(call: Call, image: Image) -> None:
    """Repair an image that is opened for writing and was not closed; who checks it does so himself."""
    if isinstance(image, Qcow2Image) and call.options.command != "check":
        try:
            call.complain("".join(f"{line}\n" for line in image.repair_if_dirty()))
        except UnsupportedError:
            raise
        except QmpError as error:
            raise ToolError(error.desc) from None


def _open_file(call: Call, name: str, format_name: str | None, *, write: bool, data: bool = True) -> Image:
    if format_name is not None and not known_format(format_name):
        raise ToolError(f"Unknown driver '{format_name}'")
    if write:
        _check_may_write(call.store, name)
    image = find_image(call.store, name, format_name)
    refusal = image.refusal(write=write and call.options.command != "check")
    if refusal is not None:
        raise ToolError(refusal)
    perm, shared = WRITER if write else READER
    if image.format == "raw" or "U" in call.options:
        # The raw driver is a filter: nothing that others do to its file disturbs it (block/raw-format.c).
        shared = ALL
    _hold(call, name, image.file, perm, shared)
    if write:
        image = _let_write(image)
        _repair_if_dirty(call, image)
    if data and image.data_file is not None and not image.data_file.is_held:
        if image.data_file.name is None:
            raise ToolError("'data-file' is required for this image")
        image.data_file.file = _find_file(call.store, image.data_file.name)
        _hold(call, image.data_file.name, image.data_file.file, perm, shared)
    if isinstance(image, Qcow2Image) and image.has_stale_bitmaps:
        call.complain(STALE_BITMAPS.format("qemu-img"))
        image.has_stale_bitmaps = not write
    return image


def _check_may_write(store: ImageStore, name: str) -> None:
    """Refuse an export that its server lets nobody write, before anybody looks what is in it."""
    name = plain_name(store, name)
    if store.is_remote(name):
        from qbitsim.qemu_img.remote import check_writable  # noqa: PLC0415 - for those who are clients

        check_writable(store.file(name))


def _hold(call: Call, name: str, file: ImageFile, perm: int, shared: int) -> None:
    """Take the locks on a file; ToolError as the file driver puts it."""
    try:
        conflict = call.hold(file, perm, shared)
    except OSError as error:
        raise ToolError(f"Could not open '{name}': {error.strerror}") from None
    if conflict is not None:
        raise ToolError(f"{conflict}\nIs another process using the image [{name}]?")


def _let_write(image: Image) -> Image:
    """The image, to be written from now on: as bytes, or by its format."""
    if image.format == "raw":
        return image.file.take_bytes()
    image.file.let_format_write()
    return image


def find_image(store: ImageStore, name: str, format_name: str | None) -> Image:
    """The image in file *name*, to be read.

    :param format_name: what it is taken for, None to probe.
    :raises ToolError: there is no such file, or no such image in it.
    """
    file = _find_file(store, name)
    if format_name == "raw":
        return file.raw
    try:
        file.refresh()
    except UnsupportedError:
        raise
    except QmpError as error:
        raise _as_told(error) from None
    if format_name == "qcow2" and file.image.format != "qcow2":
        raise ToolError("Image is not in qcow2 format")
    if format_name == "vmdk":
        return _find_vmdk(file)
    return file.image


def _find_vmdk(file: ImageFile) -> Image:
    from qbitsim.images.vmdk.loading import open_vmdk  # noqa: PLC0415 - few ask for one

    try:
        return open_vmdk(file)
    except UnsupportedError:
        raise
    except QmpError as error:
        raise _as_told(error) from None


def _find_file(store: ImageStore, name: str) -> ImageFile:
    """The file; ToolError as the file driver puts it."""
    name = plain_name(store, name)
    try:
        return store.file(name)
    except OSError as error:
        if error.errno == errno.EISDIR or isinstance(error, NoRegularFileError):
            raise ToolError(f"'file' driver requires '{name}' to be a regular file") from None
        raise ToolError(f"Could not open '{name}': {error.strerror}") from None


def plain_name(store: ImageStore, name: str) -> str:
    """The file that a name with a protocol stands for; one on a server is connected to.

    :raises ToolError: ``Unknown protocol 'x'``, or the server cannot be reached.
    :raises UnsupportedError: for any other protocol than ``file`` and ``nbd``.
    """
    if not has_protocol(name) or store.is_remote(name):
        return name
    if name.startswith("json:"):
        raise UnsupportedError(f"the file name '{name}'")
    from qbitsim.drivers.completion import named_file  # noqa: PLC0415 - loads all drivers

    try:
        options = named_file(name)
        if options["driver"] == "nbd":
            from qbitsim.qemu_img.remote import add_export  # noqa: PLC0415 - for those who are clients

            return add_export(store, options)
    except UnsupportedError:
        raise
    except QmpError as error:
        raise _as_told(error) from None
    if options.keys() != {"driver", "filename"}:
        raise UnsupportedError(f"the file name '{name}'")
    plain: str = options["filename"]
    return plain


def open_backing(call: Call, image: Image, name: str, *, write: bool = False) -> list[Image]:
    """The backing files of *image*, which was opened as *name*.

    :param write: it was opened for writing, and is locked.
    :raises ToolError: ``Could not open backing file: ...``
    :raises UnsupportedError: they lead in a circle; QEMU goes round until it has no memory.
    """
    top = image
    found: list[Image] = []
    while image.backing is not None:
        name = call.store.backing_name(name, image.backing)
        try:
            below = _open_file(call, name, image.backing_format, write=False)
            if write and below is top and "U" not in call.options:
                raise ToolError(f'Failed to get shared "write" lock\nIs another process using the image [{name}]?')
        except ToolError as error:
            raise ToolError("Could not open backing file: " * (len(found) + 1) + error.text) from None
        if below is top or below in found:
            raise UnsupportedError(f"backing files in a circle, such as that of '{name}'")
        found.append(below)
        image = below
    return found


def open_backing_file(call: Call, name: str, format_name: str | None, *, busy: Image) -> list[Image]:
    """The image called *name*, which is to be a backing file, and those below it.

    :param busy: the image whose backing file it is to be, which is open for writing.
    :raises ToolError: ``Could not open new backing file 'x': ...``.
    """
    text = 'Failed to get shared "write" lock\nIs another process using the image [{}]?'
    locked = "U" not in call.options
    try:
        found = [_open_file(call, name, format_name, write=False)]
        if locked and found[0].file is busy.file and found[0].format != "raw":
            raise ToolError(text.format(name))
        found += open_backing(call, found[0], name)
        if locked and busy in found[1:]:
            raise ToolError("Could not open backing file: " + text.format(busy.name))
    except ToolError as error:
        raise ToolError(f"Could not open new backing file '{name}': {error.text}") from None
    return found


def contents(call: Call, word: str) -> Chain:
    """What is in the image that *word* names and in its backing files, which have been opened."""
    return [image.content for image in call.chain(word)]


def check_not_open(call: Call, name: str, words: list[str]) -> None:
    """Refuse to write over a file that one of the images *words*, which have been opened, is or has below it.

    :raises ToolError: in the words of the file's lock.
    """
    if name in call.store and "U" not in call.options:
        busy = [image.file for word in words for image in call.chain(word)]
        if call.store.file(name) in busy:
            raise ToolError(f'Failed to get "write" lock\nIs another process using the image [{name}]?')


def check_cache(call: Call, option: str = "t", what: str = "cache", status: int = 1) -> None:
    """Refuse a cache mode that does not exist; which one it is does not matter here."""
    mode = call.options.last(option)
    if mode is not None and mode not in CACHE_MODES:
        raise ToolError(f"Invalid {what} option: {mode}", status)


def output_format(call: Call) -> str:
    """``human`` or ``json``, as ``--output`` says."""
    wanted = call.options.last("output")
    if wanted in {None, "human"}:
        return "human"
    if len(call.options.words) != 1 and not call.profile.qemu_img_commands_complain:
        return "human"  # the number of files comes first, and is about to be refused
    if wanted == "json":
        return "json"
    raise wrong_output_format(wanted, call.profile)


def wrong_output_format(wanted: str | None, profile: Profile) -> ToolError:
    """What is said of a wrong value of ``--output``."""
    if profile.qemu_img_commands_complain:
        comma = "," if profile.qemu_img_texts_polished else ""
        return ToolError(f"--output expects 'human' or 'json'{comma} not '{wanted}'", usage=True)
    return ToolError("--output must be used with human or json as argument.")


def check_resizable(image: Image) -> None:
    """Refuse to resize an image whose format does not let it (qcow2_co_truncate, block/qcow2.c, 10.0)."""
    if isinstance(image, Qcow2Image) and image.snapshots and image.compat == "0.10":
        raise ToolError("Can't resize a v2 image which has snapshots")
    if not image.can_resize:
        raise ToolError("Image format driver does not support resize")
    for bitmap in image.bitmaps:
        if bitmap.in_use:
            raise ToolError(inconsistent(bitmap.name))


def inconsistent(name: str) -> str:
    """What QEMU says of an inconsistent bitmap, with its advice."""
    advice = "Try block-dirty-bitmap-remove to delete this bitmap from disk"
    return f"Bitmap '{name}' is inconsistent and cannot be used\n{advice}"
