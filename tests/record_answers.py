"""Makes qbitsim/commands/recorded/RELEASE.json: what a real QEMU says about its machines, processors and options.

    python tests/record_answers.py 10.0 qemu-system-x86_64

The second argument, and what follows it, is the command that runs a QEMU of that release. What it says depends on
neither the machine nor the host as long as the guest is emulated.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "qbitsim" / "commands" / "recorded"


def main(release: str, *qemu: str) -> None:
    commands = ("qmp_capabilities", "query-machines", "query-cpu-definitions", "query-command-line-options", "quit")
    arguments = ["-machine", "none", "-accel", "tcg", "-S", "-nodefaults", "-display", "none", "-qmp", "stdio"]
    asked = "".join(json.dumps({"execute": command}) for command in commands)
    said = subprocess.run([*qemu, *arguments], input=asked, capture_output=True, text=True, check=True).stdout
    answers = [message["return"] for message in map(json.loads, said.splitlines()) if "return" in message]
    lists = dict(zip(("machines", "processors", "options"), answers[1:4], strict=True))
    parts = [
        f'"{name}": [\n' + ",\n".join(json.dumps(entry, separators=(",", ":")) for entry in entries) + "\n]"
        for name, entries in lists.items()
    ]
    (FOLDER / f"{release}.json").write_text("{" + ",\n".join(parts) + "}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
