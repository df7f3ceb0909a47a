"""What clients, guests and tests do to a machine with two disks, by the dice."""

from __future__ import annotations

import errno
import random
from contextlib import suppress

from qbitsim import Machine, QmpError
from qbitsim.engine.policies import Seeded

KIB = 1024


def act(machine: Machine, dice: random.Random) -> None:
    """Something that a client, a guest or a test does."""
    drive = dice.choice(["drive0", "drive1"])
    names = [bitmap.name for bitmap in machine.drive(drive).node.skip_filters().bitmaps if bitmap.name]
    name = dice.choice([*names, "b0", "b1"])
    other = dice.choice([*names, "b2"])
    target = f"target{dice.randrange(1000)}"
    granularity = dice.choice([512, 65536, 262144])
    place = {"node": drive, "name": name}
    sync = dice.choice([{"sync": "full"}, {"sync": "incremental", "bitmap": name}])
    actions = [
        lambda: machine.drive(drive).write(dice.randrange(960) * KIB, b"x" * (dice.randrange(1, 64) * KIB)),
        lambda: machine.drive(drive).write_zeroes(dice.randrange(16) * 65536, 65536),
        lambda: machine.drive(drive).discard(dice.randrange(8) * 65536, 8 * 65536),
        lambda: machine.qmp("block-dirty-bitmap-add", **place, granularity=granularity),
        lambda: machine.qmp("block-dirty-bitmap-remove", **place),
        lambda: machine.qmp("block-dirty-bitmap-clear", **place),
        lambda: machine.qmp("block-dirty-bitmap-disable", **place),
        lambda: machine.qmp("block-dirty-bitmap-enable", **place),
        lambda: machine.qmp("block-dirty-bitmap-merge", node=drive, target=name, bitmaps=[other]),
        lambda: machine.qmp("drive-backup", device=drive, target=target, speed=dice.choice([0, 65536]), **sync),
        lambda: machine.qmp("block-job-cancel", device=drive),
        lambda: machine.qmp("block_resize", device=drive, size=dice.choice([512 * KIB, 1024 * KIB, 2048 * KIB])),
        lambda: machine.inject_error(drive, dice.choice(["read", "write"]), errno.EIO, once=True),
        lambda: machine.limit_capacity(target, 65536),
        machine.step,
        machine.step,
        machine.run_until_idle,
        lambda: machine.advance(dice.choice([0.1, 2])),
        lambda: machine.restore(machine.snapshot()),
    ]
    with suppress(QmpError, OSError):  # what is refused is told, too
        dice.choice(actions)()


def make(seed: int) -> Machine:
    machine = Machine(policy=Seeded(seed))
    for drive in ("drive0", "drive1"):
        machine.add_disk(drive, "1M", node_name=f"{drive}-node")
    return machine
