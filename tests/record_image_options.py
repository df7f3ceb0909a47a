"""Makes qbitsim/qemu_img/recorded/RELEASE.json: the options of image formats, as a real qemu-img lists them.

    python tests/record_image_options.py 10.0 qemu-img

The second argument, and what follows it, is the command that runs a qemu-img of that release. ``create`` and ``amend``
have the lines of each format, by the name of the option; ``file`` is what plain files add to a format.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "qbitsim" / "qemu_img" / "recorded"


def main(release: str, *qemu_img: str) -> None:
    create = {name: listed(qemu_img, "create", "-f", name, "-o", "help") for name in ("qcow2", "raw", "vmdk")}
    on_file = listed(qemu_img, "create", "-f", "raw", "-o", "help", "x")
    create["file"] = {name: line for name, line in on_file.items() if name not in create["raw"]}
    folder = Path("/", *qemu_img[1:-1], "tmp") if qemu_img[0] == "chroot" else Path("/tmp")
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        name = f"/tmp/{Path(file.name).name}"
        subprocess.run([*qemu_img, "create", "-q", "-f", "qcow2", name, "1M"], check=True)
        amend = {"qcow2": listed(qemu_img, "amend", "-f", "qcow2", "-o", "help", name)}
    (FOLDER / f"{release}.json").write_text(json.dumps({"create": create, "amend": amend}, indent=1) + "\n")


def listed(qemu_img: tuple[str, ...], *words: str) -> dict[str, str]:
    """Name of an option -> its line."""
    printed = subprocess.run([*qemu_img, *words], capture_output=True, text=True, check=True).stdout
    return {line.strip().partition("=")[0]: line for line in printed.splitlines() if line.startswith("  ")}


if __name__ == "__main__":
    main(*sys.argv[1:])
