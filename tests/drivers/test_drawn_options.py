"""Whatever options a drive is given as text: it is made, or refused in a line, and then nothing has changed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qbitsim.commands.drives import add_drive
from qbitsim.drivers.driver import DRIVERS
from qbitsim.drivers.option_kinds import kinds
from qbitsim.errors import QmpError
from qbitsim.machine.machine import Machine
from qbitsim.machine.state import describe

MIB = 1 << 20
OF_DRIVES = [
    *("id", "if", "media", "format", "werror", "rerror", "snapshot", "index", "bus", "unit", "readonly", "aio"),
    *("copy-on-read", "stats-intervals", "throttling.bps-total", "throttling.group", "cache.writeback", "bps", "file"),
]
PARTS = st.sampled_from(
    [*OF_DRIVES, *kinds(), "backing", "cache", "file", "image", "raw", "test", "children", "target", "server", "0", "x"]
)
NAMES = st.lists(PARTS, min_size=1, max_size=3).map(".".join)
VALUES = st.sampled_from(
    [
        *("", "on", "off", "1", "-1", "64k", "1M", "x", "none", "unmap", "a.qcow2", "b.qcow2", "r.raw", "n", "tg", "d"),
        *("json:{}", 'json:{"driver": "qcow2", "file": "n"}', "json:[", "nbd:unix:x", "blkdebug::r.raw", "null-co://"),
        *DRIVERS,
    ]
)


def machine_with_images() -> Machine:
    machine = Machine()
    machine.images.create("a.qcow2", "qcow2", MIB)
    machine.images.create("b.qcow2", "qcow2", MIB, backing="a.qcow2", backing_format="qcow2")
    machine.images.create("r.raw", "raw", MIB)
    machine.add_node({"driver": "null-co", "node-name": "n", "size": MIB})
    machine.execute("object-add", {"qom-type": "throttle-group", "id": "tg"})
    return machine


@given(st.dictionaries(NAMES, VALUES, max_size=5), st.booleans())
def test_no_options_make_a_drive_fail_otherwise_than_by_a_refusal(options: dict[str, str], named: bool) -> None:
    machine = machine_with_images()
    before = describe(machine)
    try:
        add_drive(machine, {**({"if": "none", "file": "b.qcow2"} if named else {}), **options})
    except QmpError as error:
        refusal = error.desc
    else:
        return
    assert "\n" not in refusal
    assert describe(machine) == before
