"""A value that cannot be is told by its name, and with the one that was meant; nothing has changed then."""

from __future__ import annotations

import errno

import pytest

import qbitsim
from qbitsim import Machine, QmpError
from qbitsim.cli.main import main
from qbitsim.machine.state import describe


@pytest.fixture
def machine() -> Machine:
    """A machine with a disk, after a second."""
    machine = Machine()
    machine.add_disk("drive0", "1M", node_name="node0")
    machine.advance(1)
    return machine


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        (lambda it: it.advance(-1), "advance(-1): time does not go back; give seconds, 0 or more"),
        (lambda it: it.advance(float("nan")), "advance(nan): time does not go back; give seconds, 0 or more"),
        (lambda it: it.advance_to(5), "advance_to(5): it is 1000000000 ns already, and time does not go back"),
        (
            lambda it: it.until("BLOCK_JOB_COMPLETE"),
            "QEMU 10.0 has no event 'BLOCK_JOB_COMPLETE'; did you mean 'BLOCK_JOB_COMPLETED'?",
        ),
        (
            lambda it: it.until(job="j", status="conclude"),
            "there is no job status 'conclude'; did you mean 'concluded'?",
        ),
        (
            lambda it: it.drive("drive0").write("lots", b"x"),
            "invalid offset 'lots': write a number of bytes, or one with a suffix k, M, G, T or P",
        ),
        (lambda it: it.limit_capacity("t", -1), "invalid capacity -1: it must not be negative"),
        (
            lambda it: it.limit_capacity("t", "lots"),
            "invalid capacity 'lots': write a number of bytes, or one with a suffix k, M, G, T or P",
        ),
        (
            lambda it: it.inject_error("drive0", "reed"),
            "unknown operation 'reed': choose one of read, write, write-zeroes, discard, flush",
        ),
        (
            lambda it: it.inject_error("drive0", "read", "EOI"),
            "unknown errno 'EOI': write a name such as EIO or ENOSPC",
        ),
        (
            lambda it: it.inject_error("drive0", "read", "EIO", "2M"),
            "no request can touch 1 bytes at 2097152: 'drive0' has 1048576 bytes",
        ),
        (
            lambda it: it.inject_error("drive1", "read"),
            "no drive with a medium, no node and no image file is called 'drive1'; did you mean 'drive0'?",
        ),
        (lambda it: it.guest_writes("driv0"), "there is no drive 'driv0' with a medium; did you mean 'drive0'?"),
        (lambda _: Machine("9.9"), "no profile '9.9': choose one of 2.5, 7.2, 10.0, 11.1"),
        (lambda _: Machine(pacing="fast"), "unknown pacing 'fast': choose one of manual, immediate"),
        (
            lambda it: it.faults.refuse("stop", "no", "GenericErr"),
            "there is no error class 'GenericErr'; did you mean 'GenericError'?",
        ),
        (
            lambda it: it.faults.refuse("query-blok", "no"),
            "this machine has no command 'query-blok'; did you mean 'query-block'?",
        ),
        (
            lambda it: it.faults.inject_error("drive0", "read", once=True, times=3),
            "once=True and times=3 contradict each other: give one of them",
        ),
    ],
)
def test_the_error_names_the_value(machine: Machine, wrong, text: str) -> None:
    before = describe(machine)
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the whole text is compared
        wrong(machine)
    assert str(caught.value) == text
    assert describe(machine) == before


def test_a_drive_that_is_not_there_is_told_with_the_one_that_is(machine: Machine) -> None:
    with pytest.raises(KeyError, match="there is no drive 'drve0'; did you mean 'drive0'"):
        machine.drive("drve0")


def test_only_a_snapshot_can_be_put_back(machine: Machine) -> None:
    before = describe(machine)
    with pytest.raises(TypeError, match=r"restore\(\) takes what snapshot\(\) has returned, not None"):
        machine.restore(None)  # type: ignore[arg-type]
    assert describe(machine) == before


def test_an_unknown_command_is_refused_in_words_of_qemu_with_a_note_for_people(machine: Machine) -> None:
    with pytest.raises(QmpError) as caught:
        machine.execute("query-blok", {})
    assert caught.value.to_json() == {
        "class": "CommandNotFound",
        "desc": "The command query-blok has not been found",
    }
    assert caught.value.__notes__ == ["did you mean 'query-block'?"]


def test_a_machine_ends_with_its_block() -> None:
    with Machine() as machine:
        machine.add_disk("drive0", "1M", node_name="node0")
        machine.qmp("block-dirty-bitmap-add", node="node0", name="b0", persistent=True)
    assert machine.closing
    assert [event["event"] for event in machine.events] == ["SHUTDOWN"]
    assert [stored.name for stored in machine.images.file("drive0.qcow2").image.bitmaps] == ["b0"]
    machine.close()
    assert len(machine.events) == 1


def test_a_machine_with_a_stalled_request_ends_all_the_same() -> None:
    with Machine() as machine:
        machine.add_disk("drive0", "1M", node_name="node0").write(0, b"x" * 65536)
        machine.faults.stall_io("drive0", "read")
        machine.qmp("drive-backup", device="drive0", target="copy.qcow2", sync="full")
        machine.run_until_idle()
    assert machine.closing


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"qbitsim {qbitsim.__version__}\n")


def test_a_size_and_an_errno_are_spelled_the_same_everywhere() -> None:
    texts, numbers = Machine(control=True), Machine(control=True)
    for machine, (k64, mib, eio) in ((texts, ("64k", "1M", "EIO")), (numbers, (65536, 1 << 20, errno.EIO))):
        disk = machine.add_disk("drive0", mib, node_name="node0", cluster_size=k64, discard=True)
        disk.write(k64, b"x")
        disk.write_zeroes(0, k64)
        disk.discard(k64, k64)
        assert disk.read(k64, k64) == bytes(65536)
        machine.limit_capacity("t", k64)
        machine.inject_error("drive0", "read", eio, k64, k64)
        machine.delay_io("drive0", "write", 0.1, k64, k64)
        machine.stall_io("drive0", "flush", k64, k64)
        machine.foreign_job("job0", length=mib).fail(eio)
        machine.guest_writes("drive0", [(k64, 512), (0, k64)])
        machine.guest_writes("drive0", length=k64, count=3)
        machine.run_until_idle()
        machine.qmp("x-qbitsim-write", drive="drive0", offset=k64, length=k64)
        machine.qmp("x-qbitsim-inject-error", where="drive0", operation="write", offset=k64, length=k64, errno=eio)
        machine.qmp("x-qbitsim-limit-capacity", file="t2", capacity=k64)
        machine.qmp("x-qbitsim-create-image", file="i", size=mib, cluster_size=k64)
        machine.qmp("x-qbitsim-add-disk", id="drive1", size=mib, cluster_size=k64)
    assert texts == numbers
    assert [rule.text for rule in texts.handles.values()] == [rule.text for rule in numbers.handles.values()]
    assert list(texts.images.limits) == list(numbers.images.limits) == [("t", 65536), ("t2", 65536)]


def test_a_size_on_the_wire_that_is_none_is_refused() -> None:
    machine = Machine(control=True)
    machine.add_disk("drive0", "1M")
    with pytest.raises(QmpError, match=r"^invalid size 'lots': write a number of bytes"):
        machine.qmp("x-qbitsim-write", drive="drive0", offset="lots", length=1)
    with pytest.raises(QmpError, match=r"^cluster_size=0: give a power of two from 512 to 2097152 bytes$"):
        machine.qmp("x-qbitsim-add-disk", id="drive1", size="1M", cluster_size=0)
