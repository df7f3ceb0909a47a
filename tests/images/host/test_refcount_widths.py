"""``qemu-img amend -o refcount_bits``: the tables move, what they were is free, and the new width must do."""

from __future__ import annotations

from pathlib import Path

import pytest
from judge import Judgement
from trees import complaints_in

from qbitsim.images.host.store import HostImageStore
from qbitsim.profiles import DEFAULT_PROFILE
from qbitsim.programs.shell import Shell


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(HostImageStore(str(tmp_path)), DEFAULT_PROFILE)


def play(shell: Shell, *lines: str) -> None:
    for line in lines:
        assert shell.run(["qemu-img", *line.split()]) == (0, "")
    shell.images.save()


def test_a_width_that_is_too_narrow_is_refused(shell: Shell, tmp_path: Path) -> None:
    play(shell, "create -q -f qcow2 d 1M")
    assert shell.run(["qemu-io", "-c", "write -q 0 200k", "d"]) == (0, "")
    play(shell, "snapshot -c s d")
    before = (tmp_path / "d").read_bytes()
    refusal = (
        "qemu-img: Cannot decrease refcount entry width to 1 bits: Cluster at offset 0x40000 has a refcount of 2\n"
    )
    assert shell.run(["qemu-img", "amend", "-o", "refcount_bits=1", "d"]) == (1, refusal)
    shell.images.save()
    assert (tmp_path / "d").read_bytes() == before
    play(shell, "amend -o refcount_bits=2 d")
    assert complaints_in(tmp_path) == {}


def test_a_list_of_snapshots_is_written_again_where_another_table_was(shell: Shell, tmp_path: Path) -> None:
    play(shell, "create -q -f qcow2 -o refcount_bits=8 d 1M", "snapshot -c s d", "snapshot -d s d")
    play(shell, "amend -o refcount_bits=1 d", "amend -o refcount_bits=64 d", "snapshot -c s d")
    found = Judgement(tmp_path / "d")
    assert (found.errors, found.leaks, found.copied) == ([], 0, [])
    assert [each["names"] for each in found.places["snapshots"]] == [("1", "s")]
