"""What the program prints when it is asked about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.programs.qemu_system.command_line import PROGRAM
from qbitsim.programs.qemu_system.options import OPTIONS, Effect, find_option

if TYPE_CHECKING:
    from qbitsim.profiles import Profile

_EFFECTS = {
    Effect.USED: "Options that are emulated:",
    Effect.TAKEN: "Options that are taken, and have no effect:",
    Effect.REFUSED: "Options that are refused:",
}


def version(profile: Profile) -> str:
    """As ``-version`` prints it."""
    return f"QEMU emulator version {profile.full_version}{profile.copyright}"


def usage(profile: Profile) -> str:
    """As ``-help`` prints it: the options of the release and what becomes of them."""
    text = f"{version(profile)}usage: {PROGRAM} [options] [disk_image]\n"
    for effect, title in _EFFECTS.items():
        names = [
            f"-{option.name}" + (" arg" if option.argument else "")
            for option in OPTIONS.values()
            if option.effect is effect and find_option(profile, option.name)
        ]
        text += f"\n{title}\n" + "".join(f"{name}\n" for name in sorted(names))
    return text
