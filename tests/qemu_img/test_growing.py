"""``qemu-img resize`` with preallocation: whatever the cluster at the old end is, it reads as it did, on both trees."""

from __future__ import annotations

from pathlib import Path

import pytest

from qbitsim.images.host.store import HostImageStore
from qbitsim.images.image_file import ImageFile
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.store import ImageStore
from qbitsim.profiles import PROFILES
from qbitsim.programs.shell import Shell

UNIT = 4096
OLD, NEW, LONGER = 2 * UNIT + 1024, 4 * UNIT + 512, 6 * UNIT
LAST = 2 * UNIT
OURS, BELOW = b"\x07", b"\x2a"

STATES = {
    "a hole": ([], None),
    "data": ([f"qemu-io -f qcow2 -c 'write -q -P 7 0 {OLD}' a"], OURS),
    "zero": ([f"qemu-io -f qcow2 -c 'write -q -z -u {LAST} 1024' a"], b"\0"),
    "zero with a place": (
        [
            f"qemu-io -f qcow2 -c 'write -q -P 7 {LAST} 1024' a",
            f"qemu-io -f qcow2 -c 'write -q -z {LAST} 1024' a",
        ],
        b"\0",
    ),
    "compressed": ([f"qemu-io -f qcow2 -c 'write -q -c -P 7 {LAST} 1024' a"], OURS),
    "a snapshot's, too": ([f"qemu-io -f qcow2 -c 'write -q -P 7 0 {OLD}' a", "qemu-img snapshot -c s a"], OURS),
}


def grown(images: ImageStore, *lines: str) -> ImageStore:
    """A folder in which these lines of programs were run."""
    shell = Shell(images, PROFILES["10.0"])
    for line in lines:
        words = [word for at, part in enumerate(line.split("'")) for word in ([part] if at % 2 else part.split())]
        status, text = shell.run(words)
        assert status == 0, (line, text)
        images.save()
    return images


@pytest.mark.parametrize("where", ["memory", "files"])
@pytest.mark.parametrize("mode", ["metadata", "falloc", "full"])
@pytest.mark.parametrize("backing", [0, UNIT, OLD, LONGER])
def test_the_disk_reads_as_before_and_is_zero_behind(tmp_path: Path, backing: int, mode: str, where: str) -> None:
    for number, (state, (lines, held)) in enumerate(STATES.items()):
        folder = tmp_path / str(number)
        folder.mkdir()
        options = "-b base -F raw" if backing else ""
        images = grown(
            ImageStore() if where == "memory" else HostImageStore(str(folder)),
            f"qemu-img create -q -f raw base {max(backing, 512)}",
            f"qemu-io -f raw -c 'write -q -P 42 0 {max(backing, 512)}' base",
            f"qemu-img create -q -f qcow2 -o cluster_size={UNIT} {options} a {OLD}",
            *lines,
            f"qemu-img resize --preallocation={mode} -f qcow2 a {NEW}",
        )
        below = (BELOW * min(backing, OLD)).ljust(OLD, b"\0")[LAST:]
        found = images.read_chain("a", LAST, NEW - LAST)
        assert found == (below if held is None else held * 1024).ljust(NEW - LAST, b"\0"), state
        status, text = Shell(images, PROFILES["10.0"]).run(["qemu-img", "check", "a"])
        assert (status, text.split("\n")[0]) == (0, "No errors were found on the image."), state


@pytest.mark.parametrize("where", ["memory", "files"])
def test_what_a_longer_backing_file_holds_is_copied_behind_the_end_of_the_disk(tmp_path: Path, where: str) -> None:
    images = grown(
        ImageStore() if where == "memory" else HostImageStore(str(tmp_path)),
        f"qemu-img create -q -f raw base {LONGER}",
        f"qemu-io -f raw -c 'write -q -P 42 0 {LONGER}' base",
        f"qemu-img create -q -f qcow2 -o cluster_size={UNIT} -b base -F raw a {OLD}",
        f"qemu-io -f qcow2 -c 'write -q -P 7 {LAST} 512' a",
        "qemu-img rebase -u -f qcow2 -b '' a",
        f"qemu-img resize -q -f qcow2 a {NEW}",
    )
    assert images.read_chain("a", LAST, 2 * UNIT) == (OURS * 512 + BELOW * (UNIT - 512)).ljust(2 * UNIT, b"\0")


def test_a_longer_backing_file_does_not_show_in_preallocated_metadata() -> None:
    images = grown(
        ImageStore(),
        f"qemu-img create -q -f raw base {LONGER}",
        f"qemu-img create -q -f qcow2 -o cluster_size={UNIT} -b base -F raw a {LAST}",
        f"qemu-img resize -q --preallocation=metadata -f qcow2 a {NEW}",
    )
    _, text = Shell(images, PROFILES["7.2"]).run(["qemu-img", "map", "--output=json", "a"])
    assert text.split("\n")[-2] == (
        f'{{ "start": {LAST}, "length": {NEW - LAST}, "depth": 0, "present": true, "zero": true, "data": false, '
        f'"offset": {5 * UNIT}}}]'
    )


@pytest.mark.parametrize("where", ["memory", "files"])
@pytest.mark.parametrize("mode", ["metadata", "falloc"])
def test_a_zero_cluster_at_the_beginning_of_a_data_file_has_no_place(tmp_path: Path, mode: str, where: str) -> None:
    images = grown(
        ImageStore() if where == "memory" else HostImageStore(str(tmp_path)),
        f"qemu-img create -q -f qcow2 -o cluster_size={UNIT},data_file=data a {UNIT}",
        f"qemu-io -f qcow2 -c 'write -q -P 7 0 {UNIT}' a",
        f"qemu-io -f qcow2 -c 'write -q -z 0 {UNIT}' a",
        f"qemu-img resize -q --preallocation={mode} -f qcow2 a {2 * UNIT}",
    )
    shell = Shell(images, PROFILES["10.0"])
    _, text = shell.run(["qemu-img", "map", "--output=json", "a"])
    assert text.startswith(
        f'[{{ "start": 0, "length": {UNIT}, "depth": 0, "present": true, "zero": true, "data": false'
    )
    assert "offset" not in text.split("\n")[0]
    assert shell.run(["qemu-img", "check", "a"])[1].split("\n")[1].startswith("1/2 ")
    grown(images, "qemu-io -f qcow2 -c 'write -q -P 7 512 512' a")
    assert images.read_chain("a", 0, UNIT) == (bytes(512) + OURS * 512).ljust(UNIT, b"\0")


@pytest.mark.parametrize("mode", ["off", "metadata", "falloc", "full"])
def test_the_bytes_of_a_new_data_file_are_not_put_into_the_image(tmp_path: Path, mode: str) -> None:
    shell = Shell(HostImageStore(str(tmp_path)), PROFILES["10.0"])
    options = f"data_file=data,preallocation={mode}"
    assert shell.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", options, "a", "1M"]) == (0, "")
    assert (tmp_path / "a").read_bytes()[:4] == b"QFI\xfb"
    assert shell.run(["qemu-img", "check", "a"])[0] == 0


@pytest.mark.parametrize("option", ["compat=0.10", "data_file_raw=on,preallocation=metadata,refcount_bits=3"])
def test_an_image_that_is_refused_leaves_no_data_file(option: str) -> None:
    images = ImageStore()
    shell = Shell(images, PROFILES["10.0"])
    status, text = shell.run(["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file=data,{option}", "a", "1M"])
    assert (status, text.startswith("qemu-img: ")) == (1, True)
    assert shell.run(["ls"]) == (0, "")


def test_a_disk_of_which_the_last_cluster_is_whole_keeps_its_holes() -> None:
    image = Qcow2Image(ImageFile("a"), 0)
    image.resize(1 << 20, preallocation="metadata")
    image.write((1 << 20) - 65536, b"x" * 65536)
    image.resize(2 << 20, preallocation="metadata")
    assert image.data_run(0, 2 << 20) == (True, (1 << 20) - 65536)
    assert image.data_run((1 << 20) - 65536, 1 << 20) == (False, 65536)


@pytest.mark.parametrize("where", ["memory", "files"])
def test_preallocated_metadata_count_for_nothing_when_a_copy_is_measured(tmp_path: Path, where: str) -> None:
    images = grown(
        ImageStore() if where == "memory" else HostImageStore(str(tmp_path)),
        "qemu-img create -q -f qcow2 -o preallocation=metadata a 1M",
        "qemu-io -f qcow2 -c 'write -q 17k 90k' a",
    )
    _, text = Shell(images, PROFILES["7.2"]).run(["qemu-img", "measure", "-O", "qcow2", "a"])
    assert text == f"required size: {7 * 65536}\nfully allocated size: {21 * 65536}\nbitmaps size: 0\n"


def test_a_disk_that_shrinks_gives_back_to_the_host_what_lies_in_front_of_what_stays(tmp_path: Path) -> None:
    shell = Shell(HostImageStore(str(tmp_path)), PROFILES["10.0"])
    half = 4 << 20
    shell.run(["qemu-img", "create", "-q", "-f", "qcow2", "a", str(2 * half)])
    for line in (f"write -P 1 {half} {half}", f"write -P 2 0 {half}"):
        assert shell.run(["qemu-io", "-f", "qcow2", "-c", line, "a"])[0] == 0
    before = (tmp_path / "a").stat()
    assert shell.run(["qemu-img", "resize", "--shrink", "-f", "qcow2", "a", str(half)]) == (0, "Image resized.\n")
    after = (tmp_path / "a").stat()
    assert after.st_size == before.st_size
    given_back = (before.st_blocks - after.st_blocks) * 512
    assert abs(given_back - half) <= after.st_blksize  # the host counts blocks for what it has to remember, too
    status, text = shell.run(["qemu-io", "-f", "qcow2", "-c", f"read -P 2 0 {half}", "a"])
    assert (status, "failed" in text) == (0, False)
    assert shell.run(["qemu-img", "check", "-q", "a"])[0] == 0
