"""File names and formats out of headers and commands, which no schema has checked before they come to a driver."""

from __future__ import annotations

import json
import random

import pytest

from qbitsim.drivers.driver import DRIVERS
from qbitsim.errors import QmpError
from qbitsim.jsontypes import Json
from qbitsim.machine.machine import Machine
from qbitsim.machine.state import describe

VALUES: tuple[object, ...] = (
    *(None, 1, -1, 1 << 70, 1.5, True, "", "x", "n0", [], {}, [1], ["n0"]),
    *({"driver": "null-co"}, [{"driver": "null-co"}], {"driver": "file", "filename": "t.qcow2"}),
)
OPTIONS = (
    *("file", "image", "raw", "test", "log", "target", "filename", "children", "children.0", "children.0.driver"),
    *("vote-threshold", "throttle-group", "server", "server.type", "bitmap", "size", "backing", "node-name", "cache"),
    *("cache.direct", "read-only", "discard", "detect-zeroes", "force-share", "auto-read-only", "prealloc-align"),
    *("log-sector-size", "l2-cache-size", "data-file", "offset", "export", "locking", "aio", "config", "align"),
    *("bottom", "inject-error", "set-state", "latency-ns", "blkverify", "file.driver", "file.filename", "driver"),
)
NAMES = (
    *(
        "t.qcow2",
        "",
        "json:",
        "json:x",
        "json:{}",
        "file:",
        "file:t.qcow2",
        "null-co://",
        "null-co:x",
        "nbd:",
        "foo:bar",
    ),
    *(
        "nbd:unix:x",
        "nbd+unix://",
        "blkdebug:",
        "blkdebug:x:t.qcow2",
        "blkverify:t.qcow2",
        "blkverify::",
        "host_device:",
    ),
)
OVERLAY = {"driver": "qcow2", "node-name": "z", "file": {"driver": "file", "filename": "o.qcow2"}}


def drawn_name(rng: random.Random) -> str:
    if rng.random() < 0.3:
        return rng.choice(NAMES)
    members = {name: rng.choice(VALUES) for name in rng.sample(OPTIONS, rng.randint(0, 4))}
    return "json:" + json.dumps({"driver": rng.choice(list(DRIVERS)), **members})


@pytest.fixture
def machine() -> Machine:
    machine = Machine("10.0")
    machine.images.create("t.qcow2", "qcow2", 1 << 20)
    machine.execute("blockdev-add", {"driver": "null-co", "node-name": "n0", "size": 1 << 20})
    machine.add_disk("d0", "1M")
    return machine


def refused(machine: Machine, command: str, arguments: Json) -> bool:
    """Whether the command is refused; whatever else goes wrong is raised."""
    try:
        machine.execute(command, arguments)
    except QmpError:
        return True
    return False


@pytest.mark.parametrize("seed", range(4))
def test_what_a_header_names_is_opened_or_refused_and_nothing_changes(machine: Machine, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(150):
        backing = {"backing": drawn_name(rng), "backing_format": rng.choice([None, "raw", "qcow2", *DRIVERS])}
        machine.images.create("o.qcow2", "qcow2", 1 << 20, **backing)
        before = describe(machine)
        if not refused(machine, "blockdev-add", OVERLAY):
            machine.execute("blockdev-del", {"node-name": "z"})
        assert describe(machine) == before, backing


@pytest.mark.parametrize("seed", range(4))
def test_a_target_of_any_name_is_opened_or_refused(machine: Machine, seed: int) -> None:
    rng, kept = random.Random(seed), machine.snapshot()
    for _ in range(100):
        target = {"target": drawn_name(rng), "mode": "existing", "format": rng.choice(["raw", "qcow2", *DRIVERS])}
        before = describe(machine)
        command = rng.choice(["drive-backup", "drive-mirror"])
        if not refused(machine, command, {"device": "d0", "sync": "full", "job-id": "j", **target}):
            machine.restore(kept)
        assert describe(machine)["nodes"] == before["nodes"], target
