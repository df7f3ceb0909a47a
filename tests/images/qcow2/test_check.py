"""``qemu-img check`` of files whose refcounts and flags are wrong, against the real one."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
from file_draws import STORIES
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_file import MemoryFile
from real_tools import RealTools
from story_files import story

from qbitsim.images.host.store import HostImageStore
from qbitsim.images.image_file import ImageFile
from qbitsim.images.qcow2.check import CheckResult, check_file
from qbitsim.images.qcow2.loading import load_image
from qbitsim.images.qcow2.metadata import Metadata, read_metadata
from qbitsim.images.qcow2.structures import COPIED, unpack_table
from qbitsim.images.store import ImageStore
from qbitsim.profiles import DEFAULT_PROFILE
from qbitsim.programs.shell import Shell

WITHOUT_BITMAPS = len(STORIES) - 1


@cache
def metadata_of(number: int) -> Metadata:
    """What the file of a story says of itself."""
    return read_metadata(MemoryFile(story(number)))


def words(number: int) -> dict[str, list[int]]:
    """Where entries of tables are in the file of a story, by the kind of table."""
    metadata, data = metadata_of(number), story(number)
    found = {"l1": [], "l2": [], "block": [], "table": []}
    for place, entry in enumerate(metadata.l1):
        if entry:
            found["l1"].append(metadata.header.l1_offset + place * 8)
            start = entry & ~COPIED
            l2 = unpack_table(data[start : start + metadata.cluster_size])
            found["l2"] += [start + index * 8 for index, value in enumerate(l2) if value]
    for place, entry in enumerate(metadata.refcount_table):
        if entry:
            found["table"].append(metadata.header.refcount_table_offset + place * 8)
            found["block"] += range(entry, entry + 64, 8)
    return found


@st.composite
def damaged_tables(draw: st.DrawFn) -> bytes:
    """A file of which entries of tables are changed a little."""
    number = draw(st.integers(0, len(STORIES) - 1))
    data, places = bytearray(story(number)), words(number)
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(("l1", "l2", "l2", "block", "block")))
        place = draw(st.sampled_from(places[kind]))
        (entry,) = struct.unpack_from(">Q", data, place)
        if kind == "block":
            entry ^= 1 << draw(st.integers(0, 63))
        else:
            entry = draw(st.sampled_from((entry ^ COPIED, 0, entry + 512, entry ^ 1, entry | 1 << 60)))
        struct.pack_into(">Q", data, place, entry & (1 << 64) - 1)
    return bytes(data)


def lines_of(text: str) -> list[str]:
    """The lines about faults, without what the real program says of each broken refcount block it meets."""
    return [line for line in text.splitlines() if line.split(" ")[0].rstrip(":") in {"ERROR", "Leaked", "Repairing"}]


def info_of(found: CheckResult) -> dict[str, int]:
    """The members of ImageCheck that count faults and clusters, as far as they are not 0."""
    numbers = {
        "check-errors": found.errors,
        "corruptions": found.corruptions,
        "leaks": found.leaks,
        "allocated-clusters": found.allocated,
        "fragmented-clusters": found.fragmented,
        "compressed-clusters": found.compressed,
        "image-end-offset": found.end,
    }
    return {name: number for name, number in numbers.items() if number}


@settings(max_examples=60)
@given(data=damaged_tables())
def test_the_check_finds_what_the_real_one_finds(root: str | None, data: bytes) -> None:
    with RealTools(root) as real:
        real.write("d", data)
        status, output, said = real.run("qemu-img", "check", "-f", "qcow2", "--output=json", "d")
        found = check_file(MemoryFile(data))
        assert lines_of("\n".join(found.lines)) == lines_of(said)
        info = json.loads(output)
        expected = {name: info[name] for name in info if name in info_of(found) or "corrupt" in name or "leak" in name}
        assert info_of(found) == expected
        assert status == (2 if found.corruptions else 3 if found.leaks else 0)


def spoil_refcount(data: bytearray, metadata: Metadata, change: Callable[[int], int]) -> int:
    """Change the refcount, of 64 bits, of the cluster in which the first L2 table is; what it is then."""
    cluster = (metadata.l1[0] & ~COPIED) // metadata.cluster_size
    place = metadata.refcount_table[0] + 8 * cluster
    (count,) = struct.unpack_from(">Q", data, place)
    struct.pack_into(">Q", data, place, change(count))
    return change(count)


@pytest.mark.parametrize("how", ["leaks", "all"])
@pytest.mark.parametrize("change", [2, -1])
@pytest.mark.parametrize("form", ["human", "json"])
def test_a_repair_says_and_does_what_the_real_one_does(root: str | None, how: str, change: int, form: str) -> None:
    number = WITHOUT_BITMAPS  # with bitmaps the real tools lose all snapshots here
    data, metadata = bytearray(story(number)), metadata_of(number)
    count = spoil_refcount(data, metadata, lambda count: count + change)
    flag = COPIED if count == 1 else 0
    struct.pack_into(">Q", data, metadata.header.l1_offset, metadata.l1[0] & ~COPIED | flag)
    with RealTools(root) as real:
        real.write("d", bytes(data))
        shell = Shell(ImageStore(), real.profile)
        load_image(shell.images.create("d", "raw", 0).file, MemoryFile(bytes(data)))
        argv = ["qemu-img", "check", "-r", how, f"--output={form}", "d"]
        status, output, said = real.run(*argv)
        ours, text = shell.run(argv)
        assert ours == status
        assert lines_of(text) == lines_of(said)
        assert [line for line in text.splitlines() if line not in lines_of(text)] == output.splitlines()


@pytest.mark.parametrize("number", [WITHOUT_BITMAPS, 1])
@pytest.mark.parametrize("form", ["human", "json"])
@pytest.mark.parametrize("block", ["is empty", "is used by data", "is gone"])
def test_refcounts_are_rebuilt_as_by_the_real_one(
    root: str | None, number: int, form: str, block: str, tmp_path: Path
) -> None:
    data, metadata = bytearray(story(number)), metadata_of(number)
    place, unit = metadata.refcount_table[0], metadata.cluster_size
    if block == "is empty":
        data[place : place + unit] = bytes(unit)
    elif block == "is gone":
        struct.pack_into(">Q", data, metadata.header.refcount_table_offset, 0)
    else:
        l2 = metadata.l1[0] & ~COPIED
        struct.pack_into(">Q", data, l2, place | COPIED)
    with RealTools(root) as real:
        real.write("d", bytes(data))
        shell = Shell(HostImageStore(str(tmp_path)), real.profile)
        (tmp_path / "d").write_bytes(data)
        argv = ["qemu-img", "check", "-r", "all", f"--output={form}", "d"]
        status, output, said = real.run(*argv)
        done, text = shell.run(argv)
        assert [*text.splitlines()] == [*said.splitlines(), *output.splitlines()]
        assert done == status
        shell.images.save()
        ours, theirs = (
            load_image(ImageFile("d"), MemoryFile(found)).layout.clusters
            for found in ((tmp_path / "d").read_bytes(), real.read("d"))
        )
        assert (ours.table, ours.blocks, ours.used()) == (theirs.table, theirs.blocks, theirs.used())


def test_what_needs_new_tables_is_no_repair_of_leaks() -> None:
    data = bytearray(story(WITHOUT_BITMAPS))
    spoil_refcount(data, metadata_of(WITHOUT_BITMAPS), lambda _: 0)
    found = check_file(MemoryFile(bytes(data)), leaks=True)
    assert (found.errors, found.lines[-1]) == (1, "ERROR need to rebuild refcount structures")


def test_a_sound_image_has_nothing_to_repair() -> None:
    shell = Shell(ImageStore(), DEFAULT_PROFILE)
    for line in STORIES[0]:
        shell.run(line)
    status, text = shell.run(["qemu-img", "check", "-r", "all", "d"])
    assert (status, text.splitlines()[0]) == (0, "No errors were found on the image.")
