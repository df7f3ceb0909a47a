"""Stories of a machine on a folder of the host, all of whose file changes are recorded."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from journal import Journal, Replica, identity
from judge import Judgement

from qbitsim import Machine
from qbitsim.errors import QmpError
from qbitsim.images.content import Kind
from qbitsim.images.host.store import HostImageStore
from qbitsim.profiles import DEFAULT_PROFILE
from qbitsim.programs.shell import Shell

SECTOR = 512
NAME = "d.qcow2"


class Story:
    """A machine with one disk on a qcow2 file ``d.qcow2``, what is done to it, and what is known of the disk.

    :param folder: an empty folder.
    :param options: of the image, as ``qemu-img create -o`` takes them.
    :param backed: over a raw backing file that is full of sevens.
    """

    def __init__(self, folder: Path, options: str, size: int, *, backed: bool = False) -> None:
        self.folder = folder
        self.path = folder / NAME
        self.journal = Journal()
        self.images = HostImageStore(str(folder))
        self.shell = Shell(self.images, DEFAULT_PROFILE)
        self.below = self.first_below = b"\7" * size if backed else b""
        where = ""
        if backed:
            (folder / "base").write_bytes(self.below)
            where = "-b base -F raw "
        self.sh(f"qemu-img create -q -f qcow2 -o {options} {where}{NAME} {size}")
        self.images.save()
        self.size = size
        self.disk = bytearray(self.below.ljust(size, b"\0"))
        self.machine: Machine | None = None
        self.start = self.path.read_bytes()
        self.identity = identity(self.path)
        self.refused = 0

    def play(self, steps: list[tuple[Any, ...]]) -> None:
        """Do all that, with every change of the files recorded."""
        with self.journal.recording():
            self._open()
            for step in steps:
                getattr(self, "_" + step[0])(*step[1:])
            self._close()

    def sh(self, line: str) -> bool:
        """Run a program of ours; whether it succeeded."""
        status, _ = self.shell.run(line.split())
        return status == 0

    def _open(self) -> None:
        self.machine = Machine(images=self.images)
        file = {"driver": "file", "filename": NAME, "discard": "unmap"}
        node = {"driver": "qcow2", "node-name": "n", "file": file, "discard": "unmap"}
        self.machine.execute("blockdev-add", node)

    def _close(self) -> None:
        assert self.machine is not None
        self.machine.execute("blockdev-del", {"node-name": "n"})
        self.machine = None
        self.images.save()
        self._note_flushed()

    def _execute(self, command: str, **arguments: Any) -> bool:
        assert self.machine is not None
        try:
            self.machine.execute(command, {key.replace("_", "-"): value for key, value in arguments.items()})
        except QmpError:
            self.refused += 1
            return False
        self.machine.run_until_idle()
        return True

    def _io(self, command: str) -> str:
        assert self.machine is not None
        return str(self.machine.execute("human-monitor-command", {"command-line": f'qemu-io n "{command}"'}))

    def _range(self, first: int, count: int) -> tuple[int, int]:
        offset = first * SECTOR % self.size
        return offset, min(count * SECTOR, self.size - offset)

    def _note_flushed(self) -> None:
        self.journal.note("flushed", bytes(self.disk))

    # -- what the guest does

    def _write(self, first: int, count: int, pattern: int) -> None:
        offset, length = self._range(first, count)
        self.journal.note("changing", offset, bytes([pattern]) * length)
        assert "failed" not in self._io(f"write -q -P {pattern} {offset} {length}")
        self.disk[offset : offset + length] = bytes([pattern]) * length

    def _pack(self, first: int, count: int, pattern: int) -> None:
        assert self.machine is not None
        unit = self.images.lookup(NAME).content.cluster_size
        offset = first * SECTOR % self.size // unit * unit
        length = min(unit * (count % 3 + 1), self.size - offset)
        self.journal.note("changing", offset, bytes([pattern]) * length)
        self._io(f"write -q -c -P {pattern} {offset} {length}")
        read = self.images.lookup(NAME).content
        for at in range(offset, offset + length, unit):  # those that had a place are as they were
            room = min(unit, self.size - at)
            if read.status(at, 1)[0].value == "data":
                self.disk[at : at + room] = read.read(at, room)

    def _zero(self, first: int, count: int, unmap: bool) -> None:
        offset, length = self._range(first, count)
        self.journal.note("changing", offset, bytes(length))
        self._io(f"write -q -z {'-u ' if unmap else ''}{offset} {length}")
        self.disk[offset : offset + length] = bytes(length)

    def _discard(self, first: int, count: int) -> None:
        offset, length = self._range(first, count)
        self.journal.note("changing", offset, bytes(length))
        self._io(f"discard -q {offset} {length}")
        assert self.machine is not None
        self.disk[:] = self.images.read_chain(NAME, 0, self.size)  # what a discard leaves is not of interest here

    def _flush(self) -> None:
        self._io("flush")
        self._note_flushed()

    # -- what the monitor does

    def _resize(self, sectors: int) -> None:
        old = bytes(self.disk)
        size = sectors * SECTOR
        if size < self.size:
            self.journal.note("changing", size, None)
        if self._execute("block_resize", node_name="n", size=size):
            self.size = size
            self.disk[:] = self.images.read_chain(NAME, 0, size)  # with what was behind the end of the last cluster
            assert self.disk[: len(old)] == old[:size]
            self._note_flushed()

    def _snapshot(self, number: int) -> None:
        self.images.save()
        self._note_flushed()
        self._close()
        self.sh(f"qemu-img snapshot -c s{number} {NAME}")
        self._note_snapshots()
        self._open()

    def _forget(self, number: int) -> None:
        self._close()
        self._note_snapshots(but=f"s{number}")
        self.sh(f"qemu-img snapshot -d s{number} {NAME}")
        self._note_snapshots()
        self._open()

    def _back(self, number: int) -> None:
        self._close()
        self.journal.note("changing", 0, None)
        if self.sh(f"qemu-img snapshot -a s{number} {NAME}"):
            self.size = self.images.lookup(NAME).size
            self.disk[:] = self.images.read_chain(NAME, 0, self.size)
        self._note_flushed()
        self._open()

    def _note_snapshots(self, but: str | None = None) -> None:
        found = {each.id: each.content for each in self.images.lookup(NAME).snapshots if each.name != but}
        self.journal.note("snapshots", {number: _whole(each, self.below) for number, each in found.items()})

    def _bitmap(self, number: int) -> None:
        self._execute("block-dirty-bitmap-add", node="n", name=f"b{number}", persistent=True, granularity=512)

    def _unbitmap(self, number: int) -> None:
        self._execute("block-dirty-bitmap-remove", node="n", name=f"b{number}")

    def _amend(self, option: str) -> None:
        self._close()
        if option == "compat=0.10":
            self.journal.note("snapshots", {})  # QEMU zeroes clusters that they need, and so do we
        self.sh(f"qemu-img amend -o {option} {NAME}")
        self.images.save()
        self._note_flushed()
        self._open()

    def _leave(self) -> None:
        self._close()
        self._open()

    def _commit(self) -> None:
        """Everything goes into the backing file, and the disk becomes empty."""
        self._close()
        if self.below:
            self.journal.note("changing", 0, None)
            self.journal.note("snapshots", {})  # they show what is below
            self.sh(f"qemu-img commit {NAME}")
            self.below = (self.folder / "base").read_bytes()
            self.images.save()
            self.journal.note("below", self.below)
            self._note_flushed()
            self._note_snapshots()
        self._open()

    # -- what a killed process leaves

    def judge(self, *, torn: bool = True) -> int:
        """Look at the file after each change; how many states there were.

        :param torn: also in the middle of changes.
        """
        judge = _Judge(self, Path(tempfile.mkdtemp(dir=self.folder)) / NAME)
        for number, entry in enumerate(self.journal.entries):
            judge.take(number, entry, torn=torn)
        return judge.states


def _whole(content: Any, below: bytes) -> bytes:
    found = bytearray(below[: content.size].ljust(content.size, b"\0"))
    for kind in (Kind.DATA, Kind.ZERO):
        for at, run in content.ranges(kind):
            found[at : at + run] = content.read(at, run)
    return bytes(found)


class _Judge:
    def __init__(self, story: Story, path: Path) -> None:
        self.story = story
        self.path = path
        self.states = 0
        self.replica = Replica()
        self.replica.data[:] = story.start
        self.below = story.first_below
        self.flushed: bytes | None = None
        self.changing: list[tuple[int, bytes | None]] = []
        self.snapshots: dict[str, bytes] = {}

    def take(self, number: int, entry: tuple[Any, ...], *, torn: bool) -> None:
        if entry[0] == "note":
            getattr(self, "_" + entry[1])(*entry[2:])
            return
        file, method, arguments = entry
        if file != self.story.identity:
            return
        if torn and method == "write_at" and len(arguments[1]) > 4096:
            kept = bytes(self.replica.data)
            self.replica.apply(method, arguments, most=len(arguments[1]) // 8192 * 4096)
            self._look(number, entry)
            self.replica.data[:] = kept
        self.replica.apply(method, arguments)
        self._look(number, entry)

    def _flushed(self, disk: bytes) -> None:
        self.flushed, self.changing = disk, []

    def _changing(self, offset: int, data: bytes | None) -> None:
        self.changing.append((offset, data))

    def _snapshots(self, found: dict[str, bytes]) -> None:
        self.snapshots = found

    def _below(self, data: bytes) -> None:
        self.below = data

    def _look(self, number: int, entry: tuple[Any, ...]) -> None:
        self.states += 1
        self.replica.write(self.path)
        found = Judgement(self.path)
        where = f"after change {number}: {entry[1]} at {entry[2][0]:#x}"
        assert not found.errors or found.is_dirty, (where, found.errors)
        self._compare_disk(found, where)
        indices = {each["names"][0]: index for index, each in enumerate(found.places["snapshots"])}
        for snapshot, disk in self.snapshots.items():
            assert snapshot in indices, (where, snapshot)
            length = min(len(disk), found.size)  # a disk that was resized since
            assert found.disk(indices[snapshot], self.below)[:length] == disk[:length], (where, snapshot)

    def _compare_disk(self, found: Judgement, where: str) -> None:
        if self.flushed is None or any(data is None for _, data in self.changing):
            return
        disk = found.disk(None, self.below)
        for at in range(0, min(len(self.flushed), len(disk)), SECTOR):
            is_now = disk[at : at + SECTOR]
            if is_now == self.flushed[at : at + SECTOR]:
                continue
            assert any(
                offset <= at < offset + len(data or b"") and is_now == (data or b"")[at - offset : at - offset + SECTOR]
                for offset, data in self.changing
            ), (where, f"sector {at:#x}", is_now[:4], self.flushed[at : at + 4])


CLUSTERS = (512, 512, 1024, 4096, 65536)


def steps() -> st.SearchStrategy[tuple[Any, ...]]:
    """One step of a story."""
    first, count, pattern = st.integers(0, 400), st.integers(1, 24), st.integers(1, 250)
    few = st.integers(0, 2)
    io = [
        st.tuples(st.just("write"), first, count, pattern),
        st.tuples(st.just("pack"), first, count, pattern),
        st.tuples(st.just("zero"), first, count, st.booleans()),
        st.tuples(st.just("write"), first, st.integers(24, 200), pattern),
        st.tuples(st.just("discard"), first, count),
        st.tuples(st.just("flush")),
    ]
    rare = [
        st.tuples(st.just("resize"), st.integers(1, 500)),
        st.tuples(st.just("snapshot"), few),
        st.tuples(st.just("forget"), few),
        st.tuples(st.just("back"), few),
        st.tuples(st.just("bitmap"), few),
        st.tuples(st.just("unbitmap"), few),
        st.tuples(st.just("amend"), st.sampled_from(("refcount_bits=64", "refcount_bits=16", "refcount_bits=8"))),
        st.tuples(st.just("amend"), st.sampled_from(("compat=0.10", "compat=1.1"))),
        st.tuples(st.just("commit")),
        st.tuples(st.just("leave")),
    ]
    return st.one_of(*io, *io, *rare)


@st.composite
def stories(draw: st.DrawFn) -> tuple[str, int, bool, list[tuple[Any, ...]]]:
    """Options of the image, its size, whether it has a backing file, the steps."""
    options = f"cluster_size={draw(st.sampled_from(CLUSTERS))}"
    if draw(st.integers(0, 4)) == 0:
        options += ",compat=0.10"
    else:
        options += f",refcount_bits={draw(st.sampled_from((4, 8, 16, 16, 16, 64)))}"
    return (
        options,
        draw(st.integers(1, 300)) * SECTOR,
        draw(st.booleans()),
        draw(st.lists(steps(), min_size=1, max_size=25)),
    )
