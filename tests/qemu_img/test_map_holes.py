"""``qemu-img map`` of qcow2 files in which pages were never written; measured with QEMU 7.2, 10.0 and 11.1 on ext4.

QEMU tells such pages apart once two clusters more are in use than the file takes room, as when the L1 table, the table
of a bitmap and the directory take a page of their clusters (qcow2_detect_metadata_preallocation).
"""

from __future__ import annotations

import json
import shlex

import pytest

from qbitsim.images.store import ImageStore
from qbitsim.profiles import PROFILES
from qbitsim.programs.shell import Shell

RELEASES = ("7.2", "10.0", "11.1")
CREATE = "qemu-img create -q -f qcow2 a 1M"
WRITES = "qemu-io -c 'write -q -P 1 196608 4k' -c 'write -q -P 1 100000 8000' -c 'write -q -P 1 400000 100000' a"
WRITTEN = "D16-31 D48-63 D96-127"
IN_PART = "-16-23 D24-26 -27-31 D48 -49-63 -96 D97-122 -123-127"


def runs(release: str, *lines: str) -> str:
    """The pages of clusters that hold data: D for data, - for holes in them."""
    shell = Shell(ImageStore(), PROFILES[release])
    for line in lines:
        status, text = shell.run(shlex.split(line))
        assert status == 0, (line, text)
    _, text = shell.run(["qemu-img", "map", "--output=json", "a"])
    found: list[list[int]] = []
    for each in json.loads(text):
        first, stop = each["start"] // 4096, (each["start"] + each["length"]) // 4096
        if each["data"] and found and found[-1][1:] == [first, each["zero"]]:
            found[-1][1] = stop
        elif each["data"]:
            found.append([first, stop, each["zero"]])
    return " ".join(f"{'-' if zero else 'D'}{a}" + f"-{b - 1}" * (b > a + 1) for a, b, zero in found)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([], WRITTEN),
        (["qemu-img bitmap --add a b"], IN_PART),
        (["qemu-img bitmap --add a b", "qemu-img bitmap --remove a b"], WRITTEN),
        (["qemu-img snapshot -c s a"], IN_PART),
        (
            ["qemu-img bitmap --add a b", "qemu-io -c 'read -q 65536 64k' a"],
            IN_PART.replace("-16-23 D24-26 -27", "D16"),
        ),
        (
            ["qemu-img bitmap --add a b", "qemu-io -c 'write -q -P 1 65536 64k' a"],
            IN_PART.replace("-16-23 D24-26 -27", "D16"),
        ),
        (
            ["qemu-img bitmap --add a b", "qemu-io -c 'write -q -P 1 65540 9' a"],
            IN_PART.replace("-16-23", "D16 -17-23"),
        ),
    ],
)
def test_pages_around_what_was_written_are_holes(release: str, lines: list[str], found: str) -> None:
    assert runs(release, CREATE, WRITES, *lines) == found


@pytest.mark.parametrize("release", RELEASES)
def test_clusters_that_the_host_was_given_back_are_not_counted(release: str) -> None:
    more = "qemu-io -d unmap -c 'write -q -P 4 524288 256k' -c 'discard -q 524288 262144' a"
    assert runs(release, CREATE, WRITES, more, "qemu-img bitmap --add a b") == IN_PART


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(
    ("kind", "write", "found"),
    [
        ("qcow2", "write -q -P 2 0 512", {"7.2": "D0-15 -64-68 D69 -70-79", "11.1": "D0-15 -64-68 D69 -70-79"}),
        ("raw", "write -q -P 2 0 512", {"7.2": "D0-15 D64-79", "11.1": "D0-15 -64-68 D69 -70-79"}),
    ],
)
def test_what_is_below_has_to_be_known_as_zero(release: str, kind: str, write: str, found: dict[str, str]) -> None:
    """Up to 10.0 formats say so, and later raw files do, too (is_zero_cow, block/qcow2.c)."""
    lines = (
        f"qemu-img create -q -f {kind} base 1M",
        f"qemu-io -f {kind} -c '{write}' base",
        f"qemu-img create -q -f qcow2 -b base -F {kind} a",
        "qemu-io -c 'write -q -P 1 8192 4k' -c 'write -q -P 1 282624 4k' a",
        "qemu-img bitmap --add a b",
    )
    assert runs(release, *lines) == found.get(release, found["7.2"])


@pytest.mark.parametrize("release", RELEASES)
def test_what_is_behind_the_end_of_the_disk_is_written(release: str) -> None:
    lines = (
        "qemu-img create -q -f qcow2 a 1000448",
        "qemu-io -c 'write -q -P 1 983040 4000' -c 'write -q -P 1 0 4k' a",
        "qemu-img bitmap --add a b",
    )
    assert runs(release, *lines) == "D0 -1-15 D240-243"


@pytest.mark.parametrize("release", RELEASES)
def test_clusters_behind_the_end_of_the_file_are_data(release: str) -> None:
    """Iotest 102; they count for nothing where QEMU compares what is in use with the room that the file takes."""
    lines = ("qemu-img create -q -f qcow2 a 64k", "qemu-io -c 'write -q 0 64k' a")
    assert runs(release, *lines, f"qemu-img resize -q -f raw --shrink a {5 << 16}") == "D0-15"
