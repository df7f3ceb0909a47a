"""External data files, on both trees: the disk's clusters in a file of their own, each at its own offset."""

from __future__ import annotations

import shlex
import shutil

import pytest
from real_tools import RealTools

from qbitsim import Machine, QmpError
from qbitsim.images.store import ImageStore
from qbitsim.profiles import PROFILES
from qbitsim.programs.shell import Shell

KIB, MIB = 1 << 10, 1 << 20
CLUSTER = 64 * KIB


class Tools:
    """Our own programs on a store."""

    def __init__(self, store: ImageStore) -> None:
        self.shell = Shell(store, PROFILES["7.2"])

    def run(self, line: str) -> str:
        """What a command prints that must succeed."""
        status, text = self.shell.run(shlex.split(line))
        assert status == 0, (line, text)
        return text

    def fails(self, line: str) -> str:
        """What a command prints that must fail, without the line of ``create``."""
        status, text = self.shell.run(shlex.split(line))
        assert status != 0, (line, text)
        return "".join(f"{each}\n" for each in text.splitlines() if not each.startswith("Formatting"))


@pytest.fixture
def tools(store: ImageStore) -> Tools:
    """The programs of QEMU 7.2."""
    return Tools(store)


@pytest.fixture
def machine(store: ImageStore, tools: Tools) -> Machine:
    """``q`` over ``m`` and a raw data file ``d``, all of it nodes."""
    tools.run("qemu-img create -q -f qcow2 -o data_file=d.raw,data_file_raw=on m.qcow2 1M")
    made = Machine("10.0", images=store)
    made.add_node({"driver": "file", "node-name": "d", "filename": "d.raw", "discard": "unmap"})
    made.add_node({"driver": "file", "node-name": "m", "filename": "m.qcow2"})
    made.add_node({"driver": "qcow2", "node-name": "q", "file": "m", "data-file": "d", "discard": "unmap"})
    return made


def test_info_names_the_data_file_and_does_not_open_it(tools: Tools) -> None:
    tools.run("qemu-img create -q -f qcow2 -o data_file=d.raw a 1M")
    tools.run("rm d.raw")
    assert "    refcount bits: 16\n    data file: d.raw\n    data file raw: false\n" in tools.run("qemu-img info a")
    assert tools.fails("qemu-img check a") == (
        "qemu-img: Could not open 'a': Could not open 'd.raw': No such file or directory\n"
    )
    assert tools.fails("qemu-io -c 'read 0 512' a") == (
        "qemu-io: can't open device a: Could not open 'd.raw': No such file or directory\n"
    )


def test_a_raw_data_file_reads_as_the_disk(tools: Tools) -> None:
    tools.run("qemu-img create -q -f qcow2 -o data_file=d.raw,data_file_raw=on a 1M")
    tools.run("qemu-io -c 'write -q -P 1 0 128k' -c 'write -q -P 2 100k 100' -c 'write -q -z 64k 16k' a")
    tools.run("qemu-io -c 'write -q -P 3 512k 64k' -c 'discard -q 512k 64k' -c 'write -q -z -u 0 64k' a")
    assert tools.run("qemu-img compare a d.raw") == "Images are identical.\n"
    assert tools.run("qemu-img check a").startswith("No errors were found on the image.\n14/16 = 87.50% allocated")


def test_the_clusters_of_any_other_data_file_are_where_the_disk_has_them(tools: Tools) -> None:
    tools.run("qemu-img create -q -f qcow2 -o data_file=d.raw a 1M")
    tools.run("qemu-io -c 'write -q -P 1 128k 64k' a")
    assert tools.run("qemu-io -f raw -c 'read -q -P 1 128k 64k' -c 'read -q -P 0 0 128k' d.raw") == ""
    assert tools.run("qemu-img map a").splitlines()[1:] == [f"{'0x20000':<16}{'0x10000':<16}{'0x20000':<16}d.raw"]


def test_the_data_file_follows_the_size_of_the_disk(tools: Tools) -> None:
    tools.run("qemu-img create -q -f qcow2 -o data_file=d.raw,data_file_raw=on a 1M")
    tools.run("qemu-img resize -q a 2M")
    assert "virtual size: 2 MiB" in tools.run("qemu-img info d.raw")
    assert '"length": 2097152, "depth": 0, "present": true, "zero": false, "data": true, "offset": 0' in tools.run(
        "qemu-img map --output=json a"
    )
    tools.run("qemu-img resize -q --shrink a 512k")
    assert "virtual size: 512 KiB" in tools.run("qemu-img info d.raw")
    assert tools.run("qemu-img check a").startswith("No errors")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("create -f qcow2 -o data_file_raw=on q 1M", "q: data-file-raw requires data-file"),
        (
            "create -f qcow2 -o data_file=x,compat=0.10 q 1M",
            (
                "q: External data files are only supported with compatibility level 1.1 and above "
                "(use version=v3 or greater)"
            ),
        ),
        (
            "create -f qcow2 -o data_file=x,data_file_raw=on -b a -F qcow2 q 1M",
            "q: Backing file and data-file-raw cannot be used at the same time",
        ),
        ("create -f qcow2 -o data_file=no/x q 1M", "q: Could not create 'no/x': No such file or directory"),
        ("snapshot -c s a", "Could not create snapshot 's': -95 (Operation not supported)"),
        ("snapshot -a s a", "Could not apply snapshot 's': Failed to load snapshot: Operation not supported"),
        ("amend -o compat=0.10 a", "Cannot downgrade an image with a data file"),
    ],
)
def test_what_does_not_go_with_a_data_file_is_refused(tools: Tools, line: str, text: str) -> None:
    tools.run("qemu-img create -q -f qcow2 -o data_file=d.raw a 1M")
    assert tools.fails(f"qemu-img {line}") == f"qemu-img: {text}\n"
    assert tools.fails("ls q") == "ls: cannot access 'q': No such file or directory\n"


def test_nothing_is_compressed_into_a_data_file(tools: Tools) -> None:
    tools.run("qemu-img create -q -f qcow2 -o data_file=d.raw a 1M")
    assert tools.fails("qemu-io -c 'write -c 0 64k' a") == "write failed: Operation not supported\n"
    tools.run("qemu-io -c 'write -q 0 64k' a")
    assert tools.fails("qemu-img convert -c -O qcow2 -o data_file=e.raw a b") == (
        "qemu-img: error while writing at byte 0: Operation not supported\n"
    )


def test_a_data_file_on_the_way_of_a_backing_chain(tools: Tools) -> None:
    tools.run("qemu-img create -q -f qcow2 -o data_file=d.raw base 1M")
    tools.run("qemu-io -c 'write -q -P 3 576k 64k' base")
    tools.run("qemu-img create -q -f qcow2 -o data_file=e.raw -b base -F qcow2 over")
    tools.run("qemu-io -c 'write -q -P 5 1000k 1k' -c 'read -q -P 3 576k 64k' over")
    tools.run("qemu-img commit -q over")
    assert tools.run("qemu-io -f raw -c 'read -q -P 5 1000k 1k' d.raw") == ""
    assert tools.run("qemu-img compare base over") == "Images are identical.\n"


def test_amend_makes_a_raw_data_file_an_ordinary_one(tools: Tools) -> None:
    tools.run("qemu-img create -q -f qcow2 -o data_file=d.raw,data_file_raw=on a 1M")
    tools.run("qemu-img amend -o data_file_raw=off a")
    assert "data file raw: false" in tools.run("qemu-img info a")
    assert tools.fails("qemu-img amend -o data_file_raw=on a").startswith("qemu-img: data-file-raw cannot be set")


def test_an_image_that_names_no_data_file_is_opened_with_one_alone(store: ImageStore, tools: Tools) -> None:
    tools.run("qemu-img create -q -f qcow2 -o data_file=d.raw a 1M")
    tools.run("qemu-io -c 'write -q -P 3 64k 64k' a")
    tools.run("qemu-img amend -o data_file= a")
    assert "data file:" not in tools.run("qemu-img info a")
    assert tools.fails("qemu-img check a") == ("qemu-img: Could not open 'a': 'data-file' is required for this image\n")
    machine = Machine("10.0", images=store)
    options = {"driver": "qcow2", "node-name": "q", "file": {"driver": "file", "filename": "a"}}
    with pytest.raises(QmpError, match=r"^'data-file' is required for this image$"):
        machine.add_node(options)
    machine.add_node({**options, "data-file": {"driver": "file", "filename": "d.raw"}})
    assert machine.graph.nodes["q"].read(64 * KIB, 64 * KIB) == b"\3" * CLUSTER


def test_a_copy_of_the_image_has_the_same_data_file(tools: Tools) -> None:
    tools.run("qemu-img create -q -f qcow2 -o data_file=d.raw a 1M")
    tools.run("qemu-io -c 'write -q -P 3 64k 64k' a")
    tools.run("cp a b")
    tools.run("qemu-io -c 'write -q -P 4 64k 64k' b")
    assert tools.run("qemu-io -c 'read -q -P 4 64k 64k' a") == ""


# -- nodes


def test_both_files_have_bitmaps_of_what_is_written_to_them(machine: Machine) -> None:
    for node in "dmq":
        machine.qmp("block-dirty-bitmap-add", node=node, name="b", granularity=CLUSTER)
    disk = machine.graph.nodes["q"]
    disk.write(2 * CLUSTER, b"\1" * CLUSTER)
    disk.write_zeroes(3 * CLUSTER, CLUSTER)
    disk.discard(CLUSTER, CLUSTER)
    disk.write(600 * KIB, b"\3" * KIB)
    counts = {name: machine.graph.nodes[name].bitmaps[0].count for name in "dmq"}
    assert counts == {"d": 4 * CLUSTER, "m": 0, "q": 4 * CLUSTER}
    assert machine.graph.nodes["d"].read(2 * CLUSTER, CLUSTER) == b"\1" * CLUSTER


def test_a_data_file_is_for_images_that_have_one(machine: Machine, tools: Tools) -> None:
    tools.run("qemu-img create -q -f qcow2 plain 1M")
    tools.run("qemu-img create -q -f raw x.raw 1M")
    options = {"driver": "qcow2", "node-name": "p", "file": {"driver": "file", "filename": "plain"}}
    with pytest.raises(QmpError, match=r"^'data-file' can only be set for images with an external data file$"):
        machine.add_node({**options, "data-file": {"driver": "file", "filename": "x.raw"}})
    assert "p" not in machine.graph.nodes
    machine.add_node(options)


def test_blockdev_create_takes_a_node_with_its_data(store: ImageStore, tools: Tools) -> None:
    tools.run("qemu-img create -q -f raw d.raw 1M")
    tools.run("qemu-img create -q -f raw m.qcow2 0")
    machine = Machine("10.0", images=store)
    machine.add_node({"driver": "file", "node-name": "d", "filename": "d.raw"})
    machine.add_node({"driver": "file", "node-name": "m", "filename": "m.qcow2"})
    machine.graph.nodes["d"].write(CLUSTER, b"\7" * CLUSTER)
    options = {"driver": "qcow2", "file": "m", "data-file": "d", "data-file-raw": True, "size": MIB}
    machine.qmp("blockdev-create", job_id="j", options=options)
    machine.settle()
    assert [(job["status"], "error" in job) for job in machine.qmp("query-jobs")] == [("concluded", False)]
    machine.add_node({"driver": "qcow2", "node-name": "q", "file": "m", "data-file": "d"})
    assert machine.graph.nodes["q"].read(CLUSTER, CLUSTER) == b"\7" * CLUSTER


def test_a_persistent_bitmap_of_a_raw_disk_lives_in_the_image(store: ImageStore, machine: Machine) -> None:
    machine.qmp("block-dirty-bitmap-add", node="q", name="b", persistent=True)
    machine.graph.nodes["q"].write(0, b"\1" * CLUSTER)
    machine.execute("quit", {})
    again = Machine("10.0", images=store)
    again.add_node({"driver": "qcow2", "node-name": "q", "file": {"driver": "file", "filename": "m.qcow2"}})
    assert again.graph.nodes["q"].bitmaps[0].count == CLUSTER
    assert again.graph.nodes["q"].read(0, CLUSTER) == b"\1" * CLUSTER


def test_an_image_with_a_data_file_takes_no_internal_snapshot(machine: Machine) -> None:
    with pytest.raises(QmpError, match=r"^Failed to get a snapshot list: Operation not supported$"):
        machine.qmp("blockdev-snapshot-internal-sync", device="q", name="s")


def test_the_state_of_a_machine_is_not_saved_into_such_an_image(machine: Machine) -> None:
    machine.qmp("snapshot-save", job_id="s", tag="t", vmstate="q", devices=["q"])
    machine.settle()
    assert machine.qmp("query-jobs")[0]["error"] == "Error while creating snapshot on 'q'"
    assert machine.graph.nodes["q"].read(0, 512) == bytes(512)


def test_a_snapshot_of_the_machine_has_the_data_of_its_time() -> None:
    images = ImageStore()
    Tools(images).run("qemu-img create -q -f qcow2 -o data_file=d.raw a 1M")
    machine = Machine("10.0", images=images)
    machine.add_node({"driver": "qcow2", "node-name": "q", "file": {"driver": "file", "filename": "a"}})
    machine.graph.nodes["q"].write(0, b"\1" * 512)
    kept = machine.snapshot()
    machine.graph.nodes["q"].write(0, b"\2" * 512)
    machine.restore(kept)
    assert machine.graph.nodes["q"].read(0, 512) == b"\1" * 512
    assert machine.images.lookup("d.raw").content.read(0, 512) == b"\1" * 512


# -- against the real tools


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="no qemu-img on the path (Debian: qemu-utils)")
def test_both_files_are_those_that_the_real_tools_write(store: ImageStore, tools: Tools) -> None:
    lines = [
        "qemu-img create -q -f qcow2 -o data_file=d.raw,data_file_raw=on a 1M",
        "qemu-io -c 'write -q -P 1 0 128k' -c 'write -q -P 2 512k 4k' -c 'write -q -z 64k 64k' a",
        "qemu-img create -q -f qcow2 -o data_file=e.raw,cluster_size=4k b 1000k",
        "qemu-io -c 'write -q -P 5 1023488 512' -c 'write -q -P 6 1k 10k' -c 'discard -q 4k 4k' b",
        "qemu-img resize -q a 2M",
        "qemu-img convert -O qcow2 -o data_file=f.raw b c",
    ]
    with RealTools(None) as real:
        for line in lines:
            tools.run(line)
            real.output(*shlex.split(line))
        for name in ("a", "b", "c", "d.raw", "e.raw", "f.raw"):
            image, expected = store.lookup(name, "raw"), real.read(name)
            assert image.content.read(0, image.size)[: len(expected)] == expected
