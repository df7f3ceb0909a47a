"""What the in-memory machine loads: its own floors, and nothing of what hangs beside them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SLOW = {"ast", "asyncio", "dataclasses", "datetime", "inspect", "subprocess", "tempfile", "urllib.request"}
"""Of the standard library: what an import of a machine can do without, each some milliseconds."""
LIST = Path(__file__).with_name("loaded_modules.txt")

ONE_BACKUP = """
import sys
from qbitsim import Machine

machine = Machine()
disk = machine.add_disk("drive0", "1M")
machine.qmp("block-dirty-bitmap-add", node="drive0", name="bitmap0")
disk.write(0, b"A" * 65536)
machine.qmp("drive-backup", device="drive0", bitmap="bitmap0", sync="incremental", target="increment.qcow2")
machine.run_until_idle()
assert machine.events.read(0)[-1]["data"]["status"] == "null"
print("\\n".join(sorted(name for name in sys.modules if name.partition(".")[0] == "qbitsim")))
"""


def loaded() -> list[str]:
    program = f"import sys; sys.path[:0] = {sys.path!r}\n{ONE_BACKUP}"
    shown = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    return shown.stdout.splitlines()


def test_a_machine_and_one_backup_load_these_modules_and_no_others() -> None:
    """A module that is new here costs everybody's start: list it on purpose, or import it where it is used."""
    assert loaded() == LIST.read_text().splitlines()


def test_a_machine_needs_nothing_slow_of_the_standard_library() -> None:
    program = f"import sys; sys.path[:0] = {sys.path!r}; before = {{*sys.modules}}; from qbitsim import Machine"
    program += "; print(*{*sys.modules} - before)"
    shown = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True)
    assert SLOW & set(shown.stdout.split()) == set()
