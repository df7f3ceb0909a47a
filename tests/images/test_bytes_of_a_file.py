"""A qcow2 file seen as bytes, on both trees: read, written, copied, and found to be an image again.

What QEMU 10.0 and 7.2 answered to the same commands stands in the assertions.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable

import pytest
from real_tools import RealTools

from qbitsim import Machine, QmpError
from qbitsim.images.qcow2.structures import MAGIC
from qbitsim.images.store import ImageStore
from qbitsim.profiles import PROFILES
from qbitsim.programs.shell import Shell

KIB, MIB = 1 << 10, 1 << 20
CLUSTER = 64 * KIB
L2, FIRST_DATA = 4 * CLUSTER, 5 * CLUSTER
"""Where a new image with usual clusters puts its first L2 table, and the first data."""

Run = Callable[[str], str]


@pytest.fixture
def run(store: ImageStore) -> Run:
    """Runs a command that must succeed."""
    shell = Shell(store, PROFILES["10.0"])

    def run_line(line: str) -> str:
        status, text = shell.run(shlex.split(line))
        assert status == 0, (line, text)
        return text

    return run_line


@pytest.fixture
def fails(store: ImageStore) -> Run:
    """Runs a command that must fail."""
    shell = Shell(store, PROFILES["10.0"])

    def run_line(line: str) -> str:
        status, text = shell.run(shlex.split(line))
        assert status != 0, (line, text)
        return text

    return run_line


@pytest.fixture
def machine(store: ImageStore) -> Machine:
    """A machine on the store."""
    return Machine("10.0", images=store)


def make(run: Run, name: str = "a") -> None:
    """An image of 1 MiB whose first 128 KiB are written."""
    run(f"qemu-img create -q -f qcow2 {name} 1M")
    run(f"qemu-io -f qcow2 -c 'write -q -P 1 0 128k' {name}")


def bytes_of(store: ImageStore, name: str) -> bytes:
    """All bytes of a file."""
    image = store.lookup(name, "raw")
    return image.content.read(0, image.size)


def copied(machine: Machine, job: str, **arguments: str) -> None:
    """A job that copies all, to its end."""
    machine.qmp(f"blockdev-{job}", **arguments, sync="full", job_id="j")
    machine.settle()
    if job == "mirror":
        machine.qmp("job-complete", id="j")
        machine.settle()
    completed = [event for event in machine.events.read(0) if event["event"] == "BLOCK_JOB_COMPLETED"]
    assert "error" not in completed[-1]["data"]


# -- reading


def test_a_qcow2_file_as_raw_shows_its_header_tables_and_data(run: Run, store: ImageStore) -> None:
    make(run)
    data = bytes_of(store, "a")
    assert len(data) == 7 * CLUSTER
    assert data[:8] == MAGIC.to_bytes(4, "big") + (3).to_bytes(4, "big")
    assert data[L2 : L2 + 16] == (1 << 63 | FIRST_DATA).to_bytes(8, "big") + (1 << 63 | 6 * CLUSTER).to_bytes(8, "big")
    assert data[FIRST_DATA:] == b"\1" * (2 * CLUSTER)


@pytest.mark.parametrize(
    "command",
    [
        "qemu-img convert -f raw -O raw a b",
        "qemu-img dd -f raw -O raw if=a of=b bs=64k",
        "cp a b",
    ],
)
def test_a_copy_of_the_bytes_is_the_same_image(run: Run, store: ImageStore, command: str) -> None:
    make(run)
    run(command)
    assert bytes_of(store, "b") == bytes_of(store, "a")
    assert run("qemu-img compare a b") == "Images are identical.\n"
    assert "No errors were found" in run("qemu-img check b")


def test_info_map_and_compare_tell_of_the_file(run: Run, fails: Run) -> None:
    make(run)
    info = run("qemu-img info -f raw a").splitlines()
    assert info[:3] == ["image: a", "file format: raw", "virtual size: 448 KiB (458752 bytes)"]
    assert "qcow2" not in "".join(info)
    assert '"start": 262144, "length": 196608, "depth": 0, "present": true, "zero": false' in run(
        "qemu-img map -f raw --output=json a"
    )
    assert fails("qemu-img compare -f raw -F qcow2 a a") == "Content mismatch at offset 0!\n"
    run("qemu-img convert -f raw -O qcow2 a b")
    assert run("qemu-img compare -f raw -F qcow2 a b") == "Images are identical.\n"


def test_an_overlay_can_have_the_bytes_below_it(run: Run) -> None:
    make(run)
    run("qemu-img create -q -f qcow2 -b a -F raw over")
    assert run("qemu-io -c 'read -v 0 4' over").startswith("00000000:  51 46 49 fb ")


def test_a_raw_node_over_a_qcow2_file_that_is_in_use_reads_along(run: Run, machine: Machine) -> None:
    make(run)
    machine.add_node({"driver": "file", "node-name": "f", "filename": "a"})
    machine.add_node({"driver": "qcow2", "node-name": "q", "file": "f"})
    machine.add_node({"driver": "raw", "node-name": "r", "file": "f", "read-only": True})
    disk, raw = machine.graph.nodes["q"], machine.graph.nodes["r"]
    disk.write(0, b"\7" * 512)
    assert raw.read(FIRST_DATA, 512) == b"\7" * 512
    disk.write_zeroes(CLUSTER, CLUSTER)
    disk.flush()
    assert raw.read(L2 + 8, 8) == (1 << 63 | 6 * CLUSTER | 1).to_bytes(8, "big")


def test_who_has_the_format_open_for_writing_keeps_others_from_writing_bytes(run: Run, machine: Machine) -> None:
    make(run)
    machine.add_node({"driver": "file", "node-name": "f", "filename": "a"})
    machine.add_node({"driver": "qcow2", "node-name": "q", "file": "f"})
    answer = machine.execute("human-monitor-command", {"command-line": 'qemu-io f "write 0 512"'})
    assert answer == (
        "Permission conflict on node 'f': permissions 'write' are both required by an unnamed block device (uses node "
        "'f' as 'root' child) and unshared by node 'q' (uses node 'f' as 'file' child).\r\n"
    )


# -- copying nodes


@pytest.mark.parametrize("job", ["backup", "mirror"])
def test_a_job_copies_the_bytes_of_the_file_node(run: Run, store: ImageStore, machine: Machine, job: str) -> None:
    make(run)
    run("qemu-img create -q -f raw b 458752")
    machine.add_node({"driver": "file", "node-name": "f", "filename": "a"})
    machine.add_node({"driver": "raw", "node-name": "t", "file": {"driver": "file", "filename": "b"}})
    copied(machine, job, device="f", target="t")
    machine.execute("quit", {})
    assert bytes_of(store, "b") == bytes_of(store, "a")
    assert "No errors were found" in run("qemu-img check b")


def test_a_backup_of_the_file_node_has_the_image_as_it_was_at_the_start(
    run: Run, store: ImageStore, machine: Machine
) -> None:
    """While guests overwrite, zero and discard what there is. (Where the file grows, QEMU dies.)"""
    make(run)
    before = bytes_of(store, "a")
    run("qemu-img create -q -f raw b 458752")
    machine.add_node({"driver": "file", "node-name": "f", "filename": "a"})
    machine.add_node({"driver": "qcow2", "node-name": "q", "file": "f", "discard": "unmap"})
    machine.add_node({"driver": "raw", "node-name": "t", "file": {"driver": "file", "filename": "b"}})
    machine.qmp("blockdev-backup", device="f", target="t", sync="full", job_id="j", speed=CLUSTER)
    disk = machine.graph.nodes["q"]
    disk.write(0, b"\2" * 4096)
    disk.write_zeroes(CLUSTER, CLUSTER)
    disk.discard(0, CLUSTER)
    disk.flush()
    machine.qmp("block-job-set-speed", device="j", speed=0)
    machine.settle()
    machine.execute("quit", {})
    assert bytes_of(store, "b") == before
    assert run("qemu-io -f qcow2 -c 'read -q -P 1 0 128k' b") == ""


def test_a_snapshot_before_a_filter_below_the_format_shows_the_bytes_as_they_were(run: Run, machine: Machine) -> None:
    make(run)
    run("qemu-img create -q -f qcow2 old 448k")
    machine.add_node({"driver": "file", "node-name": "f", "filename": "a"})
    machine.add_node({"driver": "qcow2", "node-name": "old", "file": {"driver": "file", "filename": "old"}})
    machine.add_node({"driver": "copy-before-write", "node-name": "c", "file": "f", "target": "old"})
    machine.add_node({"driver": "snapshot-access", "node-name": "s", "file": "c"})
    machine.add_node({"driver": "qcow2", "node-name": "q", "file": "c"})
    before = machine.graph.nodes["s"].read(0, 7 * CLUSTER)
    machine.graph.nodes["q"].write(0, b"\2" * CLUSTER)
    machine.graph.nodes["q"].write_zeroes(CLUSTER, CLUSTER)
    machine.graph.nodes["q"].flush()
    assert machine.graph.nodes["s"].read(0, 7 * CLUSTER) == before
    assert machine.graph.nodes["f"].read(0, 7 * CLUSTER) != before


def test_blkdebug_fails_what_is_read_of_the_file(run: Run, machine: Machine) -> None:
    make(run)
    rule = {"event": "read_aio", "iotype": "read", "sector": L2 // 512, "once": True}
    file = {"driver": "blkdebug", "image": {"driver": "file", "filename": "a"}, "inject-error": [rule]}
    machine.add_node({"driver": "raw", "node-name": "r", "file": file})
    raw = machine.graph.nodes["r"]
    with pytest.raises(OSError, match="Input/output error"):
        raw.read(L2, 512)
    assert raw.read(L2, 8) == (1 << 63 | FIRST_DATA).to_bytes(8, "big")


# -- writing


def test_a_header_that_is_written_over_leaves_a_raw_file(run: Run, fails: Run, store: ImageStore) -> None:
    make(run)
    before = bytes_of(store, "a")
    run("qemu-io -f raw -c 'write -q -P 255 0 4' a")
    assert bytes_of(store, "a") == b"\xff" * 4 + before[4:]
    assert "file format: raw" in run("qemu-img info a")
    assert fails("qemu-io -f qcow2 -c length a") == "qemu-io: can't open device a: Image is not in qcow2 format\n"


def test_a_raw_file_into_which_a_qcow2_file_is_copied_is_one_when_it_is_opened_again(run: Run) -> None:
    make(run)
    run("qemu-img create -q -f raw b 1M")
    run("qemu-img convert -n -f raw -O raw a b")
    assert "file format: qcow2" in run("qemu-img info b")
    assert run("qemu-io -c 'read -q -P 1 0 128k' b") == ""


def test_a_guest_that_writes_a_qcow2_header_goes_on_with_its_raw_disk(run: Run, store: ImageStore) -> None:
    make(run)
    header = bytes_of(store, "a")
    run("qemu-img create -q -f raw b 448k")
    machine = Machine("10.0", images=store)
    machine.add_node({"driver": "raw", "node-name": "r", "file": {"driver": "file", "filename": "b"}})
    raw = machine.graph.nodes["r"]
    raw.write(0, header)
    assert store.lookup("b").format == "qcow2"
    raw.write(CLUSTER + 4, b"\xee")
    assert raw.read(0, CLUSTER) == header[:CLUSTER]
    assert raw.read(CLUSTER + 4, 1) == b"\xee"
    machine.execute("quit", {})
    assert "file format: qcow2" in run("qemu-img info -U b")


def test_a_raw_disk_that_was_only_guessed_to_be_raw_never_gets_the_header_of_another_format(
    run: Run, store: ImageStore, machine: Machine
) -> None:
    make(run)
    header = bytes_of(store, "a")[:CLUSTER]
    run("qemu-img create -q -f raw b 1M")
    guessed, given = machine.open_file("b", {}), machine.open_file("b", {"driver": "raw"})
    with pytest.raises(OSError, match="Operation not permitted"):
        guessed.write(0, header)
    assert guessed.read(0, 512) == bytes(512)
    guessed.write(512, header)
    guessed.write(0, b"A" * 512)
    given.write(0, header)
    assert store.lookup("b").format == "qcow2"


def test_a_wrong_refcount_is_found_and_repaired(run: Run, fails: Run) -> None:
    """As iotests poke it into files: the last cluster of data is counted twice."""
    make(run)
    run("qemu-io -f raw -c 'write -q -P 2 131085 1' a")
    assert fails("qemu-img check a").startswith("Leaked cluster 6 refcount=2 reference=1\n")
    assert "1 leaked clusters" in run("qemu-img check -r leaks a")
    assert run("qemu-img check a").startswith("No errors were found on the image.\n")


@pytest.mark.parametrize(
    ("poked", "text"),
    [
        ((7, 9), "Unsupported qcow2 version 9"),
        ((23, 1), "Unsupported cluster size: 2^1"),
        ((72, 128), "Unsupported qcow2 feature(s): Unknown incompatible feature: 8000000000000000"),
        ((99, 7), "Reference count entry width too large; may not exceed 64 bits"),
        ((104, 5), "qcow2: unknown compression type: 5"),
    ],
)
def test_a_damaged_header_is_refused_in_the_words_of_qemu_and_can_be_read_as_bytes(
    run: Run, fails: Run, store: ImageStore, poked: tuple[int, int], text: str
) -> None:
    make(run)
    place, byte = poked
    run(f"qemu-io -f raw -c 'write -q -P {byte} {place} 1' a")
    assert fails("qemu-img info a") == f"qemu-img: Could not open 'a': {text}\n"
    assert fails("qemu-io -c length a") == f"qemu-io: can't open device a: {text}\n"
    machine = Machine("10.0", images=store)
    file = {"driver": "file", "filename": "a"}
    with pytest.raises(QmpError, match=f"^{re.escape(text)}$"):
        machine.add_node({"driver": "qcow2", "node-name": "q", "file": file})
    machine.add_node({"driver": "raw", "node-name": "r", "file": file})
    assert machine.graph.nodes["r"].read(place, 1) == bytes((byte,))


def test_exact_bytes_stay_until_the_format_is_opened_for_writing(run: Run, store: ImageStore) -> None:
    """Even those that nothing leads to."""
    make(run)
    run("qemu-img convert -f raw -O raw a b")
    run("qemu-io -f raw -c 'write -q -P 9 200 8' b")  # behind the header, inside the feature table
    before = bytes_of(store, "b")
    run("qemu-img check b")
    run("qemu-io -r -c 'read -q 0 64k' b")
    assert bytes_of(store, "b") == before


def test_a_file_is_resized_as_bytes(run: Run, store: ImageStore) -> None:
    make(run)
    run("qemu-img resize -q -f raw a 2M")
    assert store.lookup("a", "raw").size == 2 * MIB
    assert "virtual size: 1 MiB" in run("qemu-img info a")
    run("qemu-img resize -q --shrink -f raw a 512")
    assert store.lookup("a", "raw").size == 512
    assert "virtual size: 1 MiB" in run("qemu-img info a")  # behind the end there are zeroes


def test_a_machine_whose_images_were_looked_at_as_bytes_can_be_copied() -> None:
    machine = Machine("10.0")
    disk = machine.add_disk("d", "1M")
    disk.write(0, b"A" * 512)
    before = machine.images.lookup("d.qcow2", "raw").content.read(0, 512)
    kept = machine.snapshot()
    disk.write(0, b"B" * 512)
    machine.restore(kept)
    assert machine.images.lookup("d.qcow2", "raw").content.read(0, 512) == before


# -- against the real tools


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="no qemu-img on the path (Debian: qemu-utils)")
def test_the_bytes_are_those_that_the_real_tools_write(run: Run, store: ImageStore) -> None:
    lines = [
        "qemu-img create -q -f qcow2 -o cluster_size=4k,refcount_bits=8 a 4M",
        "qemu-io -f qcow2 -c 'write -q -P 1 0 128k' -c 'write -q -P 2 1M 64k' -c 'write -q -P 3 3000k 1k' a",
        "qemu-img convert -f raw -O raw a b",
        "qemu-io -f qcow2 -c 'write -q -P 4 64k 64k' b",
        "qemu-io -f raw -c 'write -q -P 5 30000 5000' b",
        "qemu-img bitmap --add a bm",
    ]
    with RealTools(None) as tools:
        for line in lines:
            run(line)
            tools.output(*shlex.split(line))
        for name in ("a", "b"):
            real = tools.read(name)
            assert bytes_of(store, name)[: len(real)] == real
