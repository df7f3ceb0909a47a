"""Makes qbitsim/programs/qemu_system/recorded/RELEASE-objects.json and -chardevs.txt: what a real QEMU prints of them.

    python tests/record_objects.py 10.0 qemu-system-x86_64

The second argument, and what follows it, is the command that runs a QEMU of that release. Kept is the help of each kind
of object that ``-object`` makes, and the list of character devices.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "qbitsim" / "programs" / "qemu_system" / "recorded"


def main(release: str, *qemu: str) -> None:
    kinds = [line.strip() for line in printed(qemu, "-object", "help").splitlines()[1:]]
    objects = {kind: printed(qemu, "-object", f"{kind},help") for kind in kinds}
    (FOLDER / f"{release}-objects.json").write_text(json.dumps(objects, indent=1) + "\n")
    (FOLDER / f"{release}-chardevs.txt").write_text(printed(qemu, "-chardev", "help"))


def printed(qemu: tuple[str, ...], *options: str) -> str:
    """What it prints and ends."""
    return subprocess.run([*qemu, *options], stdout=subprocess.PIPE, text=True, check=True).stdout


if __name__ == "__main__":
    main(*sys.argv[1:])
