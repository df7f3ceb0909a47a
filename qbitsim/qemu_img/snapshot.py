"""``qemu-img snapshot``: list, take, apply and delete internal snapshots."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from qbitsim.qemu_img.files import Call, open_image
from qbitsim.qemu_img.options import ToolError

if TYPE_CHECKING:
    from qbitsim.images.image import Image, StoredSnapshot

NANOSECONDS = 1_000_000_000
_OPERATIONS = ("l", "c", "a", "d")
_HEADINGS = ("ID", "TAG", "VM_SIZE", "DATE", "VM_CLOCK", "ICOUNT")


def snapshot(call: Call) -> int:
    """``qemu-img snapshot``; without an operation it lists."""
    options = call.options
    options.only(*_OPERATIONS, "q", "f", "U", "image-opts")
    operations = [(key, value) for key, value in options.given if key in _OPERATIONS]
    if len(operations) > 1:
        raise ToolError("Cannot mix '-l', '-a', '-c', '-d'", usage=True)
    if len(options.words) != 1:
        raise ToolError("Expecting one image file name", usage=True)
    operation, name = operations[0] if operations else ("l", "")
    image = open_image(call, options.words[0], options.last("f"), write=operation != "l")
    if not operations and not call.profile.qemu_img_snapshot_lists:
        return 0
    match operation:
        case "l":
            call.print(listing(image, wide=call.profile.snapshot_table_wide))
        case "c":
            _create(call, image, name)
        case "a":
            if image.format == "raw":
                open_image(call, options.words[0], options.last("f"), write=True)  # it looks once more, and says so
            _apply(image, name)
        case _:
            _delete(image, name)
    return 0


def find_snapshot(image: Image, text: str) -> StoredSnapshot | None:
    """The snapshot whose id, or else whose name, is *text* (find_snapshot_by_id_or_name, block/qcow2-snapshot.c)."""
    by_id = next((found for found in image.snapshots if found.id == text), None)
    return by_id or next((found for found in image.snapshots if found.name == text), None)


def _create(call: Call, image: Image, name: str) -> None:
    number = None
    if image.format == "raw":
        number = errno.EOPNOTSUPP
    elif not image.can_take_snapshot:
        number = errno.EINVAL
    if number is not None:
        reason = os.strerror(number)
        text = reason if call.profile.qemu_img_commands_complain else f"-{number} ({reason})"
        raise ToolError(f"Could not create snapshot '{name}': {text}")
    image.create_snapshot(name, call.now // 1000 * 1000, 0)


def _apply(image: Image, name: str) -> None:
    reason = None
    if image.format == "raw":
        reason = "Block driver does not support snapshots"
    elif image.bitmaps:
        reason = "Device has active dirty bitmaps"
    found = None if reason else find_snapshot(image, name)
    if found is None:
        reason = reason or "Failed to load snapshot: No such file or directory"
        raise ToolError(f"Could not apply snapshot '{name}': {reason}")
    if found.content.size != image.size:
        if image.compat == "0.10":
            raise ToolError(f"Could not apply snapshot '{name}': Can't resize a v2 image which has snapshots")
        image.resize(found.content.size)
    image.apply_snapshot(found)


def _delete(image: Image, name: str) -> None:
    found = next((found for found in image.snapshots if found.name == name), None)
    if found is None:
        raise ToolError(f"Could not delete snapshot '{name}': snapshot not found")
    image.delete_snapshot(found)


def listing(image: Image, *, wide: bool) -> str:
    """The table of snapshots, empty if there are none (bdrv_snapshot_dump, block/qapi.c).

    :param wide: as newer releases print it, with four digits for the hours of the guest's clock.
    """
    if not image.snapshots:
        return ""
    rows = [_row(found, wide=wide) for found in image.snapshots]
    headings = _HEADINGS if wide else tuple(heading.replace("_", " ") for heading in _HEADINGS)
    return "Snapshot list:\n" + "".join(_format(row, wide=wide) for row in [headings, *rows])


def _format(row: tuple[str, ...], *, wide: bool) -> str:
    identifier, name, size, date, clock, count = row
    if wide:
        return f"{identifier:<7} {name:<16} {size:>8}{date:>20}{clock:>16}{count:>11}\n"
    return f"{identifier:<9} {name:<16} {size:>8}{date:>20}{clock:>13}{count:>11}\n"


def _row(found: StoredSnapshot, *, wide: bool) -> tuple[str, ...]:
    date = datetime.fromtimestamp(found.date // NANOSECONDS, UTC).strftime("%Y-%m-%d %H:%M:%S")
    seconds, rest = divmod(found.clock, NANOSECONDS)
    hours = seconds // 3600
    clock = f"{seconds // 60 % 60:02}:{seconds % 60:02}.{rest // 1_000_000:03}"
    return found.id, found.name, "0 B", date, f"{hours:04}:{clock}" if wide else f"{hours:02}:{clock}", "0"
