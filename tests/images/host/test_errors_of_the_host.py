"""What clients see when the host refuses, as real QEMU 10.0 answered on the same small file system; nothing is lost."""

from __future__ import annotations

import errno
import gc
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trees import complaints_in

from qbitsim.errors import QmpError, UnsupportedError
from qbitsim.files.host import HostFile
from qbitsim.images.host.store import HostImageStore
from qbitsim.machine.machine import Machine
from qbitsim.profiles import DEFAULT_PROFILE
from qbitsim.programs.shell import Shell

MIB = 1 << 20
UNIT = 65536
FULL = "No space left on device"


def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """A file system in memory at a folder; the test is skipped where none can be mounted."""
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", ",".join(options), "none", str(folder)]
    if mount is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 1 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    yield from mounted(folder, "size=1024k")


class Refusals:
    """What the host refuses from now on: all that writes, with a number."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.number = 0
        self.spared = 0
        for name in ("write_at", "zero", "truncate", "punch", "allocate", "flush"):
            patch.setattr(HostFile, name, self._wrapped(getattr(HostFile, name)))

    def _wrapped(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(file: HostFile, *arguments: Any) -> Any:
            if self.number and self.spared <= 0:
                raise OSError(self.number, os.strerror(self.number), file.path)
            self.spared -= 1
            return method(file, *arguments)

        return call


@pytest.fixture
def refuses(monkeypatch: pytest.MonkeyPatch) -> Refusals:
    return Refusals(monkeypatch)


def machine_on(folder: Path, size: int = 4 * MIB, **options: Any) -> Machine:
    """A machine with a full disk that is not in the folder's file system, and one that is."""
    images = HostImageStore(str(folder))
    machine = Machine(images=images)
    source = machine.add_disk("d0", size, file=str(folder.parent / "source.qcow2"))
    source.write(0, b"A" * size)
    machine.add_disk("t", size, **options)
    return machine


def events(machine: Machine, *names: str) -> list[tuple[str, Any]]:
    return [(each["event"], each["data"]) for each in machine.events.read(0) if each["event"] in names]


def backup(machine: Machine, command: str = "drive-backup", **more: Any) -> list[tuple[str, Any]]:
    """Start one into the folder, and let it go as far as it can."""
    machine.qmp(command, device="d0", target="b.qcow2", sync="full", format="qcow2", job_id="j", **more)
    machine.run_until_idle()
    return events(machine, "BLOCK_JOB_ERROR", "BLOCK_JOB_COMPLETED", "BLOCK_JOB_CANCELLED")


@pytest.mark.parametrize(("command", "kind"), [("drive-backup", "backup"), ("drive-mirror", "mirror")])
def test_a_job_into_a_full_file_system_fails(command: str, kind: str, small: Path) -> None:
    machine = machine_on(small)
    failed = {"device": "j", "len": 4 * MIB, "offset": 0, "speed": 0, "type": kind, "error": FULL}
    *errors, end = backup(machine, command)  # a mirror has several requests on their way
    assert errors[0] == ("BLOCK_JOB_ERROR", {"device": "j", "operation": "write", "action": "report"})
    assert all(each == errors[0] for each in errors)
    assert end == ("BLOCK_JOB_COMPLETED", failed)
    machine.shut_down()
    assert complaints_in(small) == {}


@pytest.mark.parametrize("policy", ["stop", "enospc"])
def test_a_job_that_stops_goes_on_when_there_is_room(policy: str, small: Path) -> None:
    machine = machine_on(small)
    assert backup(machine, on_target_error=policy) == [
        ("BLOCK_JOB_ERROR", {"device": "j", "operation": "write", "action": "stop"})
    ]
    (job,) = machine.qmp("query-block-jobs")
    assert (job["io-status"], job["status"], job["offset"]) == ("nospace", "paused", 0)
    subprocess.run(["mount", "-o", "remount,size=16m", str(small)], check=True)
    machine.qmp("block-job-resume", device="j")
    machine.run_until_idle()
    assert "error" not in events(machine, "BLOCK_JOB_COMPLETED")[0][1]
    assert machine.images.compare(str(small.parent / "source.qcow2"), "b.qcow2") is None
    machine.shut_down()
    assert complaints_in(small) == {}


def test_a_guest_that_fills_the_file_system_keeps_what_it_has(small: Path) -> None:
    machine = machine_on(small)
    disk = machine.drive("t")
    disk.write(2 * MIB, b"kept" * 1024)
    with pytest.raises(OSError, match=FULL):
        disk.write(0, b"B" * 2 * MIB)
    assert disk.read(2 * MIB, 4096) == b"kept" * 1024
    disk.write(0, b"C" * UNIT)  # real QEMU has room for it, too: the request that failed has left its clusters
    machine.shut_down()
    assert complaints_in(small) == {}
    again = Machine(images=HostImageStore(str(small))).add_disk("t", file="t.qcow2")
    assert again.read(0, UNIT) == b"C" * UNIT
    assert again.read(2 * MIB, 4096) == b"kept" * 1024


def test_an_image_that_cannot_be_made_leaves_no_file(small: Path) -> None:
    (small / "filler").write_bytes(bytes(MIB - UNIT))
    images = HostImageStore(str(small))
    with pytest.raises(OSError, match=FULL):
        images.create("y.qcow2", "qcow2", MIB)
    assert sorted(os.listdir(small)) == ["filler"]
    assert "y.qcow2" not in images


@pytest.mark.parametrize(
    ("room", "line", "text"),
    [
        (4096, "create -f qcow2 a 1M", "a: Could not write qcow2 header"),
        (2 * UNIT, "create -f qcow2 a 1M", "a: Could not write refcount table"),
        (3 * UNIT, "create -f qcow2 a 1M", "a: Could not resize image: Failed to grow the L1 table"),
        (4 * UNIT, "create -f raw -o preallocation=full a 4M", "a: Could not write zeros for preallocation"),
        (4 * UNIT, "create -f raw -o preallocation=falloc a 4M", "a: Could not preallocate new data"),
        (
            *(4 * UNIT, "create -f qcow2 -o preallocation=metadata a 64G"),
            "a: Could not resize image: Allocating clusters failed",
        ),
        (4096, "convert -f raw -O qcow2 source a", "a: error while converting qcow2: Could not write qcow2 header"),
        (4096, "resize -f qcow2 q 64T", "Failed to grow the L1 table"),
        (4096, "resize -f raw --preallocation=full r 4M", "Could not write zeros for preallocation"),
        (
            *(4096, "resize -f qcow2 --preallocation=falloc q 4M"),
            "Failed to resize underlying file: Could not preallocate new data",
        ),
        (4096, "dd -f raw -O raw if=source of=r2", "error while writing to output image file"),
        (
            4096,
            "dd -f raw -O qcow2 if=source of=a",
            "a: error while creating output image: Could not write qcow2 header",
        ),
        (0, "snapshot -c s q", "Could not create snapshot 's'"),
        (4096, "commit -f qcow2 over", "Block job failed"),
        (4096, "amend -f qcow2 -o refcount_bits=64 q", "Failed to write refblock"),
        (UNIT, "amend -f qcow2 -o refcount_bits=64 q", "Failed to write the new reftable"),
    ],
)
def test_a_full_file_system_is_told_of_step_by_step(room: int, line: str, text: str, small: Path) -> None:
    def run(*argv: str) -> tuple[int, str]:
        return Shell(HostImageStore(str(small)), DEFAULT_PROFILE).run(argv)

    (small.parent / "source").write_bytes(b"s" * MIB)
    os.symlink("../source", small / "source")
    for name, more in (("q", []), ("over", ["-b", "q", "-F", "qcow2"])):
        assert run("qemu-img", "create", "-q", "-f", "qcow2", *more, name, "1M")[0] == 0
    assert run("qemu-io", "-f", "qcow2", "-c", "write -q 0 64k", "over")[0] == 0
    (small / "r").write_bytes(b"r" * 4096)
    files = set(os.listdir(small))
    left = os.statvfs(small).f_bavail * os.statvfs(small).f_bsize
    (small / "filler").write_bytes(bytes(left - room))
    status, said = run("qemu-img", *line.split())
    assert (status, said.splitlines()[-1]) == (1, f"qemu-img: {text}: {FULL}")
    stays = {"a", "r2"} if "raw -o" in line or "-O raw" in line else set()
    assert set(os.listdir(small)) - files - {"filler"} <= stays
    gc.collect()  # the files that the store had open
    assert {name: text for name, text in complaints_in(small).items() if name not in stays} == {}
    assert "refcount bits: 16" in run("qemu-img", "info", "q")[1]


@pytest.mark.parametrize("spared", [*range(8), 100])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_refused_request_changes_nothing(spared: int, number: int, tmp_path: Path, refuses: Refusals) -> None:
    (tmp_path / "vm").mkdir()
    machine = machine_on(tmp_path / "vm", size=MIB, discard=True)
    disk = machine.drive("t")
    disk.write(0, b"a" * 4 * UNIT)
    disk.write(4 * UNIT, b"p" * UNIT, compressed=True)
    machine.qmp("block-dirty-bitmap-add", node="t", name="b0", persistent=True)
    machine.qmp("blockdev-snapshot-internal-sync", device="t", name="before")
    before = disk.read(0, MIB)
    actions: list[Callable[[], Any]] = [
        lambda: disk.write(UNIT - 100, b"b" * 3 * UNIT),
        lambda: disk.write(4 * UNIT + 5, b"b" * 10),
        lambda: disk.write(8 * UNIT, b"b" * UNIT, compressed=True),
        lambda: machine.qmp("blockdev-snapshot-internal-sync", device="t", name="s"),
        lambda: machine.qmp("block_resize", device="t", size=1 << 40),
    ]
    for action in actions:
        refuses.number, refuses.spared = number, spared
        try:
            action()
        except (OSError, QmpError):
            refuses.number = 0
            assert disk.read(0, MIB) == before
        refuses.number = 0
        before = disk.read(0, MIB)
    machine.shut_down()
    assert complaints_in(tmp_path / "vm") == {}
    again = Machine(images=HostImageStore(str(tmp_path / "vm"))).add_disk("t", file="t.qcow2")
    assert again.read(0, MIB) == before


def test_bitmaps_that_cannot_be_stored_are_in_use_in_the_file(tmp_path: Path, refuses: Refusals) -> None:
    (tmp_path / "vm").mkdir()
    machine = machine_on(tmp_path / "vm", size=MIB)
    machine.qmp("block-dirty-bitmap-add", node="t", name="b0", persistent=True)
    machine.restart()
    refuses.number = errno.ENOSPC
    machine.shut_down()
    refuses.number = 0
    machine.images.save()
    again = Machine(images=HostImageStore(str(tmp_path / "vm")))
    again.add_disk("t", file="t.qcow2")
    (bitmap,) = again.qmp("query-block")[0]["inserted"]["dirty-bitmaps"]
    assert bitmap["inconsistent"]
    again.shut_down()
    assert complaints_in(tmp_path / "vm") == {}


def test_a_part_of_a_cluster_is_written_among_zeroes(tmp_path: Path) -> None:
    disk = Machine(images=HostImageStore(str(tmp_path))).add_disk("t", MIB)
    disk.write(0, b"a" * UNIT)
    disk.write_zeroes(0, UNIT)  # it keeps its place, and the bytes there
    disk.write(512, b"b" * 512)
    assert disk.read(0, UNIT) == bytes(512) + b"b" * 512 + bytes(UNIT - 1024)


def test_a_part_of_a_cluster_is_filled_up_though_somebody_watches_the_file(tmp_path: Path) -> None:
    images = HostImageStore(str(tmp_path))
    machine = Machine(images=images)
    images.create("base", "qcow2", MIB).write(0, b"b" * UNIT)
    images.create("top", "qcow2", MIB, backing="base", backing_format="qcow2")
    file = {"driver": "file", "filename": "top", "node-name": "f"}
    disk = machine.add_drive("t", machine.add_node({"driver": "qcow2", "node-name": "n", "file": file}))
    machine.qmp("block-dirty-bitmap-add", node="f", name="w")
    disk.write(512, b"c" * 512)
    assert disk.read(0, UNIT) == b"b" * 512 + b"c" * 512 + b"b" * (UNIT - 1024)


# -- opening


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("nosuch", "Could not open 'nosuch': No such file or directory"),
        ("nosuch/a", "Could not open 'nosuch/a': No such file or directory"),
        ("plain/a", "Could not open 'plain/a': Not a directory"),
        ("folder", "Could not open 'folder': Is a directory"),
        ("x" * 300, f"Could not open '{'x' * 300}': File name too long"),
        ("loop", "Could not open 'loop': Too many levels of symbolic links"),
    ],
)
def test_a_file_that_cannot_be_opened_is_refused_in_words(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(bytes(512))
    (tmp_path / "folder").mkdir()
    os.symlink("loop", tmp_path / "loop")
    machine = Machine(images=HostImageStore(str(tmp_path)))
    options = {"driver": "file", "node-name": "n", "filename": name}
    with pytest.raises(QmpError) as caught:
        machine.qmp("blockdev-add", **options)
    assert caught.value.desc == text


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EMFILE, errno.EPERM])
def test_what_open_says_reaches_the_client(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(bytes(512))
    machine = Machine(images=HostImageStore(str(tmp_path)))

    def refuse(*_: Any, **__: Any) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("qbitsim.files.host._open", refuse)
    with pytest.raises(QmpError) as caught:
        machine.qmp("blockdev-add", driver="file", node_name="n", filename="a")
    assert caught.value.desc == f"Could not open 'a': {os.strerror(number)}"


def test_a_file_system_that_is_read_only_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "ro"
    folder.mkdir()
    for place in mounted(folder, "size=2048k"):
        machine = Machine(images=HostImageStore(str(place)))
        machine.add_disk("t", MIB).write(0, b"a" * UNIT)
        machine.add_disk("r", MIB, format="raw").write(0, b"a" * UNIT)
        machine.qmp("block-dirty-bitmap-add", node="t", name="b0", persistent=True)
        machine.shut_down()
        del machine
        gc.collect()  # the files that the store had open
        subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True)
        machine = Machine(images=HostImageStore(str(place)))
        for name in ("t.qcow2", "r.raw"):
            with pytest.raises(QmpError, match=f"Could not open '{name}': Read-only file system"):
                machine.qmp("blockdev-add", driver="file", node_name="n", filename=name)
        assert machine.add_disk("t", file="t.qcow2", read_only=True).read(0, UNIT) == b"a" * UNIT
        assert machine.add_disk("r", file="r.raw", format="raw", read_only=True).read(0, UNIT) == b"a" * UNIT
        with pytest.raises(QmpError, match="Could not create 'x': Read-only file system"):
            machine.qmp("drive-backup", device="t", target="x", sync="full")
        machine.shut_down()


def test_a_file_that_shrinks_reads_as_zeroes_and_nothing_hangs(tmp_path: Path) -> None:
    folder = tmp_path / "vm"
    folder.mkdir()
    machine = machine_on(folder, size=MIB)
    raw = machine.add_disk("r", MIB, format="raw")
    raw.write(0, b"r" * MIB)
    machine.drive("t").write(0, b"t" * MIB)
    machine.drive("t").flush()
    os.truncate(folder / "r.raw", 1000)
    os.truncate(folder / "t.qcow2", 6 * UNIT)
    assert raw.read(0, 4096) == b"r" * 1000 + bytes(3096)
    assert machine.drive("t").read(UNIT, UNIT) == bytes(UNIT)
    for device in ("r", "t"):
        machine.qmp("drive-backup", device=device, target=f"of-{device}", sync="full", job_id=device)
    machine.run_until_idle()
    assert ["error" in data for _, data in events(machine, "BLOCK_JOB_COMPLETED")] == [False, False]
    machine.shut_down()


# -- what cannot be had twice


def test_a_second_state_is_refused(tmp_path: Path) -> None:
    machine = Machine(images=HostImageStore(str(tmp_path)))
    machine.add_disk("t", MIB)
    with pytest.raises(UnsupportedError, match=r"a snapshot of a machine whose images are files of the host$"):
        machine.snapshot()
    with pytest.raises(UnsupportedError, match=r"a second state of files of the host$"):
        machine.images.clone()
    with pytest.raises(UnsupportedError, match=r"a second state of files of the host$"):
        machine.images.lookup("t.qcow2").file.copy()


def test_what_is_written_over_a_file_for_a_while_is_not_written_to_it(tmp_path: Path) -> None:
    images = HostImageStore(str(tmp_path))
    images.create("t.qcow2", "qcow2", MIB)
    images.save()
    before = (tmp_path / "t.qcow2").read_bytes()
    commands = ["-c", "write -P 7 0 64k", "-c", "read -P 7 0 64k"]
    status, text = Shell(images, DEFAULT_PROFILE).run(["qemu-io", "-s", *commands, "t.qcow2"])
    assert (status, "Pattern verification failed" in text) == (0, False)
    assert (tmp_path / "t.qcow2").read_bytes() == before


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_an_image_is_made_anew_over_a_file_that_was_closed_with_its_last_user(kind: str, tmp_path: Path) -> None:
    machine = Machine(images=HostImageStore(str(tmp_path), closes_unused=True))
    machine.add_disk("drive0", "1M").write(0, b"a" * 512)
    for number in range(2):
        target = {"device": "drive0", "target": "t", "format": kind, "sync": "full", "job-id": f"j{number}"}
        machine.qmp("drive-backup", **target)
        machine.run_until_idle()
    assert machine.events.read(0)[-1]["data"] == {"status": "null", "id": "j1"}
    assert machine.images.compare("t", "drive0.qcow2") is None
