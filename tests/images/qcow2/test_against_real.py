"""Files made here are judged by the real tools, and files that these made are read and rendered again."""

from __future__ import annotations

import json
from typing import Any

from file_draws import EVERYTHING, PREALLOCATED, line_lists
from hypothesis import example, given, settings
from memory_file import MemoryFile
from real_tools import RealTools

from qbitsim.images.chain import reader
from qbitsim.images.qcow2.image import Qcow2Image
from qbitsim.images.qcow2.loading import load_image
from qbitsim.images.qcow2.metadata import read_metadata
from qbitsim.images.qcow2.rendered import RenderedFile, parts
from qbitsim.images.qcow2.structures import COPIED, pack_table, unpack_table
from qbitsim.images.store import ImageStore
from qbitsim.programs.shell import Shell

EXAMPLES = settings(max_examples=15)


def rendered(image: Qcow2Image) -> bytes:
    """The bytes of the file of an image."""
    file = RenderedFile(image)
    return file.read_at(0, file.length)


def qcow2_in(store: ImageStore, name: str) -> Qcow2Image:
    """The image of that name."""
    image = store.lookup(name)
    assert isinstance(image, Qcow2Image)
    return image


def same_answers(real: RealTools, shell: Shell) -> None:
    """The real tools and ours say the same of the file ``d``."""
    for argv in (
        ["qemu-img", "map", "--output=json", "d"],
        ["qemu-img", "check", "--output=json", "d"],
        ["qemu-img", "check", "d"],
    ):
        status, text = shell.run(argv)
        assert (status, text) == real.run(*argv)[:2]
    argv = ["qemu-img", "info", "--output=json", "d"]
    status, text = shell.run(argv)
    assert status == 0, text
    assert without_host_facts(json.loads(text)) == without_host_facts(real.json(*argv))


def without_host_facts(info: dict[str, Any]) -> dict[str, Any]:
    """What qemu-img info says, without how much room a file takes on its disk."""
    for child in info.get("children", []):
        child["info"] = without_host_facts(child["info"])
    return {key: value for key, value in info.items() if key != "actual-size"}


@EXAMPLES
@example(lines=EVERYTHING)
@given(lines=line_lists())
def test_what_is_rendered_is_what_the_real_tools_read(root: str | None, lines: list[list[str]]) -> None:
    with RealTools(root) as real:
        shell = Shell(ImageStore(), real.profile)
        for line in lines:
            shell.run(line)
        image = qcow2_in(shell.images, "d")
        real.write("d", rendered(image))
        if "b" in shell.images:
            below = shell.images.lookup("b")
            real.write("b", below.content.read(0, below.size))
        real.output("qemu-img", "check", "d")
        real.write("raw", shell.images.read_chain("d", 0, image.size))
        real.output("qemu-img", "compare", "-f", "qcow2", "-F", "raw", "d", "raw")
        same_answers(real, shell)
        for bitmap in image.bitmaps if image.snapshots else []:
            real.output("qemu-img", "bitmap", "--remove", "d", bitmap.name)
        for snapshot in image.snapshots:
            real.output("qemu-img", "snapshot", "-a", snapshot.id, "d")
            contents = [snapshot.content, *(each.content for each in shell.images.chain("d")[1:])]
            read = reader(contents)
            assert read is not None
            real.write("raw", read(0, snapshot.content.size))
            real.output("qemu-img", "compare", "-f", "qcow2", "-F", "raw", "d", "raw")
            real.output("qemu-img", "check", "d")


@EXAMPLES
@example(lines=PREALLOCATED)
@example(lines=EVERYTHING)
@given(lines=line_lists())
def test_what_the_real_tools_wrote_is_read_and_rendered_alike(root: str | None, lines: list[list[str]]) -> None:
    with RealTools(root) as real:
        for line in lines:
            real.run(*line)
        shell = Shell(ImageStore(), real.profile)
        if "b" in {path.name for path in real.directory.iterdir()}:
            data = real.read("b")
            shell.images.create("b", "raw", len(data)).content.write(0, data)
        original = MemoryFile(real.read("d"))
        image = load_image(shell.images.create("d", "raw", 0).file, original)
        real.output("qemu-img", "convert", "-O", "raw", "d", "raw")
        assert shell.images.read_chain("d", 0, image.size) == real.read("raw")
        same_answers(real, shell)
        again = MemoryFile(rendered(image))
        assert again.length == original.length
        assert read_metadata(again) == read_metadata(original)
        for offset, length, make in parts(image):
            made = make()[:length]
            found = original.read_at(offset, len(made)).ljust(len(made), b"\0")
            assert unflagged(image, offset, made) == unflagged(image, offset, found), hex(offset)


def unflagged(image: Qcow2Image, offset: int, data: bytes) -> bytes:
    """The bytes of a part of the file, without what QEMU leaves by chance: COPIED in the tables of snapshots."""
    unit, saved = image.cluster_size, image.layout.snapshots
    first, length = saved.list_place
    if length and offset == first * unit:
        return b""  # with gaps in which anything may be; its entries are compared elsewhere
    inactive = {place for tables in saved.saved for place in (tables.l1[0], *tables.l2.values())}
    if offset % unit or offset // unit not in inactive - set(image.layout.active.l2.values()):
        return data
    return pack_table(entry & ~COPIED for entry in unpack_table(data))
