"""``compress``: what QEMU 7.2 and 10.0 answered to the same requests; both said the same."""

from __future__ import annotations

from typing import Any

import pytest

from qbitsim import Machine, QmpError, UnsupportedError
from qbitsim.commands.drives import add_drive

MIB = 1 << 20
QCOW2 = {"driver": "qcow2", "node-name": "q", "discard": "unmap", "file": {"driver": "file", "filename": "a.qcow2"}}
NAME = 'json:{"driver": "compress", "file": {"driver": "qcow2", "file": {"driver": "file", "filename": "a.qcow2"}}}'


@pytest.fixture(params=["7.2", "10.0"])
def machine(request: pytest.FixtureRequest) -> Machine:
    """An empty qcow2 image of 1 MiB and a node without compression."""
    made = Machine(request.param)
    made.images.create("a.qcow2", "qcow2", MIB)
    made.add_node({"driver": "null-co", "node-name": "null", "size": MIB})
    return made


def add(machine: Machine, below: Any = QCOW2, **options: Any) -> None:
    """Put a compress node called ``c`` over ``below``."""
    machine.execute(
        "blockdev-add", {"driver": "compress", "node-name": "c", "discard": "unmap", "file": below, **options}
    )


def qemu_io(machine: Machine, command: str, node: str = "c") -> str:
    """What ``qemu-io`` prints for a command, without the times."""
    reply = machine.execute("human-monitor-command", {"command-line": f'qemu-io {node} "{command}"'})
    printed = machine.take_stdout().partition("\n")[0]
    return str(reply).strip() or printed.partition(" bytes at ")[0]


def marked(machine: Machine, command: str) -> tuple[str, int, int]:
    """What is printed, and how many bytes of 4 KiB granules the request marks above and below the filter."""
    for node in ("c", "q"):
        machine.execute("block-dirty-bitmap-add", {"node": node, "name": "b", "granularity": 4096})
    printed = qemu_io(machine, command)
    counts = [machine.graph.nodes[node].bitmaps[0].count for node in ("c", "q")]
    for node in ("c", "q"):
        machine.execute("block-dirty-bitmap-remove", {"node": node, "name": "b"})
    return printed, counts[0], counts[1]


# -- what it may stand on


@pytest.mark.parametrize(
    ("below", "text"),
    [
        ("null", "Compression is not supported for underlying format: null-co"),
        ({"driver": "file", "filename": "a.qcow2"}, "Compression is not supported for underlying format: file"),
        ({"driver": "blkdebug", "image": QCOW2}, "Compression is not supported for underlying format: blkdebug"),
        (
            {"driver": "quorum", "children": ["null"], "vote-threshold": 1},
            "Compression is not supported for underlying format: quorum",
        ),
        ({"driver": "compress", "file": QCOW2}, "Compression is not supported for underlying format: compress"),
        ("nope", "Cannot find device='nope' nor node-name='nope'"),
    ],
)
def test_what_cannot_compress_is_refused_and_nothing_is_left(machine: Machine, below: Any, text: str) -> None:
    with pytest.raises(QmpError) as caught:
        add(machine, below)
    assert caught.value.desc == text
    assert list(machine.graph.nodes) == ["null"]


def test_the_name_is_checked_before_what_is_below(machine: Machine) -> None:
    with pytest.raises(QmpError, match=r"^Duplicate nodes with node-name='null'$"):
        add(machine, "null", **{"node-name": "null"})


@pytest.mark.parametrize("below", [QCOW2, "null"])
def test_a_filter_that_passes_compressed_writes_on_will_do_until_the_first_write(machine: Machine, below: Any) -> None:
    machine.execute("object-add", {"qom-type": "throttle-group", "id": "g"})
    add(machine, {"driver": "throttle", "throttle-group": "g", "file": below})
    works = below is QCOW2
    assert qemu_io(machine, "write 0 64k") == (
        "wrote 65536/65536" if works else "write failed: Operation not supported"
    )


def test_a_read_only_node_below_does_not_matter_until_somebody_writes(machine: Machine) -> None:
    read_only = {**QCOW2, "read-only": True, "file": {**QCOW2["file"], "read-only": True}}  # type: ignore[dict-item]
    add(machine, read_only)
    assert [machine.graph.nodes[name].read_only for name in ("c", "q")] == [False, True]
    assert qemu_io(machine, "write 0 64k") == "Block node is read-only"


def test_a_last_cluster_that_is_cut_cannot_be_written(machine: Machine) -> None:
    machine.images.create("a.qcow2", "qcow2", MIB + 512)
    add(machine)
    assert qemu_io(machine, "read 1M 512") == "read 512/512"
    assert qemu_io(machine, "write 1M 512") == (
        "Cannot get 'write' permission without 'resize': Image size is not a multiple of request alignment"
    )
    drive = machine.anonymous_drive(perm=15)
    drive.insert(machine.graph.nodes["c"])
    drive.write(0, b"x")
    with pytest.raises(UnsupportedError):
        drive.write(MIB, b"x")


# -- requests


@pytest.mark.parametrize(
    ("command", "printed", "above", "below"),
    [
        ("write -P 1 0 64k", "wrote 65536/65536", 65536, 65536),
        ("write -P 1 70k 4k", "wrote 4096/4096", 65536, 65536),
        ("write -P 5 700k 100k", "wrote 102400/102400", 196608, 196608),
        ("write 1020k 4k", "wrote 4096/4096", 65536, 65536),
        ("write -z 128k 64k", "wrote 65536/65536", 65536, 65536),
        ("write -z 200k 100k", "wrote 102400/102400", 131072, 131072),
        ("write -z 130k 2k", "wrote 2048/2048", 65536, 65536),
        ("write -z -u 0 64k", "wrote 65536/65536", 65536, 65536),
        ("discard 260k 100k", "discard 102400/102400", 102400, 102400),
        ("discard 70k 1k", "discard 1024/1024", 4096, 4096),
        ("write -c 512k 64k", "write failed: Operation not supported", 65536, 0),
        ("write -c 600k 1k", "write failed: Operation not supported", 65536, 0),
        ("write 0 0", "wrote 0/0", 0, 0),
        ("read 70k 1k", "read 1024/1024", 0, 0),
        ("flush", "", 0, 0),
    ],
)
def test_a_request_marks_whole_clusters(machine: Machine, command: str, printed: str, above: int, below: int) -> None:
    add(machine)
    assert marked(machine, command) == (printed, above, below)


def test_a_cluster_is_compressed_once(machine: Machine) -> None:
    add(machine)
    assert qemu_io(machine, "write -P 1 0 64k") == "wrote 65536/65536"
    assert marked(machine, "write -P 2 0 64k") == ("write failed: Input/output error", 65536, 65536)
    assert marked(machine, "write -P 2 4k 4k") == ("write failed: Input/output error", 65536, 65536)
    assert qemu_io(machine, "read -P 1 0 64k") == "read 65536/65536"
    qemu_io(machine, "discard 0 64k")
    assert qemu_io(machine, "write -P 2 4k 4k") == "wrote 4096/4096"


def test_behind_a_cluster_that_cannot_be_compressed_no_more_than_eight_are(machine: Machine) -> None:
    add(machine)
    qemu_io(machine, "write -P 1 64k 64k")
    assert marked(machine, "write -P 2 0 1M") == ("write failed: Input/output error", 1 << 20, 1 << 20)
    assert qemu_io(machine, "read -P 2 0 64k") == "read 65536/65536"
    assert qemu_io(machine, "read -P 1 64k 64k") == "read 65536/65536"
    assert qemu_io(machine, "read -P 2 128k 512k") == "read 524288/524288"
    assert qemu_io(machine, "read -P 0 640k 384k") == "read 393216/393216"


def test_data_that_are_not_compressed_stay(machine: Machine) -> None:
    add(machine)
    assert qemu_io(machine, "write -P 9 896k 64k", "q") == "wrote 65536/65536"
    assert qemu_io(machine, "write -P 8 896k 64k") == "write failed: Input/output error"
    assert marked(machine, "write -z 900k 4k") == ("write failed: Input/output error", 65536, 65536)
    assert qemu_io(machine, "read -P 9 896k 64k") == "read 65536/65536"
    assert qemu_io(machine, "write -z 896k 64k") == "wrote 65536/65536"
    assert qemu_io(machine, "read -P 0 896k 64k") == "read 65536/65536"


def test_the_rest_of_a_cluster_comes_from_the_backing_file(machine: Machine) -> None:
    machine.images.create("base.raw", "raw", MIB).write(0, b"\x33" * MIB)
    machine.images.create("a.qcow2", "qcow2", backing="base.raw", backing_format="raw")
    add(machine)
    requests = ("write -P 1 4k 4k", "read -P 0x33 0 4k", "read -P 1 4k 4k", "read -P 0x33 8k 56k")
    assert [qemu_io(machine, request).split()[0] for request in requests] == ["wrote", "read", "read", "read"]
    assert qemu_io(machine, "write -z 130k 2k") == "wrote 2048/2048"
    assert qemu_io(machine, "read -P 0x33 132k 60k") == "read 61440/61440"
    assert qemu_io(machine, "alloc 0 1M") == "131072/1048576 bytes allocated at offset 0 bytes"


def test_its_length_follows(machine: Machine) -> None:
    add(machine)
    machine.execute("block_resize", {"node-name": "c", "size": 2 * MIB})
    assert [machine.graph.nodes[name].length for name in ("c", "q")] == [2 * MIB, 2 * MIB]


# -- commands


def test_queries_show_it_as_a_filter_without_a_plain_name(machine: Machine) -> None:
    add(machine)
    above, below, *_ = machine.execute("query-named-block-nodes", {"flat": True})
    assert {name: above[name] for name in ("file", "drv", "ro", "backing_file_depth")} == {
        "file": NAME,
        "drv": "compress",
        "ro": False,
        "backing_file_depth": 0,
    }
    assert {**above["image"], "actual-size": 0} == {
        "filename": NAME,
        "format": "compress",
        "virtual-size": MIB,
        "cluster-size": 65536,
        "actual-size": 0,
        "dirty-flag": False,
    }
    assert above["image"]["actual-size"] == below["image"]["actual-size"]


def test_a_backup_cannot_ask_for_compression_but_has_it(machine: Machine) -> None:
    add(machine)
    backup = {"device": "null", "target": "c", "sync": "full", "job-id": "j"}
    with pytest.raises(QmpError, match=r"^Compression is not supported for this drive $"):
        machine.execute("blockdev-backup", {**backup, "compress": True})
    for node in ("c", "q"):
        machine.execute("block-dirty-bitmap-add", {"node": node, "name": "b"})
    machine.execute("blockdev-backup", backup)
    machine.settle()
    assert machine.execute("query-jobs", {}) == []
    assert [machine.graph.nodes[node].bitmaps[0].count for node in ("c", "q")] == [MIB, MIB]


@pytest.mark.parametrize(
    ("command", "arguments", "text"),
    [
        (
            "block-dirty-bitmap-add",
            {"node": "c", "name": "p", "persistent": True},
            "Can't store persistent bitmaps to c: Operation not supported",
        ),
        (
            "blockdev-reopen",
            {"options": [{"driver": "compress", "node-name": "c", "file": "q"}]},
            "Block format 'compress' used by node 'c' does not support reopening files",
        ),
        (
            "drive-backup",
            {"device": "null", "job-id": "j", "sync": "full", "target": "t.img", "format": "compress"},
            "Format driver 'compress' does not support image creation",
        ),
        ("blockdev-del", {"node-name": "q"}, "Node q is not owned by the monitor"),
    ],
)
def test_what_it_cannot_do_is_refused(machine: Machine, command: str, arguments: dict[str, Any], text: str) -> None:
    add(machine)
    with pytest.raises(QmpError) as caught:
        machine.execute(command, arguments)
    assert caught.value.desc == text


def test_the_first_release_had_none() -> None:
    old = Machine("2.5")
    old.add_disk("d", "1M", format="raw")
    with pytest.raises(QmpError, match=r"^Unknown file format 'compress'$"):
        old.execute("drive-backup", {"device": "d", "sync": "full", "target": "t", "format": "compress"})


# -- what may stand on it


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        ("blockdev-snapshot", {"node": "c", "overlay": "over"}),
        ("blockdev-snapshot-sync", {"node-name": "c", "snapshot-file": "new", "snapshot-node-name": "new"}),
        ("blockdev-mirror", {"job-id": "j", "device": "c", "target": "null", "sync": "full"}),
    ],
)
@pytest.mark.parametrize("release", ["7.2", "10.0", "11.1"])
def test_what_stands_right_above_hangs_later_releases(release: str, command: str, arguments: dict[str, str]) -> None:
    machine = Machine(release)
    for name in ("a.qcow2", "b.qcow2"):
        machine.images.create(name, "qcow2", MIB)
    machine.add_node({"driver": "null-co", "node-name": "null", "size": MIB})
    add(machine)
    over = {"driver": "file", "filename": "b.qcow2"}
    machine.add_node({"driver": "qcow2", "node-name": "over", "file": over, "backing": None})
    before, names = machine.qmp("query-named-block-nodes"), machine.images.names()
    if release == "7.2":
        assert machine.execute(command, arguments) == {}
        return
    with pytest.raises(UnsupportedError) as refused:
        machine.execute(command, arguments)
    assert str(refused.value).endswith("a node right above 'c', whose driver is compress: real QEMU hangs")
    assert (machine.qmp("query-named-block-nodes"), machine.images.names()) == (before, names)


@pytest.mark.parametrize("release", ["10.0", "11.1"])
def test_a_temporary_overlay_is_refused_likewise_and_closes_what_it_would_stand_on(release: str) -> None:
    machine = Machine(release)
    machine.images.create("a.qcow2", "qcow2", MIB)
    disk = {"driver": "compress", "file.driver": "qcow2", "file.file.driver": "file", "file.file.filename": "a.qcow2"}
    with pytest.raises(UnsupportedError, match="compress: real QEMU hangs"):
        add_drive(machine, {"if": "none", "id": "d", "snapshot": "on", **disk})
    assert machine.qmp("query-named-block-nodes") == []
    assert machine.images.names() == ["a.qcow2"]
