"""How the cost of work grows with its size: the exponent is 1 if twice the work takes twice the time, 2 if four times.

Each work is done at a size and at four times that size; of both the least time of some counts, as others can only have
made it longer.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from benchmarks.harness import Row, Run, main
from qbitsim import Machine
from qbitsim.qmp.session import Session
from qbitsim.scenario.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FACTOR = 4
_AIM = 1.4
_REPEATS = 3


def growth(run: Run) -> Iterator[Row]:
    """The exponents; the note tells what the bigger size took."""
    for name, prepare, size in (
        ("record a message", _recording, 1 << 20),
        ("add bitmaps in a transaction", _additions, 10_000),
        ("start grouped backups", _backups, 400),
        ("write with bitmaps on the node", _writing, 10_000),
        ("name the wrong one of many arguments", _arguments, 40_000),
        ("echo a long id", _echo, 100_000),
    ):
        big = size if run.repeats > _REPEATS else size // 64
        few, many = (_least_time(prepare, each) for each in (big // _FACTOR, big))
        exponent = math.log(many / few, _FACTOR)
        note = f"{big:,} take {many * 1e3:.3g} ms"
        yield Row(name=f"growth: {name}, exponent", unit="", measured=exponent, aim=_AIM, note=note)


def _least_time(prepare: Callable[[int], Callable[[], object]], size: int) -> float:
    times = []
    for _ in range(_REPEATS):
        work = prepare(size)
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return max(min(times), 1e-6)


def _recording(size: int) -> Callable[[], object]:
    """A message of that many bytes."""
    data = b'{"execute": "query-name", "id": [%s]}\n' % b",".join([b"123456"] * (size // 7))
    conversation = Recorder("growth").open(0.0)
    return lambda: conversation.sent(data, 0.0)


def _additions(size: int) -> Callable[[], object]:
    machine = _machine(1)
    actions = [{"type": "block-dirty-bitmap-add", "data": {"node": "d0", "name": f"b{i}"}} for i in range(size)]
    return lambda: machine.qmp("transaction", actions=actions)


def _backups(size: int) -> Callable[[], object]:
    machine = _machine(size)
    actions = [
        {"type": "drive-backup", "data": {"device": f"d{i}", "target": f"t{i}.img", "sync": "full", "format": "raw"}}
        for i in range(size)
    ]
    return lambda: machine.qmp("transaction", actions=actions, properties={"completion-mode": "grouped"})


def _writing(size: int) -> Callable[[], object]:
    machine = _machine(1)
    for number in range(size):
        machine.drive("d0").node.create_bitmap(f"b{number}", 65536)
    return lambda: machine.drive("d0").write(0, b"A" * 65536)


def _arguments(size: int) -> Callable[[], object]:
    session = Session(Machine(), negotiated=True)
    text = b'{"execute": "query-name", "arguments": {%s}}' % b",".join(b'"a%d": 1' % i for i in range(size))
    return lambda: session.feed(text)


def _echo(size: int) -> Callable[[], object]:
    session = Session(Machine(), negotiated=True)
    text = b'{"execute": "query-name", "id": [%s]}' % b",".join([b"123456"] * size)
    return lambda: session.feed(text)


def _machine(disks: int) -> Machine:
    machine = Machine()
    for number in range(disks):
        machine.add_disk(f"d{number}", size="1M")
    return machine


BENCHMARKS = (growth,)

if __name__ == "__main__":
    main(*BENCHMARKS)
