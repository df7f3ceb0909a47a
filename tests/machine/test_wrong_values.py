"""A value that cannot be is told by its name, and with the one that was meant; nothing has changed then."""

from __future__ import annotations

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
