"""What a type checker refuses before anything runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent

RIGHT = """
from qbitsim import Machine
from qbitsim.profiles import profile

def machine_of(release: str) -> Machine:
    return Machine(profile(release))

machine = Machine("7.2", pacing="immediate", machine_type="pc")
machine.add_disk("drive0", "64M", format="raw", cluster_size="64k")
machine.inject_error("drive0", "read", "EIO", "64k", 65536)
machine.limit_capacity("increment.qcow2", "3M")
machine.refuse("transaction", "no", "GenericError")
machine.foreign_job("other", "stream", "1M").fail("ENOSPC")
machine.serve(pacing="realtime")
machine.serve_async(pacing=0.5)
machine.connect_nbd("drive0").read("64k", 512)
"""
WRONG = """
Machine("9.9")
Machine(pacing="fast")
Machine(machine_type="q36")
machine.add_disk("drive1", "64M", format="vmdk")
machine.inject_error("drive0", "reed")
machine.refuse("transaction", "no", "GenericErr")
machine.foreign_job("other", "mirror")
machine.limit_capacity("increment.qcow2", 0.5)
machine.serve(pacing="fast")
machine.serve_async(pacing="real time")
machine.connect_nbd("drive0").read(0, 0.5)
"""


@pytest.fixture
def complaints(tmp_path: Path) -> list[str]:
    """What mypy says of right and wrong calls: the numbers of the lines."""
    file = tmp_path / "calls.py"
    file.write_text(RIGHT + WRONG)
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", str(file)]  # its cache makes it quick
    checked = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    # What comes from the cache names the file of the run before.
    return [line.partition(f"{file.name}:")[2].partition(":")[0] for line in checked.stdout.splitlines()]


def test_every_wrong_value_of_the_calls_that_people_make_is_refused_and_no_right_one(complaints: list[str]) -> None:
    first = RIGHT.count("\n") + 2
    assert complaints == [str(first + number) for number in range(WRONG.count("\n") - 1)]
