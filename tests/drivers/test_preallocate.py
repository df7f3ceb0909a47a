"""``preallocate``: what QEMU 10.0 answered to the same requests; recorded scenarios have the rest."""

from __future__ import annotations

from typing import Any

import pytest

from qbitsim import Machine, QmpError

MIB = 1 << 20


@pytest.fixture
def machine() -> Machine:
    """An empty qcow2 file ``f``, and ``p`` over it, which preallocates one MiB."""
    made = Machine("10.0")
    made.images.create("a.qcow2", "qcow2", 16 * MIB)
    made.add_node({"driver": "file", "node-name": "f", "filename": "a.qcow2"})
    made.add_node({"driver": "preallocate", "node-name": "p", "file": "f", "prealloc-size": MIB})
    return made


def qemu_io(machine: Machine, node: str, command: str) -> str:
    return machine.execute("human-monitor-command", {"command-line": f'qemu-io {node} "{command}"'}).strip()


def lengths(machine: Machine) -> tuple[int, int]:
    """Of what the filter shows, and of the file."""
    return machine.graph.nodes["p"].length, machine.graph.nodes["f"].length


def test_a_file_grows_ahead_of_what_is_written_and_is_cut_off_at_the_end(machine: Machine) -> None:
    machine.add_node({"driver": "qcow2", "node-name": "q", "file": "p"})
    qemu_io(machine, "q", "write -q 0 64k")
    assert lengths(machine) == (393216, 2 * MIB)
    machine.execute("blockdev-del", {"node-name": "q"})
    machine.settle()
    assert lengths(machine) == (393216, 393216)


def test_the_monitor_can_delete_the_filter_before_the_preallocation_is_dropped(machine: Machine) -> None:
    machine.add_node({"driver": "qcow2", "node-name": "q", "file": "p"})
    qemu_io(machine, "q", "write -q 0 64k")
    machine.execute("blockdev-del", {"node-name": "q"})
    machine.execute("blockdev-del", {"node-name": "p"})
    assert machine.graph.nodes["f"].length == 393216
    machine.settle()
    assert machine.images.lookup("a.qcow2").file_length == 393216


def test_a_killed_process_leaves_the_file_long(machine: Machine) -> None:
    machine.add_node({"driver": "qcow2", "node-name": "q", "file": "p"})
    qemu_io(machine, "q", "write -q 0 64k")
    machine.crash()
    assert machine.images.lookup("a.qcow2").file_length == 2 * MIB


def test_zeroes_that_are_preallocated_already_are_not_written_again() -> None:
    """A log that ``blklogwrites`` makes longer is written through the filter."""
    machine = Machine("10.0")
    machine.images.create("log", "raw", 0)
    machine.add_node({"driver": "file", "node-name": "f", "filename": "log"})
    machine.add_node({"driver": "preallocate", "node-name": "p", "file": "f", "prealloc-size": MIB})
    machine.add_node({"driver": "null-co", "node-name": "n", "size": MIB})
    machine.add_node({"driver": "blklogwrites", "node-name": "w", "file": "n", "log": "p"})
    qemu_io(machine, "w", "write -q 0 512")
    assert lengths(machine) == (1536, 2 * MIB)
    qemu_io(machine, "w", "write -q -z 0 64k")
    assert lengths(machine) == (67584, 2 * MIB)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"prealloc-align": 100}, "prealloc-align parameter of preallocate filter is not aligned to 512"),
        (
            {
                "prealloc-align": 1536,
                "file": {"driver": "blklogwrites", "file": "f", "log": "l", "log-sector-size": 4096},
            },
            "prealloc-align parameter of preallocate filter is not aligned to underlying node request alignment (4096)",
        ),
        ({"prealloc-size": -1}, "Value '-1' is out of range for parameter 'prealloc-size'"),
    ],
)
def test_options_that_do_not_fit_are_refused_and_nothing_is_left(
    machine: Machine, options: dict[str, Any], text: str
) -> None:
    machine.add_node({"driver": "null-co", "node-name": "l", "size": MIB})
    before = list(machine.graph.nodes)
    with pytest.raises(QmpError) as caught:
        machine.add_node({"driver": "preallocate", "node-name": "x", "file": "f", **options})
    assert caught.value.desc == text
    assert list(machine.graph.nodes) == before


def test_a_qcow2_file_grows_with_its_image_and_is_cut_off_with_it(machine: Machine) -> None:
    machine.execute("block_resize", {"node-name": "f", "size": MIB})
    assert machine.graph.nodes["f"].length == MIB
    assert machine.images.lookup("a.qcow2").size == 16 * MIB
    machine.execute("block_resize", {"node-name": "f", "size": 512})
    assert machine.images.lookup("a.qcow2", "raw").size == 512
    assert machine.images.lookup("a.qcow2").size == 16 * MIB  # the header is there, and zeroes behind the end
