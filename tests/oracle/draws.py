"""Draws steps of scenarios: what a client, a guest and a disk that fails might do next.

A :class:`Drawer` looks at the emulated machine to know what there is (nodes, bitmaps, jobs), so that most
of what it draws succeeds; now and then it draws something that does not exist. Its source of chance is
anything with the interface of :class:`random.Random`, so the same code serves Hypothesis and plain seeds.

Two rules keep the order of events determined on real QEMU, where time passes by itself:

* of the jobs of one transaction, and of jobs on top of others that are not held, all but one are held by
  `speed` 1, which lets only their first chunk go;
* jobs copy one cluster at a time (`max-workers` 1, `max-chunk` 65536).
"""

from __future__ import annotations

import json
import random
from typing import Any

from qbitsim.machine.machine import Machine

Step = dict[str, Any]
Arguments = dict[str, Any]

MIB = 1 << 20
ONE_BY_ONE = {"max-workers": 1, "max-chunk": 65536}
STRANGE = ("nonode", "", "Drive0", "b0", "a b", "1x")
GRANULARITIES = (512, 4096, 16384, 65536, 131072, 1 << 20, 1 << 31, 256, 5000, 0)
NAMES = ("b0", "b1", "b2", "p0", "ü")


def world(rng: random.Random) -> list[Step]:
    """The images and the machine with which an example begins."""
    cluster = rng.choice(("64k", "64k", "4k", "128k"))
    fault = {
        "event": "read_aio",
        "iotype": "read",
        "errno": rng.choice((5, 28)),
        "once": True,
        "sector": rng.choice((0, 256, 640, 1920)),
    }
    sizes = [rng.choice(("1M", "1M", "1000448")) for _ in range(2)]
    drives: list[Step] = [
        {"if": "none", "id": "drive0", "node-name": "node0", "file": "src0.qcow2", "format": "qcow2"},
        {
            "if": "none",
            "id": "drive1",
            "node-name": "node1",
            "driver": "raw",
            "file.driver": "blkdebug",
            "file.image.driver": "file",
            "file.image.filename": "src1.raw",
        },
    ]
    if rng.random() < 0.5:
        drives[0]["discard"] = "unmap"
    if rng.random() < 0.5:
        once = rng.choice(("on", "on", "off"))
        for key, value in {**fault, "once": once}.items():
            drives[1][f"file.inject-error.0.{key}"] = value
    write_fault = {
        **fault,
        "event": "write_aio",
        "iotype": "write",
        "errno": rng.choice((5, 28)),
        "once": rng.choice((True, True, False)),
        "sector": rng.choice((0, 128, 640)),
    }
    blkdebug: Step = {"driver": "blkdebug", "image": {"driver": "file", "filename": "tgt1.raw"}}
    if rng.random() < 0.6:
        blkdebug["inject-error"] = [write_fault]
    blockdevs: list[Step] = [
        {"driver": "qcow2", "node-name": "target0", "file": {"driver": "file", "filename": "tgt0.qcow2"}},
        {"driver": "raw", "node-name": "target1", "file": blkdebug},
        {"driver": "qcow2", "node-name": "target2", "file": {"driver": "file", "filename": "tgt2.qcow2"}},
    ]
    target_cluster = rng.choice(("64k", "64k", "64k", "128k", "4k"))
    images = [
        ["-f", "qcow2", "-o", f"cluster_size={cluster}", "src0.qcow2", sizes[0]],
        ["-f", "raw", "src1.raw", sizes[1]],
        ["-f", "qcow2", "tgt0.qcow2", sizes[0]],
        ["-f", "raw", "tgt1.raw", rng.choice(sizes)],
        ["-f", "qcow2", "-o", f"cluster_size={target_cluster}", "tgt2.qcow2", rng.choice(sizes)],
    ]
    steps: list[Step] = [{"shell": ["qemu-img", "create", "-q", *image]} for image in images]
    return [*steps, {"start": {"drives": drives, "blockdevs": blockdevs}}]


class Drawer:
    """Draws steps for one machine."""

    def __init__(
        self, rng: random.Random, machine: Machine, counter: list[int] | None = None, start: Step | None = None
    ) -> None:
        self.rng = rng
        self.machine = machine
        self.start = start
        self.faults = json.dumps(start)
        self.counter = counter if counter is not None else [0]

    # -- names

    def often(self, probability: float) -> bool:
        """True with that probability."""
        return self.rng.random() < probability

    def fresh(self, prefix: str) -> str:
        """A name that was not used before."""
        self.counter[0] += 1
        return f"{prefix}{self.counter[0]}"

    def node(self) -> str:
        """The name of a drive or a node, rarely of none; not of a qcow2 image's file, whose bytes are not emulated."""
        if self.often(0.04):
            return self.rng.choice(STRANGE)
        if self.often(0.6):
            return self.rng.choice(("drive0", "drive1", "drive0", "node0", "node1"))
        nodes = self.machine.graph.nodes.values()
        named = [node.name for node in nodes if not node.auto_named and not node.name.endswith("-file")]
        return self.rng.choice(sorted(named) + sorted(self.machine.graph.drives))

    def _find(self, name: str) -> Any:
        drive = self.machine.graph.drives.get(name)
        return drive.node if drive is not None else self.machine.graph.nodes.get(name)

    def bitmap(self, node: str) -> str:
        """The name of a bitmap of that node, rarely of none."""
        found = self._find(node)
        names: list[str] = sorted(each.name for each in found.bitmaps if each.name) if found is not None else []
        if names and not self.often(0.06):
            return self.rng.choice(names)
        return self.rng.choice((*NAMES, "nope"))

    def place(self) -> tuple[str, str]:
        """A node and one of its bitmaps; nodes with bitmaps come first."""
        having = sorted(
            node.name
            for node in self.machine.graph.nodes.values()
            if not node.auto_named and any(each.name for each in node.bitmaps)
        )
        drives = sorted(
            name
            for name, drive in self.machine.graph.drives.items()
            if drive.node is not None and any(each.name for each in drive.node.bitmaps)
        )
        node = self.rng.choice(having + drives + drives) if having and not self.often(0.08) else self.node()
        return node, self.bitmap(node)

    def job(self) -> str:
        """The id of a job, rarely of none."""
        jobs = [job.id for job in self.machine.jobs.jobs]
        if jobs and not self.often(0.04):
            return self.rng.choice(jobs)
        return self.rng.choice(("drive0", "nojob", ""))

    # -- bitmaps

    def bitmap_action(self) -> tuple[str, Arguments]:
        """A command or action on a bitmap."""
        kind = self.rng.choice(("add", "add", "remove", "clear", "enable", "disable", "merge"))
        if kind == "add":
            return "block-dirty-bitmap-add", self._add()
        if kind == "merge":
            return "block-dirty-bitmap-merge", self._merge()
        node, name = self.place()
        return f"block-dirty-bitmap-{kind}", {"node": node, "name": name}

    def _add(self) -> Arguments:
        arguments: Arguments = {"node": self.node(), "name": self.rng.choice(NAMES)}
        if self.often(0.5):
            arguments["granularity"] = self.rng.choice(GRANULARITIES)
        if self.often(0.3):
            arguments["persistent"] = self.often(0.8)
        if self.often(0.25):
            arguments["disabled"] = self.often(0.8)
        return arguments

    def _merge(self) -> Arguments:
        node, target = self.place()
        sources: list[Any] = []
        for _ in range(self.rng.randint(1, 3)):
            if self.often(0.6):
                sources.append(self.bitmap(node))
            else:
                other, name = self.place()
                sources.append({"node": other, "name": name})
        return {"node": node, "target": target, "bitmaps": sources}

    def bitmap_command(self) -> list[Step]:
        """One of them as a command, or the hash."""
        if self.often(0.1):
            node, name = self.place()
            return [qmp("x-debug-block-dirty-bitmap-sha256", node=node, name=name)]
        name, arguments = self.bitmap_action()
        return [{"qmp": {"execute": name, "arguments": arguments}}]

    # -- the guest

    def guest(self) -> list[Step]:
        """Reads and writes of the guest, mostly by drive."""
        device = self.rng.choice(("drive0", "drive0", "drive1"))
        if self.often(0.08):
            device = self.node()
        unit = self.rng.choice((65536, 65536, 4096, 512))
        offset = self.rng.randrange(0, MIB // unit) * unit
        length = self.rng.choice((unit, unit, 2 * unit, 5 * unit, MIB - offset))
        pattern = self.rng.choice(("0x11", "0x22", "0xfe", "0x00"))
        kind = self.rng.choice(("write",) * 6 + ("zero", "discard", "read", "unmap", "writev", "flush"))
        commands = {
            "zero": f"write -q -z {offset} {length}",
            "unmap": f"write -q -z -u {offset} {length}",
            "discard": f"discard -q {offset} {length}",
            "read": f"read -q -P {pattern} {offset} {length}",
            "writev": f"writev -q -P {pattern} {offset} {length}",
            "flush": "flush",
        }
        if kind == "write":
            return [{"write": [device, offset, length, pattern]}, SETTLE]
        return [{"io": [device, commands[kind]]}, SETTLE]

    # -- backups

    def backup(self, *, held: bool) -> tuple[str, Arguments]:
        """A backup command or action.

        :param held: with `speed` 1.
        """
        source = self.rng.choice(("drive0", "drive0", "drive1", "node0", "node1"))
        if self.often(0.06):
            source = self.node()
        arguments: Arguments = {"device": source, "sync": self._sync(), "x-perf": dict(ONE_BY_ONE)}
        if "inject-error" not in self.faults and self.often(0.2):
            del arguments["x-perf"]  # without a fault, the order of parallel chunks cannot be seen
        if held:
            arguments["speed"] = 1
        self._bitmap_of_backup(arguments)
        self._common(arguments)
        if self.often(0.2):
            return "drive-backup", self._file_target(arguments)
        arguments["target"] = self.rng.choice(("target0", "target0", "target1", "target2"))
        if self.often(0.05):
            arguments["target"] = self.node()
        return "blockdev-backup", arguments

    def _sync(self) -> str:
        return self.rng.choice(("full", "top", "none", "incremental", "incremental", "bitmap", "bitmap", "bitmap"))

    def _bitmap_of_backup(self, arguments: Arguments) -> None:
        needed = arguments["sync"] in ("incremental", "bitmap")
        if self.often(0.95 if needed else 0.35):
            arguments["bitmap"] = self.bitmap(arguments["device"])
        usual = arguments["sync"] != "incremental" and "bitmap" in arguments
        if self.often(0.95 if usual else 0.06):
            arguments["bitmap-mode"] = self.rng.choice(("on-success", "never", "always", "always"))

    def _common(self, arguments: Arguments) -> None:
        if self.often(0.3):
            arguments["job-id"] = self.rng.choice(("j0", "j1", "j2", "drive0", "1x"))
        for side in ("source", "target"):
            if self.often(0.4):
                arguments[f"on-{side}-error"] = self.rng.choice(self._policies())
        for name, probability in (("auto-finalize", 0.25), ("auto-dismiss", 0.25), ("compress", 0.06)):
            if self.often(probability):
                arguments[name] = self.often(0.2)
        if self.often(0.1):
            arguments["filter-node-name"] = self.rng.choice(("cbw0", "cbw1", "node0", "", "1n"))
        if self.often(0.05):
            arguments["x-perf"] = {"max-workers": self.rng.choice((0, 1)), "max-chunk": self.rng.choice((4096, -1))}

    def _policies(self) -> tuple[str, ...]:
        """What a job may do on errors; an error that persists would be ignored for ever."""
        lasting = '"once": false' in self.faults or '.once": "off"' in self.faults
        return ("report", "stop", "stop", "enospc", "auto", "report" if lasting else "ignore")

    def _file_target(self, arguments: Arguments) -> Arguments:
        arguments["target"] = self.rng.choice((self.fresh("new") + ".img", "tgt0.qcow2", "nodir/x"))
        if self.often(0.6):
            arguments["format"] = self.rng.choice(("qcow2", "raw", "qcow2", "nosuch"))
        if self.often(0.2):
            arguments["mode"] = self.rng.choice(("existing", "absolute-paths"))
            if arguments.get("format") == "raw" and arguments["target"].endswith("qcow2"):
                arguments["format"] = "qcow2"
        return arguments

    def backup_command(self) -> list[Step]:
        """Start a backup."""
        loose = any(job.speed == 0 for job in self.machine.jobs.jobs)
        name, arguments = self.backup(held=loose or self.often(0.6))
        return [{"qmp": {"execute": name, "arguments": arguments}}, SETTLE]

    # -- transactions

    def transaction(self) -> list[Step]:
        """A transaction of one to four actions."""
        grouped = self.often(0.35)
        actions: list[Step] = []
        roots: set[str] = set()
        for _ in range(self.rng.randint(1, 4)):
            action = self._action(backups_only=grouped and not self.often(0.03))
            if not self._is_risky(action, roots) or self.often(0.02):
                actions.append(action)
        message = qmp("transaction", actions=actions)
        if grouped:
            message["qmp"]["arguments"]["properties"] = {"completion-mode": "grouped"}
        elif self.often(0.1):
            message["qmp"]["arguments"]["properties"] = {"completion-mode": "individual"}
        return [message, SETTLE]

    def _is_risky(self, action: Step, roots: set[str]) -> bool:
        """Whether real QEMU would die if the transaction failed with this action; see the dangers."""
        if action["type"] == "block-dirty-bitmap-enable":
            return True
        if "backup" not in action["type"] and "snapshot" not in action["type"]:
            return False
        device = action["data"]["device"]
        root = self._find(device)
        name = root.name if root is not None else ""
        again = name in roots and device in self.machine.graph.drives
        roots.add(name)
        return again

    def _action(self, *, backups_only: bool) -> Step:
        if backups_only or self.often(0.3):
            name, data = self.backup(held=True)
        elif self.often(0.07):
            name, data = "abort", {}
        elif self.often(0.06):
            name, data = "blockdev-snapshot-sync", self._snapshot()
        else:
            name, data = self.bitmap_action()
        return {"type": name, "data": data}

    # -- jobs

    def control(self) -> list[Step]:
        """A verb for a job."""
        identifier = self.job()
        verb = self.rng.choice(
            ("set-speed",) * 6
            + (
                "pause",
                "pause",
                "resume",
                "resume",
                "cancel",
                "cancel",
                "cancel",
                "finalize",
                "finalize",
                "dismiss",
                "dismiss",
                "complete",
            )
        )
        if verb == "set-speed":
            speed = self.rng.choice((0, 0, 0, 0, 1 << 40, 1, -1))
            return [qmp("block-job-set-speed", device=identifier, speed=speed), SETTLE]
        if self.often(0.6):
            return [qmp(f"job-{verb}", id=identifier), SETTLE]
        key = "id" if verb in ("finalize", "dismiss") else "device"
        step = qmp(f"block-job-{verb}", **{key: identifier})
        if verb == "cancel" and self.often(0.5):
            step["qmp"]["arguments"]["force"] = self.often(0.7)
        return [step, SETTLE]

    # -- the graph

    def _snapshot(self) -> Arguments:
        device = self.rng.choice(("drive0", "drive1", "drive0"))
        name = self.fresh("ov")
        arguments: Arguments = {"device": device, "snapshot-file": f"{name}.qcow2", "format": "qcow2"}
        if self.often(0.5):
            arguments["snapshot-node-name"] = name
        return arguments

    def graph(self) -> list[Step]:
        """A change of the block graph."""
        kind = self.rng.choice(("snapshot", "snapshot", "resize", "resize", "add", "del", "overlay"))
        if kind == "overlay":
            return self._overlay()
        if kind == "snapshot":
            return [{"qmp": {"execute": "blockdev-snapshot-sync", "arguments": self._snapshot()}}, SETTLE]
        if kind == "resize":
            size = self.rng.choice((MIB, 2 * MIB, 524288, 1000448, 1, -1))
            key = self.rng.choice(("device", "node-name"))
            return [{"qmp": {"execute": "block_resize", "arguments": {key: self.node(), "size": size}}}, SETTLE]
        if kind == "add":
            name = self.fresh("null")
            return [qmp("blockdev-add", **{"driver": "null-co", "node-name": name, "size": MIB}), SETTLE]
        nodes = sorted(node.name for node in self.machine.graph.nodes.values() if not node.auto_named)
        return [qmp("blockdev-del", **{"node-name": self.rng.choice(nodes)}), SETTLE]

    def _overlay(self) -> list[Step]:
        """A snapshot with an overlay that is there already, perhaps with a bitmap of its own."""
        name = self.fresh("pre")
        file = {"driver": "file", "filename": f"{name}.qcow2"}
        steps: list[Step] = [
            {"shell": ["qemu-img", "create", "-q", "-f", "qcow2", f"{name}.qcow2", "1M"]},
            qmp("blockdev-add", **{"driver": "qcow2", "node-name": name, "backing": None, "file": file}),
            SETTLE,
        ]
        if self.often(0.4):
            steps.append(qmp("block-dirty-bitmap-add", node=name, name=self.rng.choice(NAMES)))
        return [*steps, qmp("blockdev-snapshot", node=self.node(), overlay=name), SETTLE]

    # -- looking

    def look(self) -> list[Step]:
        """Everything that can be compared: bitmaps with their hashes, and jobs."""
        return look(self.machine)

    def last_look(self) -> list[Step]:
        """The same at the end of an example, where nothing may be left out."""
        return look(self.machine)

    def restart(self) -> list[Step]:
        """End cleanly, or by force, and start again on the same images.

        What a job that is killed had written is not determined.
        """
        assert self.start is not None
        end = {"kill": 9} if self.often(0.3) and not self.machine.jobs.jobs else {"quit": True}
        return [end, self.start]

    def draw(self) -> list[Step]:
        """Any of these."""
        kinds = (
            (self.bitmap_command, 5),
            (self.guest, 5),
            (self.backup_command, 4),
            (self.transaction, 3),
            (self.control, 6 if self.machine.jobs.jobs else 0.3),
            (self.graph, 0.7),
            (self.look, 1),
            (self.restart, 0.2),
        )
        method = self.rng.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
        return method()


def qmp(name: str, /, **arguments: Any) -> Step:
    """The step that sends a command."""
    return {"qmp": {"execute": name, "arguments": arguments}}


SETTLE: Step = {"settle": True}


def look(machine: Machine) -> list[Step]:
    """Queries for all bitmaps with their hashes, and for all jobs."""
    steps: list[Step] = [
        {"qmp": {"execute": "query-block"}, "pick": "bitmaps"},
        {"qmp": {"execute": "query-named-block-nodes"}, "pick": "named-bitmaps"},
        {"qmp": {"execute": "query-jobs"}},
        {"qmp": {"execute": "query-block-jobs"}},
    ]
    for node in machine.graph.nodes.values():
        if node.auto_named:
            continue
        steps += [
            qmp("x-debug-block-dirty-bitmap-sha256", node=node.name, name=bitmap.name)
            for bitmap in node.bitmaps
            if bitmap.name
        ]
    return steps
