"""Damages files whose images have some of everything, and does things with them, in processes of their own.

Tables are read when a request wants them, so that opening a damaged file is not all: programs, a machine's guest and
its jobs meet what is wrong. Whatever it is, each of them answers or refuses, within :data:`SECONDS` of the processor
and :data:`ROOM` bytes more than before.
"""

from __future__ import annotations

import random
import resource
import signal
import struct
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1] / "qcow2"))

from file_draws import STORIES
from memory_file import MemoryFile
from story_files import story
from trees import folder_of_files

from qbitsim import Machine
from qbitsim.errors import QmpError
from qbitsim.images.host.store import HostImageStore
from qbitsim.images.image_file import ImageFile
from qbitsim.images.qcow2.loading import load_image
from qbitsim.images.qcow2.rendered import parts
from qbitsim.profiles import PROFILES
from qbitsim.programs.shell import Shell

SECONDS = 2
ROOM = 256 << 20
TRIED = 4
"""So many things are done with each file."""
_AT_ONCE = 250
_SMALL = (0, 1, 2, 3, 4, 7, 9, 21, 22, 64, 72, 104, 112, 255, 511, 512, 513, 1 << 16, (1 << 31) - 1, (1 << 32) - 1)
_LARGE = (1 << 40, 1 << 55, (1 << 63) - 1, 1 << 62, (1 << 63) | 512, 1 << 63, (1 << 64) - 1)
_HEADER = 128


class TooLongError(BaseException):
    """Nobody who handles errors handles this one."""


# -- damage


@cache
def _tables(number: int) -> list[tuple[int, int]]:
    """Where in a story's file the header, tables, refcounts, snapshots and bitmaps are: offsets and lengths."""
    data = story(number)
    image = load_image(ImageFile("d"), MemoryFile(data))
    guest = {place * image.cluster_size for place in image.layout.active.places.values()}
    return [(offset, min(length, len(data) - offset)) for offset, length, _ in parts(image) if offset not in guest]


def damaged(draws: random.Random) -> bytes:
    """A file of which some fields are overwritten, and perhaps the end is cut off."""
    number = draws.randrange(len(STORIES))
    data = bytearray(story(number))
    for _ in range(draws.choice((1, 1, 1, 2, 3, 5))):
        place, width = _place(draws, number), draws.choice("BHIQQQQ")
        place = min(place - place % struct.calcsize(width), len(data) - 8)
        struct.pack_into(f">{width}", data, place, _value(draws, data, place, width))
    return bytes(data[: draws.randrange(len(data))] if draws.random() < 0.05 else data)


def _place(draws: random.Random, number: int) -> int:
    if draws.random() < 0.2:
        return draws.randrange(_HEADER)
    offset, length = draws.choice(_tables(number))
    used = [at for at in range(offset, offset + length, 8) if any(story(number)[at : at + 8])]
    if used and draws.random() < 0.8:
        return draws.choice(used) + draws.randrange(8)
    return offset + draws.randrange(length)


def _value(draws: random.Random, data: bytes, place: int, width: str) -> int:
    """A value that is odd, or a little beside what is there, or is somewhere else in the file."""
    most = (1 << 8 * struct.calcsize(width)) - 1
    now: int = struct.unpack_from(f">{width}", data, place)[0]
    other: int = struct.unpack_from(">Q", data, draws.randrange(len(data) // 8) * 8)[0]
    choices = (
        draws.choice(_SMALL),
        draws.choice(_LARGE),
        now ^ 1 << draws.randrange(most.bit_length()),
        now + draws.choice((-512, -1, 1, 8, 512, 4096, 65536)),
        other,
        draws.randrange(len(data)) & -512,
        draws.randint(0, most),
    )
    return draws.choice(choices) & most


# -- what is done with a file

LINES = (
    "qemu-img info d",
    "qemu-img info --output json d",
    "qemu-img map d",
    "qemu-img map --output json d",
    "qemu-img check d",
    "qemu-img check --output json d",
    "qemu-img check -q -r leaks d",
    "qemu-img check -q -r all d",
    "qemu-img snapshot -l d",
    "qemu-img snapshot -c three d",
    "qemu-img snapshot -a two d",
    "qemu-img snapshot -d two d",
    "qemu-img bitmap --add d b2",
    "qemu-img bitmap --clear d b0",
    "qemu-img bitmap --remove d b1",
    "qemu-img bitmap --merge b0 d b1",
    "qemu-img resize -q d +1M",
    "qemu-img resize -q --shrink d 200k",
    "qemu-img amend -o compat=0.10 d",
    "qemu-img amend -o refcount_bits=64 d",
    "qemu-img convert -O raw d r",
    "qemu-img convert -O qcow2 --bitmaps d c",
    "qemu-img convert -c -O qcow2 d c",
    "qemu-img convert -l two -O qcow2 d c",
    "qemu-img measure -O qcow2 d",
    "qemu-img compare d e",
    "qemu-img rebase -u -b e -F raw d",
    "qemu-img dd bs=64k count=40 if=d of=c",
    "qemu-io -c map -c 'alloc 0 200k' -c info -c length d",
    "qemu-io -r -c 'read 0 1M' -c 'read 500k 64k' d",
    "qemu-io -c 'write -q 0 200k' -c 'write -q 300k 1k' -c flush -c 'write -q 600k 90k' d",
    "qemu-io -c 'write -q -z 30k 100k' -c 'write -q -z -u 300k 300k' -c flush -c 'write -q 64k 64k' d",
    "qemu-io -c 'discard -q 0 64k' -c 'write -q 100k 64k' -c 'discard -q 500k 500k' -c 'truncate 2M' d",
    "qemu-io -c 'write -q -c 64k 64k' -c 'write -q -c 640k 4k' -c 'aio_write -q 0 5k' -c aio_flush d",
)
HMP = (
    'qemu-io n "write -q 0 200k"',
    'qemu-io n "read -q 0 1M"',
    'qemu-io n "discard -q 0 500k"',
    'qemu-io n "write -q -z -u 100k 700k"',
    'qemu-io n "write -q -c 512k 64k"',
    "info block -v -n",
)
COMMANDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("query-named-block-nodes", {}),
    ("x-debug-block-dirty-bitmap-sha256", {"node": "n", "name": "b0"}),
    ("block-dirty-bitmap-add", {"node": "n", "name": "b3", "persistent": True}),
    ("block-dirty-bitmap-remove", {"node": "n", "name": "b1"}),
    ("block_resize", {"node-name": "n", "size": 2 << 20}),
    ("block_resize", {"node-name": "n", "size": 128 << 10}),
    ("drive-backup", {"device": "n", "job-id": "j", "target": "t", "format": "qcow2", "sync": "full"}),
    ("drive-mirror", {"device": "n", "job-id": "j", "target": "t", "format": "raw", "sync": "full"}),
    ("drive-backup", {"device": "n", "job-id": "j", "target": "t", "sync": "incremental", "bitmap": "b0"}),
)


def try_lines(draws: random.Random, folder: Path) -> Iterator[str]:
    """Run programs on the file, and say what is about to be run."""
    shell = Shell(HostImageStore(str(folder)), PROFILES["10.0"])
    for line in draws.sample(LINES, TRIED):
        yield line
        shell.run([word.strip("'") for word in _words(line)])
    yield "save"
    with suppress(OSError):
        shell.images.save()


def _words(line: str) -> list[str]:
    """The words of a line, with what is between quotes as one."""
    pieces = line.split("'")
    return [word for at, piece in enumerate(pieces) for word in ([piece] if at % 2 else piece.split())]


def try_machine(draws: random.Random, folder: Path) -> Iterator[str]:
    """Let a machine use the file as a disk, and say what is about to be done."""
    machine = Machine("10.0", images=HostImageStore(str(folder)))
    node = {"driver": "qcow2", "node-name": "n", "file": {"driver": "file", "filename": "d"}, "discard": "unmap"}
    steps = [("human-monitor-command", {"command-line": line}) for line in HMP] + list(COMMANDS)
    for command, arguments in [("blockdev-add", node), *draws.sample(steps, TRIED), ("quit", {})]:
        yield f"{command} {arguments}"
        with suppress(QmpError):
            machine.execute(command, arguments)
        machine.run_until_idle()


# -- processes


def in_trouble(seed: int, folder: Path) -> str | None:
    """What went wrong with the damaged file of that number: where, and what was being done; None for nothing."""
    draws = random.Random(seed)
    for path in folder.iterdir():
        path.unlink()
    (folder / "d").write_bytes(damaged(draws))
    (folder / "e").write_bytes(bytes(1 << 20))
    trial: Callable[[random.Random, Path], Iterator[str]] = draws.choice((try_lines, try_lines, try_machine))
    said = ""
    try:
        for doing in trial(draws, folder):
            said += f"{doing}; "
            signal.setitimer(signal.ITIMER_PROF, SECONDS, SECONDS)  # again: the first may come where it is ignored
    except (Exception, TooLongError) as error:
        signal.setitimer(signal.ITIMER_PROF, 0)
        frames = traceback.extract_tb(error.__traceback__)
        where = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[:-5:-1])
        return f"{error!r:.200}\n  {where}\n  seed {seed}: {said}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return None


@contextmanager
def _limited() -> Iterator[Path]:
    """A folder for files, and no more memory and time than is allowed."""
    for number in range(len(STORIES)):
        _tables(number)

    def stop(*_: object) -> None:
        raise TooLongError

    signal.signal(signal.SIGPROF, stop)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    with folder_of_files() as folder:
        yield folder


def _batch(seeds: range) -> list[str]:
    with _limited() as folder:
        return [found for found in (in_trouble(seed, folder) for seed in seeds) if found is not None]


def all_trouble(seeds: range) -> Iterator[list[str]]:
    """What went wrong with all these files, some at a time, each time in a fresh process."""
    batches = [seeds[start : start + _AT_ONCE] for start in range(0, len(seeds), _AT_ONCE)]
    with ProcessPoolExecutor(1, get_context("spawn"), max_tasks_per_child=1) as pool:
        yield from pool.map(_batch, batches)


def main(count: int, first: int) -> int:
    """Try so many files; print each kind of trouble once, and how often there was any."""
    kinds: Counter[str] = Counter()
    for number, found in enumerate(all_trouble(range(first, first + count)), 1):
        for each in found:
            kind = each.split("\n")[1]
            kinds[kind] += 1
            if kinds[kind] == 1:
                print(each, flush=True)  # noqa: T201
        if not number % 10:
            print(f"{number * _AT_ONCE} files", flush=True)  # noqa: T201
    print(f"{count} files, trouble with {kinds.total()}: {dict(kinds)}")  # noqa: T201
    return kinds.total()


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1]), int(sys.argv[2]) if sys.argv[2:] else 0) else 0)
