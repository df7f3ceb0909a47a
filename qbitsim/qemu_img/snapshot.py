"""``qemu-img snapshot``: list, take, apply and delete internal snapshots."""

from __future__ import annotations

import errno
import os

from qbitsim.errnos import errno_of
from qbitsim.files.failures import step
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.qcow2.snapshots import find_by_id_or_name
from qbitsim.qemu_img.files import Call, open_image
from qbitsim.qemu_img.options import Options, ToolError
from qbitsim.qemu_img.snapshot_table import snapshot_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qbitsim.images.image import Image
    from qbitsim.images.qcow2.snapshots import StoredSnapshot
    from qbitsim.jsontypes import Json
    from qbitsim.profiles import Profile

NANOSECONDS = 1_000_000_000
_OPERATIONS = ("l", "c", "a", "d")


def snapshot(call: Call) -> int:
    """``qemu-img snapshot``; without an operation it lists."""
    options = call.options
    options.only(*_OPERATIONS, "q", "f", "U", "image-opts")
    operations = _operations(options)
    if len(options.words) != 1:
        raise ToolError("Expecting one image file name", usage=True)
    operation, name = operations[0] if operations else ("l", "")
    does_nothing = not operations and not call.profile.qemu_img_snapshot_lists
    image = open_image(call, options.words[0], options.last("f"), write=operation != "l" or does_nothing)
    if does_nothing:
        return 0
    match operation:
        case "l":
            call.print(listing(image, call.profile))
        case "c":
            _create(call, image, name)
        case "a":
            if not isinstance(image, Qcow2Image):
                open_image(call, options.words[0], options.last("f"), write=True)  # it looks once more, and says so
            _apply(call, image, name)
        case _:
            _delete(image, name)
    return 0


def _operations(options: Options) -> list[tuple[str, str]]:
    return [(key, value) for key, value in options.given if key in _OPERATIONS]


def _check_operations(options: Options) -> None:
    """Refuse a second operation as soon as it is met."""
    if len(_operations(options)) > 1:
        raise ToolError("Cannot mix '-l', '-a', '-c', '-d'", usage=True)


WATCHERS = {"snapshot": _check_operations}


def _create(call: Call, image: Image, name: str) -> None:
    keeps = isinstance(image, Qcow2Image) and image.data_file is None
    number = errno.EINVAL if keeps else errno.EOPNOTSUPP
    if isinstance(image, Qcow2Image) and keeps and image.can_take_snapshot:
        try:
            image.create_snapshot(name, call.now // 1000 * 1000, 0, icount=0)
        except OSError as error:
            number = errno_of(error)
        else:
            return
    elif isinstance(image, Qcow2Image) and keeps:
        image.create_snapshot_in_vain()
    reason = os.strerror(number)
    text = reason if call.profile.qemu_img_commands_complain else f"-{number} ({reason})"
    raise ToolError(f"Could not create snapshot '{name}': {text}")


def _apply(call: Call, image: Image, name: str) -> None:
    if not isinstance(image, Qcow2Image):
        raise ToolError(f"Could not apply snapshot '{name}': Block driver does not support snapshots")
    if image.data_file is not None:
        reason = os.strerror(errno.EOPNOTSUPP)
        raise ToolError(f"Could not apply snapshot '{name}': Failed to load snapshot: {reason}")
    if image.bitmaps:
        raise ToolError(f"Could not apply snapshot '{name}': Device has active dirty bitmaps")
    found = find_by_id_or_name(image.snapshots, name)
    if found is None:
        raise ToolError(f"Could not apply snapshot '{name}': Failed to load snapshot: No such file or directory")
    if found.content.size != image.size:
        if image.compat == "0.10":
            raise ToolError(f"Could not apply snapshot '{name}': Can't resize a v2 image which has snapshots")
        try:
            image.resize(found.content.size)
        except OSError as error:
            call.complain(f"qemu-img: {error.strerror}\n")
            text = f"Failed to load snapshot: {os.strerror(errno_of(error))}"
            raise ToolError(f"Could not apply snapshot '{name}': {text}") from None
    with step(f"Could not apply snapshot '{name}'"), step("Failed to load snapshot"):
        image.apply_snapshot(found)


def _delete(image: Image, name: str) -> None:
    found = next((found for found in image.snapshots if found.name == name), None)
    if found is None:
        raise ToolError(f"Could not delete snapshot '{name}': snapshot not found")
    assert isinstance(image, Qcow2Image)
    image.delete_snapshot(found)


def listing(image: Image, profile: Profile) -> str:
    """The table of the snapshots of an image, with its title; empty if there are none."""
    if not image.snapshots:
        return ""
    return "Snapshot list:\n" + snapshot_table(map(snapshot_info, image.snapshots), profile)


def snapshot_info(found: StoredSnapshot) -> Json:
    """The members of SnapshotInfo in the order of QEMU's hash table."""
    icount = {} if found.icount < 0 else {"icount": found.icount}
    return {
        **icount,
        "vm-clock-nsec": found.clock % NANOSECONDS,
        "name": found.name,
        "date-sec": found.date // NANOSECONDS,
        "date-nsec": found.date % NANOSECONDS,
        "vm-clock-sec": found.clock // NANOSECONDS,
        "id": found.id,
        "vm-state-size": found.state_size,
    }
