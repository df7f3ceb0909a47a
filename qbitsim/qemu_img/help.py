"""What ``qemu-img --help`` prints: the command lines there are, made of the table by which they are read.

It goes where QEMU's goes, with the same exit status; its words are qbitsim's own.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from qbitsim.profiles import Profile

_WORDS = {
    "bitmap": "FILENAME BITMAP",
    "compare": "FILENAME1 FILENAME2",
    "convert": "FILENAME [FILENAME2 ...] OUTPUT_FILENAME",
    "create": "FILENAME [SIZE]",
    "dd": "if=INPUT of=OUTPUT [bs=BYTES] [count=BLOCKS] [skip=BLOCKS]",
    "measure": "[FILENAME]",
    "resize": "FILENAME [+|-]SIZE",
}
_WIDTH = 100


def program_help(profile: Profile) -> str:
    """The answer to ``qemu-img --help``."""
    from qbitsim.drivers.driver import DRIVERS  # noqa: PLC0415 - who asks for no help does not load them

    commands = "".join(f"\n{_usage(command, profile)}" for command in sorted(profile.qemu_img_options))
    return (
        f"qemu-img version {profile.full_version}{profile.copyright}"
        "Usage: qemu-img [standard options] COMMAND [command options]\n\n"
        "  -h, --help\n  -V, --version\n  -T, --trace TRACE\n"
        f"{commands}\nSupported formats: {' '.join(sorted(DRIVERS))}\n"
    )


def command_help(command: str, profile: Profile) -> str:
    """The answer to ``qemu-img COMMAND --help``; older releases show everything."""
    return f"Usage:\n{_usage(command, profile)}" if profile.qemu_img_commands_complain else program_help(profile)


def _usage(command: str, profile: Profile) -> str:
    """One command line, with a line's end; long ones are broken."""
    parts = [f"qemu-img {command}" if profile.qemu_img_commands_complain else command]
    parts += [*_options(profile.qemu_img_options[command]), _WORDS.get(command, "FILENAME")]
    lines = [f"  {parts[0]}"]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) < _WIDTH:
            lines[-1] += f" {part}"
        else:
            lines.append(f"        {part}")
    return "\n".join(lines) + "\n"


def _options(spec: str) -> Iterator[str]:
    """``f:,format: image-opts`` becomes ``[-f FORMAT]`` and ``[--image-opts]``."""
    for word in spec.split():
        names = [name.rstrip(":") for name in word.split(",")]
        if names[0] in {"h", "help"}:
            continue
        first = f"-{names[0]}" if len(names[0]) == 1 else f"--{names[0]}"
        value = f" {names[-1].upper().replace('-', '_')}" if word.endswith(":") else ""
        yield f"[{first}{value}]"
