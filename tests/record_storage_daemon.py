"""Makes qbitsim/programs/storage_daemon/recorded/RELEASE.json: what a real qemu-storage-daemon says of itself.

    python tests/record_storage_daemon.py 10.0 qemu-storage-daemon

The second argument, and what follows it, is the command that runs a qemu-storage-daemon of that release. Kept are the
names of its commands and events in the order of query-qmp-schema, and what it prints of objects and character devices.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "qbitsim" / "programs" / "storage_daemon" / "recorded"


def main(release: str, *daemon: str) -> None:
    schema, commands = asked(daemon, "query-qmp-schema", "query-commands")
    names = [entry["name"] for entry in schema if entry["meta-type"] in ("command", "event")]
    events = [entry["name"] for entry in schema if entry["meta-type"] == "event"]
    assert [name for name in reversed(names) if name not in events] == [each["name"] for each in commands]
    kinds = [line.strip() for line in printed(daemon, "--object", "help").splitlines()[1:]]
    objects = {kind: printed(daemon, "--object", f"{kind},help") for kind in kinds}
    answers = {"schema": names, "objects": objects, "chardevs": printed(daemon, "--chardev", "help")}
    (FOLDER / f"{release}.json").write_text(json.dumps(answers, indent=1) + "\n")


def asked(daemon: tuple[str, ...], *commands: str) -> list[list[dict[str, str]]]:
    """What commands return."""
    said = "".join(json.dumps({"execute": command}) for command in ("qmp_capabilities", *commands, "quit"))
    argv = [*daemon, "--chardev", "stdio,id=m", "--monitor", "m"]
    answered = subprocess.run(argv, input=said, capture_output=True, text=True, check=True).stdout
    return [message["return"] for message in map(json.loads, answered.splitlines()) if "return" in message][1:-1]


def printed(daemon: tuple[str, ...], *options: str) -> str:
    """What it prints and ends."""
    return subprocess.run([*daemon, *options], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main(*sys.argv[1:])
