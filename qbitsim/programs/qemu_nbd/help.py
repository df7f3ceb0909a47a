"""``qemu-nbd --help``, in qbitsim's own words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qbitsim.programs.qemu_nbd.command_line import long_options

if TYPE_CHECKING:
    from qbitsim.profiles import Profile


def usage(profile: Profile) -> str:
    """How it is used."""
    lines = ["Usage: qemu-nbd [OPTIONS] FILE", "  or:  qemu-nbd -L [OPTIONS]", ""]
    for name, key in long_options(profile).items():
        short = f"  -{key}, " if len(key) == 1 else "      "
        lines.append(f"{short}--{name.rstrip(':')}{' VALUE' if name.endswith(':') else ''}")
    return "\n".join(lines) + "\n"
