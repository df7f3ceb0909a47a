"""What the strategies draw is what they say: valid, invalid, possible, and pasteable."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qbitsim import Machine, QmpError, UnsupportedError
from qbitsim.commands.offered import registry_for
from qbitsim.engine.policies import Replay
from qbitsim.profiles import PROFILES, profile
from qbitsim.testing import strategies
from qbitsim.testing.chains import disk_of
from qbitsim.testing.clients import Execute
from qbitsim.testing.laws import Witness, fingerprint
from qbitsim.testing.strategies import Call, Order

REGISTRIES = {name: registry_for(profile(name)) for name in PROFILES}
FEW = settings(max_examples=60)
BITMAP_COMMANDS = ("block-dirty-bitmap-add", "block-dirty-bitmap-remove", "block-dirty-bitmap-clear", "transaction")


def machine_with_disk(**options: Any) -> Machine:
    machine = Machine(**options)
    machine.add_disk("drive0", "1M", node_name="drive0-node")
    return machine


# -- commands


@FEW
@given(st.sampled_from([*PROFILES]).flatmap(lambda name: st.tuples(st.just(name), strategies.commands(name))))
def test_valid_commands_pass_the_schema_of_their_release(drawn: tuple[str, Execute]) -> None:
    name, command = drawn
    REGISTRIES[name].decode(command.name, command.arguments)


@FEW
@given(st.sampled_from([*PROFILES]).flatmap(lambda name: st.tuples(st.just(name), strategies.invalid_commands(name))))
def test_invalid_commands_do_not_pass_it_and_change_nothing(drawn: tuple[str, Execute]) -> None:
    name, command = drawn
    machine = machine_with_disk(profile=name)
    before = fingerprint(machine)
    with pytest.raises(QmpError):
        machine.execute(command.name, command.arguments)
    assert fingerprint(machine) == before


@FEW
@given(st.lists(strategies.commands(only=BITMAP_COMMANDS), max_size=6))
def test_whatever_a_machine_refuses_of_valid_commands_changes_nothing(drawn: list[Execute]) -> None:
    witness = Witness(machine_with_disk())
    for command in drawn:
        try:
            witness.execute(command.name, command.arguments)
        except (QmpError, UnsupportedError):
            continue


@FEW
@given(strategies.typed_commands(only=("block-dirty-bitmap-add", "block-dirty-bitmap-merge", "job-cancel")))
def test_typed_commands_can_be_run(command: object) -> None:
    registry = REGISTRIES["10.0"]
    assert registry.command_of(command).name in ("block-dirty-bitmap-add", "block-dirty-bitmap-merge", "job-cancel")


def test_names_come_from_where_one_says() -> None:
    drawn = strategies.commands(only=["block-dirty-bitmap-add"], names={"node": ["disk7"], "name": ["b7"]})

    @settings(max_examples=40, database=None)
    @given(st.lists(drawn, min_size=20, max_size=20))
    def some_name_the_node(commands: list[Execute]) -> None:
        assert any(command.arguments["node"] == "disk7" for command in commands)

    some_name_the_node()


def test_an_unknown_command_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match=r"^QEMU 2\.5 has no command 'job-cancel'$"):
        strategies.commands("2.5", only=["job-cancel"])
    with pytest.raises(ValueError, match=r"^none of these commands has a class of its own$"):
        strategies.typed_commands(only=["query-status"])


# -- what happens to a machine


@FEW
@given(strategies.disks(), st.data())
def test_disks_and_guests_are_possible_and_print_as_the_lines_that_make_them(disk: Call, data: st.DataObject) -> None:
    machine, twin = Machine(), Machine()
    disk.on(machine)
    size = machine.drive("drive0").size
    calls = data.draw(st.lists(strategies.guest_requests("drive0", size), max_size=5))
    calls.append(data.draw(strategies.guest_activities("drive0", size)))
    for call in calls:
        call.on(machine)
    for line in [str(disk), *map(str, calls)]:
        exec(line, {"machine": twin})
    for each in (machine, twin):
        each.settle()
    one, other = (disk_of(each.drive("drive0").node)[0] for each in (machine, twin))
    assert one.read(0, size) == other.read(0, size)


@FEW
@given(st.lists(strategies.faults(["drive0"], files=["target"], refusable=["transaction"], stalls=True), max_size=4))
def test_faults_are_possible_and_print_as_the_lines_that_make_them(faults: list[Call]) -> None:
    machine = machine_with_disk()
    for fault in faults:
        fault.on(machine)
        exec(str(fault), {"machine": machine})


def test_faults_of_nothing_and_writes_on_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^faults of what\? Name drives, nodes, files or commands$"):
        strategies.faults([])
    with pytest.raises(ValueError, match=r"^a disk of 0 bytes has no room for a write$"):
        strategies.write_patterns(0)


# -- orders


def labels_of_a_run(policy: Any) -> list[str]:
    """The labels of tasks in the order in which they run: three guests write on three disks."""
    machine = Machine(policy=policy)
    order = []
    for number in range(3):
        machine.add_disk(f"drive{number}", "1M")
        machine.guest_writes(f"drive{number}", [(0, 512), (512, 512)])
    activities = machine.scheduler.ready()
    while machine.step():
        now = machine.scheduler.ready()
        order += [task.label for task in activities if not task.pending]
        activities = now
    return order


@FEW
@given(strategies.orders())
def test_an_order_prints_as_the_replay_that_does_the_same(order: Order) -> None:
    ran = labels_of_a_run(order)
    assert labels_of_a_run(eval(repr(order), {"Replay": Replay})) == ran


def test_a_failing_order_shrinks_to_the_choices_that_matter() -> None:
    seen: list[str] = []

    @settings(max_examples=300, database=None, derandomize=True)
    @given(strategies.orders())
    def the_second_guest_never_begins(order: Order) -> None:
        failed = labels_of_a_run(order)[0] == "guest writes drive1 0+512"
        if failed:
            seen.append(repr(order))
        assert not failed

    with pytest.raises(AssertionError):
        the_second_guest_never_begins()
    assert seen[-1] == "Replay([1], then_first=True)"
