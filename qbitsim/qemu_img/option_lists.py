"""``-o help``: the options of image formats, as qemu-img of 7.2, 10.0 and 11.1 (Debian's packages) lists them.

Read when it is needed; tests/record_image_options.py of the source distribution asks them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from qbitsim.errors import UnsupportedError
from qbitsim.images.store import has_protocol
from qbitsim.qemu_img.formats import check_format
from qbitsim.recorded import recorded_json

if TYPE_CHECKING:
    from qbitsim.profiles import Profile
    from qbitsim.qemu_img.files import Call

_MORE = "\nThe protocol level may support further options.\nSpecify the target filename to include those options.\n"


def print_creation_options(call: Call, format_name: str, filename: str | None) -> int:
    """The options for a new image, with those of the file that it is to be in; the exit status.

    :raises ToolError: there is no such format, or no image of it can be made.
    :raises UnsupportedError: it is not emulated, or nobody has asked such a qemu-img.
    """
    check_format(format_name)
    lines = _lines(call.profile, "create", format_name)
    if filename is None:
        call.print(f"Supported {format_name} options:\n{_text(lines)}{_MORE}")
        return 0
    if not has_protocol(filename) or filename.startswith("file:"):
        lines = _lines(call.profile, "create", "file") | lines
    call.print(f"Supported options:\n{_text(lines)}")
    return 0


def print_amend_options(call: Call, format_name: str) -> int:
    """The options of images of a format that can be changed; the exit status.

    :raises ToolError: there are none.
    :raises UnsupportedError: nobody has asked such a qemu-img.
    """
    check_format(format_name, "option amendment")
    call.print(f"Amend options for '{format_name}':\n{_text(_lines(call.profile, 'amend', format_name))}")
    return 0


def _lines(profile: Profile, command: Literal["create", "amend"], name: str) -> dict[str, str]:
    if profile.recorded_answers is None:
        raise UnsupportedError(f"the list of image options of QEMU {profile.name}")
    recorded = recorded_json(__file__, f"{profile.recorded_answers}.json")
    lines: dict[str, str] = recorded[command][name]
    return lines


def _text(lines: dict[str, str]) -> str:
    return "".join(f"{lines[name]}\n" for name in sorted(lines))
