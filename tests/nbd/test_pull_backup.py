"""A pull backup over NBD, whoever comes between: what the client reads is the point in time.

While guest and client interleave in any drawn order, the full copy and the dirty extents restore the disk; and a client
that goes about it wrongly is found out.
"""

from __future__ import annotations

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from qbitsim import Machine
from qbitsim.engine.scheduler import first_in_first_out
from qbitsim.errors import NbdError
from qbitsim.testing.strategies import orders

GRANULE = 65536
GRANULES = 16
SIZE = GRANULE * GRANULES
FIRST_FOUND = settings(max_examples=200, phases=[Phase.generate], derandomize=True, database=None)
DIRTY = "qemu:dirty-bitmap:b0"

writes = st.lists(
    st.tuples(st.integers(0, SIZE // 512 - 1), st.integers(1, 400), st.integers(1, 255)).map(
        lambda drawn: (drawn[0] * 512, min(drawn[1] * 512, SIZE - drawn[0] * 512), drawn[2])
    ),
    min_size=1,
    max_size=6,
)


class Guest:
    """Writes that are due among the requests of clients, one after the other."""

    def __init__(self, machine, pattern):
        self._machine = machine
        self._pattern = list(pattern)
        self.next()

    def next(self):
        """Let the next one be due."""
        if self._pattern:
            self._machine.scheduler.soon(self._write, "guest writes")

    def _write(self):
        offset, length, byte = self._pattern.pop(0)
        self._machine.drive("drive0").write(offset, bytes([byte]) * length)
        self.next()


def backup_of(machine):
    """Freeze the disk: an overlay that keeps the point in time, and the bitmap up to it."""
    machine.images.create("fleece.qcow2", "qcow2", SIZE)
    machine.qmp(
        "blockdev-add",
        driver="qcow2",
        node_name="fleece",
        file={"driver": "file", "filename": "fleece.qcow2"},
        backing="node0",
    )
    begin = {"device": "node0", "target": "fleece", "sync": "none", "job-id": "job0"}
    machine.qmp(
        "transaction",
        actions=[
            {"type": "block-dirty-bitmap-add", "data": {"node": "node0", "name": "b1"}},
            {"type": "block-dirty-bitmap-disable", "data": {"node": "node0", "name": "b0"}},
            {"type": "blockdev-backup", "data": begin},
        ],
    )
    machine.export_nbd("fleece", "backup", bitmaps=[("node0", "b0")])


def granules(ranges):
    """The granules that ranges of bytes touch."""
    return {each for offset, length in ranges for each in range(offset // GRANULE, -(-(offset + length) // GRANULE))}


def disk_of(machine):
    return machine.drive("drive0").read(0, SIZE)


def prepared(order, before):
    """A machine whose disk has been copied once, and written since."""
    machine = Machine()
    disk = machine.add_disk("drive0", SIZE, node_name="node0")
    disk.write(0, b"f" * SIZE)
    machine.qmp("block-dirty-bitmap-add", node="node0", name="b0")
    copy = bytearray(disk_of(machine))
    for offset, length, byte in before:
        disk.write(offset, bytes([byte]) * length)
    backup_of(machine)
    machine.scheduler.policy = order
    return machine, copy


def pull(machine, copy, context=DIRTY):
    """Copy what a context calls dirty, or data, onto ``copy``, several requests at a time."""
    with machine.connect_nbd("backup", [DIRTY, "base:allocation"]) as client:
        wanted = (lambda flags: flags & 1) if context == DIRTY else (lambda flags: not flags & 1)
        pieces = [
            (place, min(32768, offset + length - place))
            for offset, length, flags in client.extents(context)
            if wanted(flags)
            for place in range(offset, offset + length, 32768)
        ]
        for start in range(0, len(pieces), 4):
            pending = [(place, client.start("read", place, length)) for place, length in pieces[start : start + 4]]
            for place, each in pending:
                data = client.wait(each)
                copy[place : place + len(data)] = data


@settings(max_examples=60)
@given(order=orders(), before=writes, meanwhile=writes)
def test_the_old_copy_and_the_dirty_extents_are_the_point_in_time(order, before, meanwhile):
    machine, copy = prepared(order, before)
    point = disk_of(machine)
    Guest(machine, meanwhile)
    pull(machine, copy)
    assert copy == point
    machine.run_until_idle()
    with machine.connect_nbd("backup") as client:
        assert client.read(0, SIZE) == point
    machine.qmp("block-export-del", id="fleece")
    machine.qmp("block-job-cancel", device="job0")
    machine.run_until_idle()
    assert granules(machine.graph.find_bitmap("node0", "b1").dirty_ranges) == granules(each[:2] for each in meanwhile)


def reads_the_disk(machine, copy):
    """Read the disk itself, and not the overlay that keeps the point in time."""
    machine.export_nbd("drive0", "live")
    with machine.connect_nbd("backup", [DIRTY]) as client, machine.connect_nbd("live") as live:
        for offset, length, flags in client.extents(DIRTY):
            if flags:
                copy[offset : offset + length] = live.read(offset, length)


def ends_the_job_first(machine, copy):
    """End the job, and read then: nobody saves anything in the overlay any more."""
    machine.qmp("block-job-cancel", device="job0")
    pull(machine, copy)


def asks_for_the_allocation_too_late(machine, copy):
    """Copy what has data after the job's end, as if that were what has changed."""
    machine.qmp("block-job-cancel", device="job0")
    machine.run_until_idle()
    pull(machine, copy, "base:allocation")


def leaves_out_the_last_granule(machine, copy):
    """Take the end of an area for its last byte."""
    with machine.connect_nbd("backup", [DIRTY]) as client:
        for offset, length, flags in client.extents(DIRTY):
            if flags and length > GRANULE:
                copy[offset : offset + length - GRANULE] = client.read(offset, length - GRANULE)


@pytest.mark.parametrize(
    "client", [reads_the_disk, ends_the_job_first, asks_for_the_allocation_too_late, leaves_out_the_last_granule]
)
def test_a_client_that_goes_about_it_wrongly_is_found_out(client):
    def goes_wrong(drawn):
        order, before, meanwhile = drawn
        machine, copy = prepared(order, before)
        point = disk_of(machine)
        Guest(machine, meanwhile)
        client(machine, copy)
        return copy != point

    find(st.tuples(orders(), writes, writes), goes_wrong, settings=FIRST_FOUND)


@pytest.mark.parametrize("fault", ["drop_nbd_client", "half_nbd_answer", "wrong_nbd_magic"])
def test_a_backup_whose_connection_fails_says_so(fault):
    machine, copy = prepared(first_in_first_out, [(0, GRANULE, 1)])
    getattr(machine, fault)("backup", "read")
    with pytest.raises((ConnectionResetError, NbdError)):
        pull(machine, copy)
    machine.run_until_idle()
    assert machine.exports.connections == []
