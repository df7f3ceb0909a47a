"""What a mirror has in flight."""

from __future__ import annotations

import pytest

from qbitsim.engine.scheduler import Scheduler
from qbitsim.files.faults import Stall, StalledError
from qbitsim.jobs.mirror_operations import MAXIMUM_IN_FLIGHT, MirrorOperation, MirrorOperations
from qbitsim.jobs.mirror_target import MirrorTarget
from qbitsim.machine.machine import Machine

CLUSTER = 65536


class InFlight:
    """Operations that note when they are complete."""

    def __init__(self, buffer: int = 4 * CLUSTER) -> None:
        self.scheduler = Scheduler()
        self.operations = MirrorOperations(self.scheduler, buffer)
        self.done: list[tuple[int, int]] = []

    def made(self, cluster: int, clusters: int = 1, method: str = "copy") -> MirrorOperation:
        return MirrorOperation(cluster * CLUSTER, clusters * CLUSTER, method, self.complete)

    def add(self, cluster: int, clusters: int = 1, method: str = "copy", delay: int = 0) -> MirrorOperation:
        operation = self.made(cluster, clusters, method)
        self.operations.add(operation, delay, f"copy {cluster}")
        return operation

    def complete(self, operation: MirrorOperation) -> None:
        self.operations.remove(operation)
        self.done.append((self.scheduler.now, operation.offset // CLUSTER))


def test_they_are_complete_in_a_turn_or_after_a_time() -> None:
    flight = InFlight()
    flight.add(0, delay=7)
    flight.add(1, 2)
    assert (bool(flight.operations), flight.operations.bytes) == (True, 3 * CLUSTER)
    flight.scheduler.run_until_idle()
    assert (flight.done, flight.operations.bytes) == ([(0, 1)], CLUSTER)
    flight.scheduler.advance_to(10)
    assert (flight.done, bool(flight.operations), flight.operations.bytes) == ([(0, 1), (7, 0)], False, 0)


def test_those_that_wait_for_their_time_are_hurried() -> None:
    flight = InFlight()
    for cluster, delay in enumerate((9, 0, 5)):
        flight.add(cluster, delay=delay)
    flight.operations.hurry()
    flight.scheduler.run_until_idle()
    assert (flight.done, flight.scheduler.next_deadline) == ([(0, 0), (0, 1), (0, 2)], None)


def test_those_that_touch_a_range_are_completed_first() -> None:
    flight = InFlight()
    for cluster in (0, 2, 4, 6):
        flight.add(cluster, 2, delay=5)
    flight.operations.complete_overlapping(4 * CLUSTER - 1, 1)
    assert flight.done == [(0, 2)]
    flight.operations.complete_overlapping(4 * CLUSTER, 2 * CLUSTER + 1)
    assert flight.done == [(0, 2), (0, 4), (0, 6)]
    flight.operations.complete_overlapping(2 * CLUSTER, 9 * CLUSTER)
    assert len(flight.done) == 3
    flight.operations.complete_all()
    assert flight.done[3:] == [(0, 0)]


def test_one_that_is_stalled_is_not_waited_for_and_goes_on_when_it_is_let_go() -> None:
    flight = InFlight()
    stall = Stall(frozenset({"write"}))
    flight.add(3, delay=5)
    assert flight.operations.stall is None
    flight.operations.suspend(flight.made(0), stall)
    assert (flight.operations.stall, flight.operations.bytes) == (stall, 2 * CLUSTER)
    with pytest.raises(StalledError):
        flight.operations.complete_overlapping(0, 1)
    flight.operations.complete_overlapping(CLUSTER, 9 * CLUSTER)
    assert flight.done == [(0, 3)]
    with pytest.raises(StalledError):
        flight.operations.complete_all()
    flight.operations.hurry()
    flight.scheduler.run_until_idle()
    assert flight.done == [(0, 3)]
    stall.release()
    assert (flight.operations.stall, [task.label for task in flight.scheduler.ready()]) == (
        None,
        ["resumed copy 0+65536"],
    )
    flight.operations.complete_all()
    assert flight.done == [(0, 3), (0, 0)]


def test_what_is_in_memory_fits_into_the_buffer_and_the_first_goes_whatever_its_length() -> None:
    flight = InFlight()
    assert not flight.operations.is_full(9 * CLUSTER)
    flight.add(0, 9, "zero")
    flight.add(9, 9, "discard")
    assert not flight.operations.is_full(9 * CLUSTER)
    flight.add(20, 1, "write")
    assert [flight.operations.is_full(clusters * CLUSTER) for clusters in (3, 4)] == [False, True]
    flight.add(30, 2)
    assert [flight.operations.is_full(clusters * CLUSTER) for clusters in (1, 2)] == [False, True]


def test_no_more_than_16_are_in_flight() -> None:
    flight = InFlight()
    for cluster in range(MAXIMUM_IN_FLIGHT):
        assert not flight.operations.is_full(CLUSTER)
        flight.add(cluster, method="zero")
    assert (flight.operations.is_full(0), MAXIMUM_IN_FLIGHT) == (True, 16)


def null_nodes(source_latency: int, target_latency: int) -> Machine:
    machine = Machine()
    for name, latency in (("s", source_latency), ("t", target_latency)):
        machine.add_node({"driver": "null-co", "node-name": name, "size": 16 * CLUSTER, "latency-ns": latency})
    return machine


@pytest.mark.parametrize(("source", "target"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_a_copy_waits_for_io_if_one_of_both_nodes_does(source: int, target: int) -> None:
    nodes = null_nodes(source, target).graph.nodes
    operation = InFlight().made(0)
    assert operation.begin(nodes["s"], MirrorTarget(nodes["t"], unmap=False)) is (bool(source) or bool(target))
    assert (operation.begun, operation.error) == (True, None)


@pytest.mark.parametrize("method", ["zero", "write"])
def test_what_the_target_refuses_is_known_later(method: str) -> None:
    machine = null_nodes(0, 0)
    machine.inject_error("t", "write", 28)
    operation = InFlight().made(0, method=method)
    nodes = machine.graph.nodes
    assert operation.begin(nodes["s"], MirrorTarget(nodes["t"], unmap=False)) is True
    assert operation.begun
    assert operation.error is not None
    assert operation.error.errno == 28
