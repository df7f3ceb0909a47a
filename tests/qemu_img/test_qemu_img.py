"""qemu-img against transcripts of the real one, and what transcripts cannot hold.

A transcript is a text: ``# new`` starts an empty directory, ``# write FILE OFFSET LENGTH BYTE``, ``# zero FILE OFFSET
LENGTH``, ``# mkdir NAME`` and ``# rm NAME`` change files by other means, and ``$ qemu-img ...`` is followed by what it
printed, standard error included, and by ``= `` and its exit status. Sizes on the host's disk and invented node names
are blanked out.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from qbitsim.bits.bits import Bits
from qbitsim.files.locks import WRITER
from qbitsim.images.chain import chain_status, reader
from qbitsim.images.content import Kind
from qbitsim.images.qcow2.bitmaps import StoredBitmap
from qbitsim.images.store import ImageStore
from qbitsim.profiles import Profile, profile
from qbitsim.qemu_img.run import run

TRANSCRIPTS = sorted((Path(__file__).parent / "qemu_img_transcripts").glob("*.txt"))


def blanked(text: str) -> str:
    """Without the facts of the host."""
    text = re.sub(r"disk size: .*", "disk size: -", text)
    text = re.sub(r'"actual-size": \d+', '"actual-size": -', text)
    return re.sub(r"#block\d+", "#block", text)


def change(store: ImageStore, words: list[str]) -> None:
    """A line of a transcript that is not qemu-img: what qemu-io or the shell did."""
    what, name, *numbers = words
    if what == "mkdir":
        store.mkdir(name)
        return
    if what == "rm":
        store.remove(name)
        return
    image, (offset, length, *byte) = store.lookup(name), map(int, numbers)
    below = [lower.content for lower in store.chain(name)[1:]]
    image.reopen()
    if what == "write":
        image.write(offset, bytes(byte) * length, reader(below))
    else:
        known = (lambda at, run: chain_status(below, at, run)[0] is not Kind.DATA) if below else None
        image.write_zeroes(offset, length, reader(below), known)
    for bitmap in image.bitmaps:
        if bitmap.auto:
            bitmap.bits.set(offset // bitmap.granularity, -(-(offset + length) // bitmap.granularity))
    if image.bitmaps:
        image.store_bitmaps(image.bitmaps)


def replay(transcript: str, release: Profile) -> str:
    """The transcript with our own answers."""
    store = ImageStore()
    lines = []
    for line in transcript.splitlines():
        if line == "# new":
            store = ImageStore()
            lines.append(line + "\n")
        elif line.startswith("# "):
            change(store, line.split()[1:])
            lines.append(line + "\n")
        elif line.startswith("$ "):
            status, output = run(store, shlex.split(line[2:]), release)
            lines += [line + "\n", blanked(output).removesuffix("\n") + "\n" if output else "", f"= {status}\n"]
    return "".join(lines)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_qemu_img_answers_like_the_real_one(path: Path) -> None:
    transcript = path.read_text()
    assert replay(transcript, profile(path.stem)) == transcript


def test_an_image_in_use_is_refused_unless_shared_by_force() -> None:
    store = ImageStore()
    image = store.create("s.qcow2", "qcow2", 1 << 20)
    assert image.file.locks.acquire("machine", *WRITER) is None
    reading = "qemu-img: Could not open 's.qcow2': Failed to get shared \"write\" lock\n"
    writing = "qemu-img: Could not open 's.qcow2': Failed to get \"write\" lock\n"
    who = "Is another process using the image [s.qcow2]?\n"
    assert run(store, ["info", "s.qcow2"]) == (1, reading + who)
    assert run(store, ["check", "s.qcow2"]) == (1, reading + who)
    assert run(store, ["compare", "s.qcow2", "s.qcow2"]) == (2, reading + who)
    assert run(store, ["bitmap", "--add", "s.qcow2", "b"]) == (1, writing + who)
    assert run(store, ["resize", "s.qcow2", "2M"]) == (1, writing + who)
    creating = 'qemu-img: s.qcow2: Failed to get "write" lock\n'
    assert run(store, ["create", "-q", "-f", "qcow2", "s.qcow2", "1M"]) == (1, creating + who)
    converting = 'qemu-img: s.qcow2: error while converting qcow2: Failed to get "write" lock\n'
    store.create("r.raw", "raw", 1 << 20)
    assert run(store, ["convert", "-O", "qcow2", "r.raw", "s.qcow2"]) == (1, converting + who)
    assert run(store, ["info", "-U", "s.qcow2"])[0] == 0
    assert image.bitmaps == []
    assert image.size == 1 << 20
    image.file.locks.release("machine")
    assert run(store, ["bitmap", "--add", "s.qcow2", "b"]) == (0, "")


def test_locks_can_be_left_alone() -> None:
    store = ImageStore()
    image = store.create("s.raw", "raw", 1 << 20)
    assert image.file.locks.acquire("machine", *WRITER) is None
    options = "driver=raw,file.driver=file,file.filename=s.raw,file.locking="
    text = f"qemu-img: Could not open '{options}x': invalid parameter value: x\n"
    assert run(store, ["resize", "--image-opts", options + "x", "2M"]) == (1, text)
    who = "Is another process using the image [s.raw]?\n"
    text = f"qemu-img: Could not open '{options}on': Failed to get \"write\" lock\n{who}"
    assert run(store, ["resize", "--image-opts", options + "on", "2M"]) == (1, text)
    assert image.size == 1 << 20
    assert run(store, ["resize", "--image-opts", options + "off", "2M"]) == (0, "Image resized.\n")
    assert store.lookup("s.raw").size == 2 << 20


def test_inconsistent_bitmaps_can_only_be_removed() -> None:
    store = ImageStore()
    image = store.create("s.qcow2", "qcow2", 1 << 20)
    stored = [StoredBitmap(name, 65536, in_use=name != "d", auto=name != "c", bits=Bits(16)) for name in "bcd"]
    image.store_bitmaps(stored)
    advice = "Try block-dirty-bitmap-remove to delete this bitmap from disk\n"
    for action in (["--clear"], ["--enable"], ["--disable"], ["--merge", "d"]):
        text = f"Operation {action[0][2:]} on bitmap b failed: Bitmap 'b' is inconsistent and cannot be used\n"
        assert run(store, ["bitmap", *action, "s.qcow2", "b"]) == (1, "qemu-img: " + text + advice)
    text = "qemu-img: Operation merge on bitmap d failed: Bitmap 'b' is inconsistent and cannot be used\n"
    assert run(store, ["bitmap", "--merge", "b", "s.qcow2", "d"]) == (1, text + advice)
    text = "qemu-img: Bitmap 'b' is inconsistent and cannot be used\n"
    assert run(store, ["resize", "s.qcow2", "2M"]) == (1, text + advice)
    text = "qemu-img: Cannot copy inconsistent bitmap 'c'\n"
    advice = "Try --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it\n"
    assert run(store, ["convert", "-O", "qcow2", "--bitmaps", "s.qcow2", "x"]) == (1, text + advice)
    assert "x" not in store
    assert image.bitmaps == stored
    assert run(store, ["bitmap", "--remove", "s.qcow2", "b"]) == (0, "")
    assert [bitmap.name for bitmap in image.bitmaps] == ["c", "d"]


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["-T", "x", "info", "a"], "qemu-img -T"),
        (["create", "-f", "vdi", "a", "1M"], "the image format 'vdi'"),
        (["create", "-f", "qcow2", "-o", "extended_l2=on", "a", "1M"], "the image creation option 'extended_l2=on'"),
        (["compare", "--object", "secret,id=s", "a", "b"], "qemu-img compare --object"),
    ],
)
def test_what_is_not_emulated_says_so(words: list[str], what: str) -> None:
    store = ImageStore()
    assert run(store, words) == (1, f"qbitsim does not emulate {what}\n")
    assert store.names() == []


def test_the_word_qemu_img_in_front_is_optional() -> None:
    store = ImageStore()
    assert run(store, ["qemu-img", "create", "-q", "a", "1M"]) == run(store, ["create", "-q", "b", "1M"]) == (0, "")
    assert store.names() == ["a", "b"]
